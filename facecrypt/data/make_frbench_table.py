"""Write facecrypt/data/frbench.json: the recognisers of the installed frbench and their published accuracies.

    python -m facecrypt.data.make_frbench_table

The package's own description holds the table; nothing is typed by hand and nothing of frbench is imported.
"""

from __future__ import annotations

import json
import re
from email import message_from_string
from importlib import metadata
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("frbench.json")

_KEYS = ("backbone_type", "loss_type", "dataset_type")
_NAME = "Name"


def make() -> dict[str, Any]:
    """Return what the installed frbench says of its recognisers.

    Raises:
        ValueError: If its description holds no such table.
    """
    about = message_from_string(metadata.distribution("frbench").read_text("METADATA") or "")
    rows = _table(str(about.get_payload()))
    if not rows:
        raise ValueError(f"frbench {about['Version']}: its description has no table of models")
    return {
        "version": about["Version"],
        "licence": about["License-Expression"],
        "models": [_model(row) for row in rows],
    }


def _table(description: str) -> list[dict[str, str]]:
    """Return the rows of the Markdown table that has a column for each part of a model's key."""
    rows: list[dict[str, str]] = []
    columns: list[str] = []
    for line in description.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
        if set(_KEYS) <= set(cells):
            columns = cells
        elif not line.lstrip().startswith("|"):
            columns = []
        elif columns and not re.fullmatch(r"[-: ]+", cells[0]):
            rows.append(dict(zip(columns, cells, strict=True)))
    return rows


def _model(row: dict[str, str]) -> dict[str, Any]:
    backbone, loss, dataset = (row[key] for key in _KEYS)
    architecture, loss_title, dataset_title = row[_NAME].rsplit("-", 2)
    # irse-100 becomes irse100, but resnetv2-100 and swinv2-b keep their parts apart.
    short = re.sub(r"(?<=[a-z])-(?=\d)", "", backbone)
    parts = ["frbench", re.sub(r"[-.]", "_", short), loss, *([] if dataset == "ms1m" else [dataset])]
    return {
        "name": "_".join(parts),
        "key": f"{backbone}_{loss}_{dataset}",
        "architecture": architecture,
        "loss": loss_title,
        "training_data": dataset_title,
        "accuracy": {column: float(cell) for column, cell in row.items() if column not in (_NAME, *_KEYS)},
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
