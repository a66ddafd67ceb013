from __future__ import annotations

import dataclasses
import glob
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from facecrypt.benchmark.protocol import (
    Entry,
    IdentificationProtocol,
    build_protocol,
    distractor_entries,
    load_protocol,
    save_protocol,
    subset,
)
from facecrypt.errors import ProtocolError

GOOD = [
    "image,identity,role",
    "ann/1.png,ann,probe",
    "ann/2.png,ann,gallery",
    "bob/1.png,bob,target",
    "bob/2.png,bob,gallery",
    "cy/1.png,cy,gallery",
]


@pytest.fixture
def table(tmp_path: Path) -> Callable[[Iterable[str]], Path]:
    """Writes lines as protocol.csv beside the photos that `GOOD` names, which need not be photos to be listed."""
    for row in GOOD[1:]:
        image = tmp_path / row.split(",")[0]
        image.parent.mkdir(exist_ok=True)
        image.touch()

    def write(lines: Iterable[str]) -> Path:
        path = tmp_path / "protocol.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
        return path

    return write


Table = Callable[[Iterable[str]], Path]


def faults(path: Path) -> list[str]:
    with pytest.raises(ProtocolError) as caught:
        load_protocol(path)
    head, *rest = str(caught.value).split("\n  ")
    assert head == f"{path}: {'1 problem' if len(rest) == 1 else f'{len(rest)} problems'}"
    return rest


def layout(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / name / f"{name}_{number:04}.jpg").touch()
    return folder


def people(several: int, single: int) -> dict[str, int]:
    return {f"several{i}": 2 + i % 4 for i in range(several)} | {f"single{i}": 1 for i in range(single)}


def test_loads_rows_by_role_with_images_beside_the_file(table: Table) -> None:
    path = table(GOOD)
    protocol = load_protocol(path)
    assert protocol.probes == [Entry(path.parent / "ann/1.png", "ann", "probe")]
    assert protocol.targets == [Entry(path.parent / "bob/1.png", "bob", "target")]
    assert [entry.identity for entry in protocol.gallery] == ["ann", "bob", "cy"]


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_loads_what_spreadsheets_write(table: Table, change: Callable[[str], str]) -> None:
    expected = load_protocol(table(GOOD))
    path = table([])
    path.write_text(change("\n".join([*GOOD, ""])), encoding="utf-8", newline="")
    assert load_protocol(path) == expected


def test_ignores_further_columns_and_empty_lines(table: Table) -> None:
    expected = load_protocol(table(GOOD))
    rows = [f"{row},{'note' if row == GOOD[0] else 'x'}" for row in GOOD]
    assert load_protocol(table([rows[0], "", *rows[1:], ""])) == expected


@pytest.mark.weights
def test_loads_lfw(lfw: Path) -> None:
    protocol = load_protocol(lfw / "protocol.csv")
    assert (len(protocol.probes), len(protocol.targets), len(protocol.gallery)) == (500, 10, 2041)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(
            ["image,person", "ann/1.png,ann"],
            "line 1: columns missing or there twice: identity, role. The header is 'image,person'; "
            "write image,identity,role.",
            id="columns missing",
        ),
        pytest.param(
            [],
            "line 1: columns missing or there twice: image, identity, role. The header is ''; "
            "write image,identity,role.",
            id="empty",
        ),
        pytest.param(
            ["image,identity,role,role"],
            "line 1: columns missing or there twice: role. The header is 'image,identity,role,role'; "
            "write image,identity,role.",
            id="column twice",
        ),
        pytest.param(
            [*GOOD, "cy/2.png,cy,gallery"],
            "line 7: image 'cy/2.png' is not a file in {folder}. Correct its path or remove the row.",
            id="image missing",
        ),
        pytest.param(
            [*GOOD[:-1], "cy/1.png,cy,galery"],
            "line 6: role 'galery' is unknown. Did you mean 'gallery'? Allowed: probe, target, gallery.",
            id="role unknown",
        ),
        pytest.param(
            [*GOOD[:2], *GOOD[3:]],
            "line 2: probe identity 'ann' has no gallery images. Add some, or remove the row.",
            id="probe without gallery",
        ),
        pytest.param(
            [*GOOD[:4], *GOOD[5:]],
            "line 4: target identity 'bob' has no gallery images. Add some, or remove the row.",
            id="target without gallery",
        ),
        pytest.param(
            [*GOOD[:-1], "cy/1.png,ann,target"],
            "line 6: target identity 'ann' is protected in line 2. Aim at other people than those.",
            id="target protected",
        ),
        pytest.param(
            [*GOOD, "ann/../cy/1.png,cy,gallery"],
            "line 7: image 'ann/../cy/1.png' is listed in line 6 already. List each image once.",
            id="image twice",
        ),
        pytest.param(
            [*GOOD[:-1], "cy/1.png,,gallery"],
            "line 6: identity '' is empty or has spaces around it. Write whom the image shows.",
            id="identity empty",
        ),
        pytest.param(
            [*GOOD[:-1], "cy/1.png, cy,gallery"],
            "line 6: identity ' cy' is empty or has spaces around it. Write whom the image shows.",
            id="identity with space",
        ),
        pytest.param(
            [*GOOD[:-1], "cy/1.png,distractor/1,gallery"],
            "line 6: identity 'distractor/1' begins with 'distractor/', reserved for distractors. Choose another.",
            id="identity reserved",
        ),
        pytest.param(
            [*GOOD[:-1], "", "cy/1.png,cy"],
            "line 7: not one value for each of 3 columns. Quote a value that holds a comma.",
            id="value missing",
        ),
        pytest.param(
            [*GOOD[:-1], "cy/1.png,Young, Cy,gallery"],
            "line 6: not one value for each of 3 columns. Quote a value that holds a comma.",
            id="value too many",
        ),
        pytest.param(
            [GOOD[0], *GOOD[2:]],
            "no probes: no row has the role 'probe'. Add a row for each photo to protect.",
            id="no probes",
        ),
        pytest.param(
            [*GOOD[:3], *GOOD[4:]],
            "no targets: no row has the role 'target'. Add a row for each photo to aim at.",
            id="no targets",
        ),
        pytest.param(
            [*GOOD, '"cy/1.png,cy,gallery'],
            "line 7: unexpected end of data. Check the quotation marks from here on.",
            id="quotation mark",
        ),
    ],
)
def test_names_each_fault(table: Table, lines: list[str], expected: str) -> None:
    path = table(lines)
    assert faults(path) == [expected.format(folder=path.parent)]


