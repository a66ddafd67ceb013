"""Where the package ``frbench`` keeps its weights. Nothing of it is imported."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facecrypt.system.naming import expand_home
from facecrypt.system.regular import read_text


def frbench_file(key: str) -> Path | None:
    """Return the weights of a model in the cache of the installed ``frbench``, or None where it would download them.

    Args:
        key: The model in frbench's manifest, as in ``irse-50_arcface_ms1m``.
    """
    if find_spec("frbench") is None:
        return None
    # The order of frbench 1.1: environment, its config file, default.
    settings = _read_json(expand_home(os.environ.get("FRBENCH_CONFIG", "~/.frbench/config.json")))
    named = os.environ.get("FRBENCH_CACHE") or settings.get("cache") or "~/.frbench"
    cache = expand_home(os.path.expandvars(named))
    entry = _read_json(cache / "manifest.json").get(key)
    if not isinstance(entry, dict) or not isinstance(entry.get("contents"), dict):
        return None
    folder = cache / str(entry.get("target_name"))
    files = {role: folder / str(name) for role, name in entry["contents"].items()}
    return files.get("weight") if all(path.is_file() for path in files.values()) else None


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where the file is missing or holds something else."""
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
