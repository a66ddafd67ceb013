# make demo   sets everything up and protects the sample photo; needs Python 3.11 or newer and a package index
# make test   sets everything up and runs the tests
# make slow   runs the long tests, which make test leaves out
# make check  lint, types, all tests, the documentation: what CI runs, beside make minimums
# make minimums  runs the tests with the oldest versions that pyproject.toml allows, in an environment of its own
# make site   builds the documentation into build/site
PYTHON ?= python3
VENV ?= .venv
MINIMUMS ?= .minimums
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check install -c .ci/constraints.txt

.PHONY: demo test slow minimums lint types check docs gallery site clean

demo: $(VENV)/.runtime
	$(VENV)/bin/facecrypt run --allow-weak recipes/quickstart.yaml

test: $(VENV)/.development
	$(VENV)/bin/pytest -n 2 --dist loadfile

slow: $(VENV)/.development
	$(VENV)/bin/pytest -n 2 --dist worksteal -m slow

# What old versions of dependencies deprecated among each other says nothing about this package.
minimums: $(MINIMUMS)/.development
	$(MINIMUMS)/bin/pytest -n 2 --dist loadfile -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning \
		-W ignore::FutureWarning

lint: $(VENV)/.development
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.development
	$(VENV)/bin/mypy facecrypt plugins/facecrypt-example/facecrypt_example

check: lint types test slow site
	$(VENV)/bin/pytest plugins/facecrypt-example/tests
	$(VENV)/bin/facecrypt run --allow-weak plugins/facecrypt-example/recipe.yaml output=protected/example

docs: $(VENV)/.development
	$(VENV)/bin/python docs/generate.py

# The pictures of docs/gallery.md, one of which is in README.md.
gallery: $(VENV)/.runtime
	$(VENV)/bin/python docs/gallery.py

# Strict: a broken link is an error. Nothing is fetched, neither here nor by who reads the pages.
site: $(VENV)/.site
	PATH="$(abspath $(VENV))/bin:$$PATH" NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict -f .ci/mkdocs.yml

clean:
	rm -rf $(VENV) $(MINIMUMS) build *.egg-info

$(VENV)/.runtime: pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "facecrypt needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --quiet --editable '.[dlib,looks,ui]'
	@touch $@

$(VENV)/.development: $(VENV)/.runtime plugins/facecrypt-example/pyproject.toml
	$(PIP) --quiet --editable '.[dlib,test,dev]' --editable plugins/facecrypt-example
	@touch $@

$(MINIMUMS)/.development: pyproject.toml .ci/minimums.txt plugins/facecrypt-example/pyproject.toml
	$(PYTHON) -m venv $(MINIMUMS)
	$(MINIMUMS)/bin/python -m pip --disable-pip-version-check install -c .ci/minimums.txt --quiet \
		--editable '.[dlib,plot,test]' --editable plugins/facecrypt-example
	@touch $@

$(VENV)/.site: $(VENV)/.runtime
	$(PIP) --quiet --editable '.[docs]'
	@touch $@
