"""End a run at random moments, again and again, and look at what is left: python tests/kill_runs.py --kills 100.

Photos of a folder are replaced, with two workers, and their originals go to a folder of backups. Whatever the moment,
each original must be in its place or in its backup, byte for byte, each photo whole, and nothing may go on running. A
run that is asked to end (INT, TERM, HUP) must also say so in one line, with the right number of photos, and leave no
unfinished file. When all photos are replaced, the last run's report must list all of them with their faces, and it
begins anew.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image

from facecrypt.photos.files import read_photo
from tests.commands import ROOT, RUN, Command, promise

PHOTOS = 12


class Album:
    """A folder of photos that runs replace.

    Args:
        folder: Where it goes.
        backup: The recipe's key.
    """

    def __init__(self, folder: Path, backup: str) -> None:
        self.photos, self.output, self._backup = folder / "photos", folder / "out", backup
        # Short, as sockets in it must be.
        self.temporary = Path(tempfile.mkdtemp(prefix="k"))
        sample = Image.open(ROOT / "facecrypt/data/sample/astronaut.png").crop((100, 0, 356, 256))
        self.originals: dict[str, bytes] = {}
        (folder / "originals").mkdir()
        for number in range(PHOTOS):
            path = folder / "originals" / f"{number:02d}.png"
            sample.rotate(number).save(path)
            self.originals[path.name] = path.read_bytes()
        self.begin()

    def begin(self) -> None:
        """Begin anew with the originals."""
        for folder in (self.photos, self.output):
            shutil.rmtree(folder, ignore_errors=True)
        self.photos.mkdir()
        for name, data in self.originals.items():
            (self.photos / name).write_bytes(data)

    def start(self) -> Command:
        """Start a run."""
        return Command(
            [*RUN, f"photos={self.photos}", f"output={self.output}", "in_place=true", f"backup={self._backup}",
             "workers=2"],
            {"TMPDIR": str(self.temporary)},
        )  # fmt: skip

    def kept(self) -> int:
        """Return how many backups there are."""
        return len(list((self.photos / self._backup).parent.glob("*.png")))

    def replaced(self) -> list[str]:
        """Return the names of the photos that are replaced, after looking at all of them."""
        names = []
        for name, data in self.originals.items():
            if (self.photos / name).read_bytes() == data:
                continue
            backup = self.photos / self._backup.format(stem=Path(name).stem, suffix=Path(name).suffix)
            assert backup.read_bytes() == data, f"{name}: the original is lost"
            change = np.abs(read_photo(self.photos / name).pixels.astype(int) - read_photo(backup).pixels)
            assert 0 < change.max() <= 16, f"{name}: is no protected photo"
            names.append(name)
        return names

    def check_report(self) -> None:
        """Make sure that the report lists every photo with its faces."""
        report = json.loads((self.output / "report.json").read_text())
        listed = {photo["source"]: len(photo["faces"]) for photo in report["photos"]}  # Some are backups.
        counts = {name: listed.get(str(self.photos / name)) for name in self.originals}
        assert counts == dict.fromkeys(self.originals, 1), counts


def kill(folder: Path, kills: int, number: signal.Signals, seed: int, backup: str, say: Callable[[str], None]) -> None:
    """End runs until that many are ended.

    Args:
        folder: An empty folder.
        kills: How many.
        number: The signal.
        seed: Of the moments, and of whether the signal goes to the whole group as from a terminal.
        backup: The recipe's key.
        say: Told of each.

    Raises:
        AssertionError: If something is not as it must be.
    """
    rng, album = random.Random(seed), Album(folder, backup)
    done, whole, longest, states = 0, 30.0, 0.0, Counter[str]()
    while done < kills:
        before = set(album.replaced())
        began = time.monotonic()
        with album.start() as command:
            pause(command, album, rng, whole)
            wait = time.monotonic() - began
            if command.process.poll() is None:
                asked = time.monotonic()
                command.send(number, group=rng.random() < 0.5)
                status = command.wait(60)
                spent = time.monotonic() - asked
                command.until_gone(20)
                done += 1
                after = set(album.replaced())
                assert before <= after
                if number != signal.SIGKILL and status != 0:
                    longest = max(longest, spent)
                    check_ending(command, album, status, number, spent, len(after))
                assert "Traceback" not in command.stderr, command.stderr
                states[f"{len(after)} of {PHOTOS}"] += 1
                say(f"{done}: after {wait:.1f} s, status {status}, {len(after)} of {PHOTOS} replaced")
            else:
                assert command.wait() == 0, command.stderr
            if command.process.returncode == 0:
                whole = max(5.0, 0.5 * (whole + time.monotonic() - began))
                assert len(album.replaced()) == PHOTOS
                album.check_report()
                album.begin()
    with album.start() as command:
        assert command.wait() == 0, command.stderr
    assert len(album.replaced()) == PHOTOS
    album.check_report()
    assert list(album.temporary.glob("facecrypt-*-*")) == []
    shutil.rmtree(album.temporary)
    assert [path for path in folder.rglob("*.tmp")] == []
    most = f", in {longest:.2f} s at most" if longest else ""
    say(f"{done} runs ended by {number.name}{most}; states they left: {dict(states)}")


def pause(command: Command, album: Album, rng: random.Random, whole: float) -> None:
    """Wait for any moment of a run, or, as most of those pass before the first photo, for one soon after a photo."""
    begin, late, kept = time.monotonic(), rng.uniform(0, whole), album.kept() + rng.randint(0, 3)
    if rng.random() < 0.6:
        command.until(lambda: album.kept() > kept)
        begin, late = time.monotonic(), rng.uniform(0, 1)
    command.until(lambda: time.monotonic() - begin > late)


def check_ending(
    command: Command, album: Album, status: int, number: signal.Signals, spent: float, replaced: int
) -> None:
    """Make sure that a run ended as it should when it was asked to."""
    # Before any of its own code runs, the interpreter ends in its own way.
    if status in (-number, 1) and not re.search("facecrypt: ", command.stderr):
        return
    assert status == 128 + number, command.stderr
    assert spent < promise(), f"{spent:.1f} s"
    lines = [line for line in command.stderr.splitlines() if line.startswith("facecrypt: stopped: ")]
    assert len(lines) == 1, command.stderr
    found = re.search(r"stopped: (\d+) of", lines[0])
    assert found is None or int(found[1]) == replaced, (lines, replaced)
    left = [path for path in album.photos.parent.rglob("*") if path.suffix in (".tmp", ".lock")]
    assert left == [], left


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT", "HUP"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backup", default="originals/{stem}{suffix}")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kill-runs-") as folder:
        kill(Path(folder), given.kills, signal.Signals[f"SIG{given.signal}"], given.seed, given.backup, print)


if __name__ == "__main__":
    main()
