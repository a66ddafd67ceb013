# make demo   sets everything up and protects the sample photo; needs Python 3.11 or newer and a package index
# make test   sets everything up and runs the tests
# make check  what CI runs: lint, types, tests
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check install -c .ci/constraints.txt

.PHONY: demo test lint types check docs picture clean

demo: $(VENV)/.runtime
	$(VENV)/bin/facecrypt run recipes/quickstart.yaml

test: $(VENV)/.development
	$(VENV)/bin/pytest -n 2 --dist loadfile

lint: $(VENV)/.development
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.development
	$(VENV)/bin/mypy facecrypt plugins/facecrypt-example/facecrypt_example

check: lint types test
	$(VENV)/bin/pytest plugins/facecrypt-example/tests
	$(VENV)/bin/facecrypt run plugins/facecrypt-example/recipe.yaml output=protected/example

docs: $(VENV)/.development
	$(VENV)/bin/python docs/generate.py

# The picture in README.md.
picture: $(VENV)/.runtime
	$(VENV)/bin/facecrypt run recipes/quickstart.yaml output=protected/picture
	$(VENV)/bin/python docs/picture.py protected/picture/astronaut.png

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.runtime: pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "facecrypt needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --quiet --editable '.[dlib,ui]'
	@touch $@

$(VENV)/.development: $(VENV)/.runtime plugins/facecrypt-example/pyproject.toml
	$(PIP) --quiet --editable '.[dlib,test,dev]' --editable plugins/facecrypt-example
	@touch $@
