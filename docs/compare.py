"""Write the table and the figure of docs/compare-methods.md, from what a run of table1.yaml has left.

    python docs/compare.py results/table1/metrics.json [MORE ...]

The run is the command on that page, which takes hours on two CPU cores; several runs that share their protocol make one
table.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from PIL import Image

from facecrypt.benchmark.plots import plot
from facecrypt.benchmark.tables import side_by_side

FOLDER = Path(__file__).parent
PAGE = FOLDER / "compare-methods.md"
TABLE = re.compile(
    r"(?<=<!-- table, written by docs/compare.py -->\n\n).*?(?=\n\n<!-- end of the table -->)", re.DOTALL
)


def main(*metrics: str) -> None:
    """Write both.

    Args:
        metrics: Paths of the runs' metrics.json.
    """
    rows = [row for path in metrics for row in json.loads(Path(path).read_text(encoding="utf-8"))]
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: side_by_side(rows), page), encoding="utf-8")
    plot(rows, FOLDER / "images", ["systems"])
    (FOLDER / "images" / "systems.svg").unlink()  # It is larger than the picture, with every letter as a path.
    picture = FOLDER / "images" / "systems.png"
    Image.open(picture).convert("RGB").quantize(64).save(picture, optimize=True)  # A few colours, and their edges.


if __name__ == "__main__":
    main(*sys.argv[1:])
