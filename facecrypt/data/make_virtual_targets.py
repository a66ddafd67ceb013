"""Make the pack of virtual target identities: faces of people who do not exist, drawn by a small GAN.

    python -m facecrypt.data.make_virtual_targets --weights weights.tar --output DIR [--strangers FOLDER]

The weights are the file ``gan_face_generate/weights.tar`` inside the Python package gan_face_generate 1.1.1 (MIT). It
is not installed for this, as it brings much else along. Which latents to use was found by search among 16,384 drawn
ones, for the last 21 among the first 4,900 of them, and by eye; the rules that they keep are measured here on the files
as written, and a pack that breaks one is refused. Rounding differs between machines: a few pixels of the files may
differ by a grey level.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from facecrypt.detectors.search import FaceDetector
from facecrypt.evaluation.traits import measure_trait
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import find_photos, read_photo
from facecrypt.surrogates import dlib_resnet, sface
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.surrogates.spec import verify_sha256

_SHA256 = "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f"
_SEED = 20261123
_DRAWN = 16_384
_LATENT = 100
_SIDE = 160  # pixels; the GAN draws 64, which MTCNN finds less surely
_VARIATIONS, _NOISE = 30, 0.3  # latents near the identity's own, and the standard deviation of what sets them apart

# The number of the identity's latent, and of the variations that check it.
_CHOSEN: dict[int, tuple[int, ...]] = {
    687: (11, 19, 30),
    698: (8, 15, 22),
    848: (2, 20, 30),
    913: (1, 12, 20),
    1942: (14, 18, 27),
    3285: (17, 28),
    3559: (3, 18, 30),
    5918: (4, 11, 21),
    5982: (4, 14, 24),
    6277: (9, 23, 24),
    11065: (9, 20, 23),
    11361: (20, 26, 30),
    11729: (6, 11, 30),
    12010: (8, 12, 13),
    12205: (4, 10, 29),
    13201: (13, 21, 28),
    13306: (3, 22, 24),
    13656: (7, 16, 29),
    14090: (5, 22, 29),
    14270: (5, 10, 26),
    617: (9, 19),
    830: (6, 17),
    991: (13, 30),
    1369: (8, 21),
    1407: (23, 24),
    1423: (1, 9),
    1509: (2, 19),
    1885: (11, 12),
    2112: (13, 14),
    2116: (9, 24),
    2445: (3, 13),
    2774: (15, 19),
    2874: (10, 11),
    2912: (20, 21),
    3014: (14, 23),
    3487: (3, 19),
    3489: (5, 29),
    3997: (14, 16),
    4525: (21, 28),
    4948: (10, 24),
    5081: (5, 22),
}

# Apparent sex, age and skin of each, as one pair of eyes saw them: a guess that others may not share.
_SEEN = """
man young medium; woman adult light; woman adult light; woman young dark; man young dark;
woman young light; woman young light; woman adult light; unclear adult dark; man older dark;
woman young dark; man adult light; man adult medium; man adult dark; man young dark;
man young medium; woman adult light; woman young dark; man adult dark; man adult medium;
man adult light; man young medium; man older light; woman adult light; woman young dark;
man adult light; man adult dark; man adult light; unclear young medium; man older light;
unclear adult light; unclear young light; man adult light; woman adult medium; man adult light;
unclear young light; man adult light; unclear young medium; man adult light; man adult light;
man adult light
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pack, print a table of what was measured on it, and return 1 where a rule is broken.

    Args:
        argv: Arguments without the program's name; those of the process by default.
    """
    parser = argparse.ArgumentParser(description="Make the pack of virtual target identities.")
    parser.add_argument("--weights", type=Path, required=True, help="weights.tar of gan_face_generate 1.1.1")
    parser.add_argument("--output", type=Path, required=True, help="folder for the pack")
    parser.add_argument("--strangers", help="folder, file or glob of photos of real people, to compare with")
    arguments = parser.parse_args(argv)
    draw(arguments.weights, arguments.output)
    label(arguments.output)
    strangers = find_photos(arguments.strangers) if arguments.strangers else []
    table, broken = measure(arguments.output, strangers)
    print("\n".join(f"| {name} | {value} |" for name, value in [("measure", "value"), ("---", "---"), *table.items()]))
    for rule in broken:
        print(f"broken: {rule}", file=sys.stderr)
    return 1 if broken else 0


def draw(weights: Path, output: Path) -> None:
    """Write the images of the pack: ``v01/0.png`` is aimed at, ``v01/1.png`` and so on check the result.

    Args:
        weights: Checkpoint of the GAN.
        output: Folder for the pack.

    Raises:
        WeightsError: If the checkpoint is not the expected file.
    """
    verify_sha256(weights, _SHA256)
    generator = _generator(torch.load(weights, map_location="cpu", weights_only=True)["netG_state_dict"])
    latents = torch.randn(_DRAWN, _LATENT, generator=torch.Generator().manual_seed(_SEED))
    for position, (number, variations) in enumerate(_CHOSEN.items(), 1):
        noise = torch.randn(_VARIATIONS, _LATENT, generator=torch.Generator().manual_seed(_SEED + number))
        nearby = torch.cat([latents[number : number + 1], latents[number] + _NOISE * noise])
        folder = output / f"v{position:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, variation in enumerate((0, *variations)):
            _picture(generator, nearby[variation]).save(folder / f"{name}.png", optimize=True)


def label(pack: Path) -> None:
    """Write ``labels.csv`` into a pack: how each person looks to the eye, and the skin of its aim by its pixels.

    Args:
        pack: Folder of the pack.
    """
    detector = FaceDetector()
    people = sorted(pack.glob("v*"))
    angles = measure_trait("skin", [_only_face(detector, person / "0.png") for person in people]).round().int().tolist()
    lines = ["name,sex,age,skin,ita"]
    for person, seen, angle in zip(people, _SEEN.split(";"), angles, strict=True):
        lines.append(",".join([person.name, *seen.split(), str(angle)]))
    (pack / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(pack: Path, strangers: Sequence[Path]) -> tuple[dict[str, str], list[str]]:
    """Return what was measured on a pack, as a table, and the rules that it breaks.

    Args:
        pack: Folder of the pack.
        strangers: Photos of real people.
    """
    detector = FaceDetector()
    people = {folder.name: sorted(folder.glob("*.png")) for folder in sorted(pack.glob("v*"))}
    faces = {name: [_only_face(detector, path) for path in paths] for name, paths in people.items()}
    owners = torch.tensor([number for number, images in enumerate(faces.values()) for _ in images])
    table = {"identities": str(len(people)), "images": str(sum(map(len, people.values())))}
    broken = []
    for name, embedder in (("SFace", sface.build()), ("dlib", dlib_resnet.build())):
        threshold = embedder.spec.threshold or 1.0
        seen = {person: embed(embedder, images) for person, images in faces.items()}
        aims, every = torch.cat([images[:1] for images in seen.values()]), torch.cat(list(seen.values()))
        between = max((a @ b).item() for a, b in combinations(aims, 2))
        nearest = (every @ aims.T).argmax(dim=1)
        within = min((images[0] @ images[1:].T).min().item() for images in seen.values())
        table[f"{name}: threshold"] = f"{threshold:.3f}"
        table[f"{name}: largest cosine between the aims of two identities"] = f"{between:.3f}"
        table[f"{name}: images that resemble another identity's aim more than their own"] = str(
            int((nearest != owners).sum())
        )
        table[f"{name}: smallest cosine of a check image to its aim"] = f"{within:.3f}"
        if between >= threshold:
            broken.append(f"two identities are as close as one person in {name}")
        if within < threshold:
            broken.append(f"a check image is another person than its aim in {name}")
        if (nearest != owners).any():
            broken.append(f"an image resembles another identity's aim more than its own in {name}")
        if strangers:
            likeness = (aims @ _real(detector, embedder, strangers).T).amax(dim=1)
            table[f"{name}: largest cosine of an aim to {len(strangers)} photos of real people"] = (
                f"{likeness.max():.3f}"
            )
            table[f"{name}: mean over the aims of that cosine"] = f"{likeness.mean():.3f}"
    return table, broken


def _generator(state: dict[str, Tensor]) -> nn.Module:
    """Return the DCGAN: latents ``(N, 100, 1, 1)`` to pictures ``(N, 3, 64, 64)`` in [-1, 1]."""
    widths = (_LATENT, 512, 256, 128, 64)
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        stride, padding = (1, 0) if index == 0 else (2, 1)
        convolution = nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    layers += [nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False), nn.Tanh()]
    network = nn.Sequential(*layers)
    network.load_state_dict({name.removeprefix("main."): value for name, value in state.items()})
    return network.eval()


def _picture(generator: nn.Module, latent: Tensor) -> Image.Image:
    with torch.no_grad():
        pixels = (generator(latent.view(1, _LATENT, 1, 1))[0] + 1) * 127.5
    drawn = Image.fromarray(pixels.round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
    return drawn.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def _only_face(detector: FaceDetector, path: Path) -> FaceImage:
    photo = read_photo(path)
    (face,) = detector.find(photo, "all")
    return cut(photo, face)


def _real(detector: FaceDetector, embedder: Embedder, paths: Sequence[Path]) -> Tensor:
    photos = [read_photo(path) for path in paths]
    found = [(photo, detector.find(photo, "largest")) for photo in photos]
    return embed(embedder, [cut(photo, faces[0]) for photo, faces in found if faces])


if __name__ == "__main__":
    sys.exit(main())