def test_names_all_faults_at_once_by_line(table: Table) -> None:
    lines = [
        "image,identity,role",
        "ann/1.png,ann,probe",  # no gallery images
        "bob/1.png,bob,prob",  # role; no targets are left
        "cy/1.png,,gallery",  # identity
        "cy/1.png,cy,gallery",  # twice
        "cy/3.png,cy,gallery",  # no file
        "ann/2.png,cy",  # a value is missing
        "ann/2.png,ann,target",  # protected, no gallery images
    ]
    found = faults(table(lines))
    starts = ["line 2: probe identity 'ann' has no", "line 3: role 'prob'", "line 4: identity ''", "line 5: image"]
    starts += ["line 6: image", "line 7: not one", "line 8: target identity 'ann' has no", "line 8: target identity"]
    assert len(found) == len(starts)
    assert all(fault.startswith(start) for fault, start in zip(found, starts, strict=True))
    nobody = faults(table([lines[0], "cy/9.png,cy,gallery"]))
    assert [fault.split(":")[0] for fault in nobody] == ["line 2", "no probes", "no targets"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="none.csv: cannot be read .*No such file"):
        load_protocol(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("image,identity,role\na.png,Zoë,probe\n".encode("latin-1"))
    with pytest.raises(ProtocolError, match="latin.csv: cannot be read .*UTF-8"):
        load_protocol(tmp_path / "latin.csv")


def test_builds_the_protocol_of_the_paper(tmp_path: Path) -> None:
    counts = people(12, 9)
    protocol = build_protocol(layout(tmp_path, counts), seed=3, protected=6, targets=3, further=7)
    protected = [entry.identity for entry in protocol.probes]
    aimed = [entry.identity for entry in protocol.targets]
    searched = Counter(entry.identity for entry in protocol.gallery)
    further = searched.keys() - {*protected, *aimed}
    assert (len(set(protected)), len(set(aimed)), len(further)) == (6, 3, 7)
    assert not {*protected} & {*aimed}
    assert searched == {name: counts[name] - (name not in further) for name in [*protected, *aimed, *further]}
    entries = [*protocol.probes, *protocol.targets, *protocol.gallery]
    assert len({entry.image for entry in entries}) == len(entries)
    assert all(entry.image.is_file() and entry.image.parent.name == entry.identity for entry in entries)
    assert {entry.role for entry in protocol.gallery} == {"gallery"}
    assert len({entry.image.stem[-4:] for entry in protocol.probes}) > 1, "always the same photo is the probe"


def test_building_depends_on_the_seed_and_not_on_the_order_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = layout(tmp_path, people(12, 9))

    def build(seed: int) -> IdentificationProtocol:
        return build_protocol(folder, seed=seed, protected=6, targets=3, further=7)

    first, other = build(0), build(1)
    assert first != other
    real = glob.iglob

    def shuffled(pattern: str, *, recursive: bool) -> list[str]:
        found = list(real(pattern, recursive=recursive))
        random.Random(len(found)).shuffle(found)
        return found

    monkeypatch.setattr(glob, "iglob", shuffled)
    assert build(0) == first


def test_building_says_how_many_identities_there_are(tmp_path: Path) -> None:
    folder = layout(tmp_path, people(4, 3))
    (folder / "readme.txt").touch()
    (folder / "nobody").mkdir()
    assert build_protocol(folder, seed=0, protected=3, targets=1, further=3).gallery
    with pytest.raises(ProtocolError) as caught:
        build_protocol(folder, seed=0, protected=3, targets=2, further=1)
    assert str(caught.value) == (
        f"{folder}: 7 identities, 4 of them with two or more photos. Needed: 6 (3 protected, 2 targets, 1 further), "
        "5 of them with two or more photos. Add photos or ask for fewer identities."
    )
    with pytest.raises(ProtocolError, match="Needed: 8 "):
        build_protocol(folder, seed=0, protected=3, targets=1, further=4)
    with pytest.raises(ProtocolError, match="no such folder"):
        build_protocol(folder / "none", seed=0)
    with pytest.raises(ProtocolError, match=r"no photos found as \*/\*"):
        build_protocol(folder / "nobody", seed=0)
    for numbers in ((0, 1, 1), (1, 0, 1), (1, 1, -1)):
        with pytest.raises(ValueError, match="at least 1, 1 and 0"):
            build_protocol(folder, seed=0, protected=numbers[0], targets=numbers[1], further=numbers[2])


def test_saved_protocols_load_again_also_from_another_folder(tmp_path: Path) -> None:
    protocol = build_protocol(layout(tmp_path / "a, b", people(4, 2)), seed=0, protected=2, targets=1, further=2)
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep/er")
    for path in (tmp_path / "p.csv", tmp_path / "new/p.csv", tmp_path / "link/p.csv"):
        save_protocol(protocol, path)
        loaded = load_protocol(path)
        for before, after in zip(vars(protocol).values(), vars(loaded).values(), strict=True):
            assert [dataclasses.replace(entry, image=entry.image.resolve()) for entry in after] == before
    assert (tmp_path / "p.csv").read_text().splitlines()[1].startswith('"a, b/')


def test_saving_leaves_the_old_file_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = build_protocol(layout(tmp_path / "lfw", people(4, 0)), seed=0, protected=2, targets=1, further=0)
    path = tmp_path / "p.csv"
    path.write_text("old")
    broken = Entry(tmp_path / os.fsdecode(b"\xff.jpg"), "x", "gallery")
    with pytest.raises(ProtocolError, match="p.csv: cannot be written"):
        save_protocol(dataclasses.replace(protocol, gallery=[*protocol.gallery, broken]), path)
    with pytest.raises(ProtocolError, match="cannot be written"):
        save_protocol(protocol, path / "p.csv")
    with pytest.raises(ValueError, match="distractors"):
        save_protocol(dataclasses.replace(protocol, gallery=distractor_entries([tmp_path])), path)
    assert path.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lfw", "p.csv"]


def test_subset_takes_some_probes_and_the_whole_gallery(tmp_path: Path) -> None:
    protocol = build_protocol(layout(tmp_path, people(30, 0)), seed=0, protected=20, targets=2, further=3)
    small, large, other = subset(protocol, 5, 0), subset(protocol, 9, 0), subset(protocol, 5, 1)
    assert (small.targets, small.gallery) == (protocol.targets, protocol.gallery)
    assert small == subset(protocol, 5, 0) != other
    assert len(small.probes) == 5
    assert all(probe in large.probes for probe in small.probes)
    assert [probe for probe in protocol.probes if probe in large.probes] == large.probes
    assert subset(protocol, 20, 7) == protocol
    for count in (0, 21):
        with pytest.raises(ProtocolError, match=f"probes: {count} of 20. Allowed: 1 to 20."):
            subset(protocol, count, 0)


def test_distractors_are_all_photos_below_each_of_its_own_identity(tmp_path: Path) -> None:
    folder = layout(tmp_path / "many [1]", {"ann": 2, "bob": 1, "deep/er/cy": 0})
    (folder / "deep/er/cy/x.PNG").touch()
    (folder / "top.webp").touch()
    (folder / "notes.txt").touch()
    (folder / ".hidden.png").touch()
    entries = distractor_entries([folder, folder / "deep"])
    assert [entry.image.relative_to(folder).as_posix() for entry in entries] == [
        "ann/ann_0001.jpg",
        "ann/ann_0002.jpg",
        "bob/bob_0001.jpg",
        "deep/er/cy/x.PNG",
        "top.webp",
    ]
    assert len({entry.identity for entry in entries}) == 5
    assert {entry.role for entry in entries} == {"gallery"}
    with pytest.raises(ProtocolError, match="no such folder"):
        distractor_entries([folder, folder / "none"])
    (folder / "empty").mkdir()
    with pytest.raises(ProtocolError, match="no photos found"):
        distractor_entries([folder / "empty"])


def test_no_folder_and_no_file_can_give_a_distractor_s_identity(tmp_path: Path, table: Table) -> None:
    (entry, *_) = distractor_entries([layout(tmp_path / "far", {"ann": 1})])
    assert os.sep in entry.identity
    assert "reserved" in faults(table([*GOOD[:-1], f"cy/1.png,{entry.identity},gallery"]))[0]
