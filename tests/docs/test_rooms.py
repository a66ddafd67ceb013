from __future__ import annotations

import sys
from pathlib import Path

from tests import processes
from tests.processes import ROOT


def test_the_picture_of_the_rooms_is_that_of_the_package(tmp_path: Path) -> None:
    drawn = tmp_path / "rooms.svg"
    processes.run([sys.executable, "docs/rooms.py", str(drawn)], check=True)
    kept = ROOT / "docs" / "images" / "rooms.svg"
    assert drawn.read_text() == kept.read_text(), "draw it anew: python docs/rooms.py docs/images/rooms.svg"
