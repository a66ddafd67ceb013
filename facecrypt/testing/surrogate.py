"""What a surrogate promises: `facecrypt.surrogates.embedder.Embedder`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest import SkipTest

import torch
from torch import Tensor

from facecrypt.choices import VIRTUAL
from facecrypt.errors import PhotoError
from facecrypt.surrogates.crops import crops
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import find_fault
from facecrypt.targets.selectors import Target, load_targets
from facecrypt.testing.inputs import detector, expect, expect_device, expect_everywhere, gap, sample_crops, works

_MOST_PEOPLE = 1000
_ROUNDING = 1e-4


def template_lies_in_the_crop(embedder: Embedder) -> None:
    """The five landmarks land inside the crop."""
    spec = embedder.spec
    outside = [(x, y) for x, y in spec.template if not (0 < x < spec.width and 0 < y < spec.height)]
    expect(
        len(spec.template) == 5 and not outside,
        "the template lies in the crop",
        measured=f"{len(spec.template)} points, outside: {outside}",
        allowed=f"5 points inside {spec.width}x{spec.height}",
        remedy="Give spec.template in pixels of the crop, x before y.",
    )


def returns_one_embedding_per_crop(embedder: Embedder) -> None:
    """Three crops give three embeddings of the dimension in the spec, in float32."""
    with works("crops give embeddings", "Take prepared crops (B, 3, H, W), return (B, D)."):
        found = embedder(sample_crops(embedder.spec))
    expect(
        tuple(found.shape) == (3, embedder.spec.dimension) and found.dtype == torch.float32,
        "three crops give three embeddings",
        measured=f"{tuple(found.shape)} in {found.dtype}",
        allowed=f"{(3, embedder.spec.dimension)} in torch.float32",
        remedy="Flatten the network's output to (B, D), and give spec.dimension D.",
    )


def embeddings_have_unit_length(embedder: Embedder) -> None:
    """Embeddings are finite unit vectors."""
    lengths = embedder(sample_crops(embedder.spec)).flatten(1).norm(dim=1)
    worst = gap(lengths, torch.ones_like(lengths))
    expect(
        worst <= _ROUNDING,
        "embeddings have unit length",
        measured=f"lengths {[round(length, 4) for length in lengths.tolist()]}",
        allowed=f"1 within {_ROUNDING}",
        remedy="Let Embedder normalise, and have the network return finite numbers that are not all zero.",
    )


def takes_a_slightly_changed_photo_for_the_same_person(embedder: Embedder) -> None:
    """The sample face, mirrored or in other light, is the same person by the threshold of the spec."""
    threshold = embedder.spec.threshold
    if threshold is None:
        raise SkipTest("its threshold is not known")
    original, *changed = embedder(sample_crops(embedder.spec))
    cosines = [(original @ each).item() for each in changed]
    expect(
        min(cosines) >= threshold,
        "a mirrored and a brighter face are the same person",
        measured=f"cosines {[round(cosine, 3) for cosine in cosines]}",
        allowed=f">= {threshold}",
        remedy="Check template, channel_order, mean, std and threshold of the spec against the publisher's code.",
    )


def threshold_decides(embedder: Embedder) -> None:
    """By the threshold of the spec, neither everybody nor nobody is the same person: no run counts it otherwise."""
    if embedder.spec.threshold is None:
        raise SkipTest("its threshold is not known")
    fault = "" if find_fault(embedder, by_threshold=False) else find_fault(embedder)
    expect(
        not fault,
        "the threshold lies between strangers and the same person",
        measured=fault,
        allowed="a cosine above that of some strangers, and not above that of a face with itself",
        remedy="Measure the threshold, or leave it None.",
    )


def same_answer_twice(embedder: Embedder) -> None:
    """The same crops give the same embeddings, bit by bit, and no random numbers are drawn."""
    crops = sample_crops(embedder.spec)
    kept, before = crops.clone(), torch.get_rng_state()
    first, second = embedder(crops), embedder(crops)
    expect(
        torch.equal(first, second),
        "the same crops give the same embeddings",
        measured=f"a difference of {gap(first, second):.2g}",
        allowed=0,
        remedy="Remove what is random, counts calls or learns in forward.",
    )
    expect(
        torch.equal(torch.get_rng_state(), before),
        "no random numbers are drawn",
        measured="another state of torch's random numbers",
        allowed="the same state",
        remedy="Remove what is random from forward: it changes what a run with the same seed does.",
    )
    expect(
        torch.equal(crops, kept),
        "crops are left as they are",
        measured=f"a change of {gap(crops, kept):.2g}",
        allowed=0,
        remedy="Change nothing in place.",
    )


def same_answer_in_a_batch_and_alone(embedder: Embedder) -> None:
    """A crop's embedding does not depend on the other crops of its batch."""
    crops = sample_crops(embedder.spec)
    worst = gap(embedder(crops), torch.cat([embedder(each[None]) for each in crops]))
    expect(
        worst <= _ROUNDING,
        "a crop gives the same embedding in a batch and alone",
        measured=f"a difference of {worst:.2g}",
        allowed=f"<= {_ROUNDING}",
        remedy="Take no statistics over the batch: fix those of normalisation layers.",
    )


def gradient_reaches_every_part_of_the_crop(embedder: Embedder) -> None:
    """The gradient by the crop is finite everywhere and nonzero in every part."""
    promise, remedy = "the gradient reaches every part of the crop", "Use torch's differentiable functions throughout."
    crops = sample_crops(embedder.spec)[:2].clone().requires_grad_()
    with works(promise, remedy):
        first, second = embedder(crops)
        (gradient,) = torch.autograd.grad(first @ second, crops)
    expect_everywhere(gradient, promise, remedy)


def gradient_is_finite_on_a_black_crop(embedder: Embedder) -> None:
    """Patches reach beyond the photo, where they are black."""
    crop = torch.zeros_like(sample_crops(embedder.spec)[:1]).requires_grad_()
    with works("a black crop has a gradient", "Use torch's differentiable functions throughout."):
        (gradient,) = torch.autograd.grad(embedder(crop).sum(), crop)
    count = int((~gradient.isfinite()).sum())
    expect(
        count == 0,
        "the gradient is finite on a black crop",
        measured=f"{count} values that are not finite",
        allowed="none",
        remedy="Keep roots, logarithms and divisions away from zero.",
    )


def refuses_other_sizes(embedder: Embedder) -> None:
    """Crops of another size are a ValueError that names the right one, not a wrong embedding."""
    height, width = embedder.spec.height, embedder.spec.width
    for shape in ((1, 3, height + 1, width), (1, 3, height, width - 1), (1, 1, height, width)):
        try:
            embedder(torch.zeros(shape))
            found = "an embedding"
        except ValueError as error:
            found = "" if str(height) in str(error) else f"ValueError: {error}"
        except Exception as error:  # Whatever else a network raises about a size.
            found = type(error).__name__
        expect(
            not found,
            "crops of another size are refused",
            measured=f"{found} for {shape}",
            allowed=f"a ValueError that names {height}",
            remedy="Leave the check of sizes to Embedder.raw.",
        )


def weights_are_frozen(embedder: Embedder) -> None:
    """No parameter wants a gradient, so a run keeps no graph where none is needed."""
    free = [name for name, parameter in embedder.named_parameters() if parameter.requires_grad]
    expect(
        not free,
        "the weights are frozen",
        measured=f"{len(free)} parameters that require a gradient, {', '.join(free[:3])}",
        allowed="none",
        remedy="Call requires_grad_(False) on the network after Embedder is made of it.",
    )
    expect(
        not embedder(sample_crops(embedder.spec)[:1]).requires_grad,
        "embeddings of plain crops have no graph",
        measured="an embedding that requires a gradient",
        allowed="none",
        remedy="Hold no tensors that require a gradient.",
    )


def stays_in_evaluation_mode(embedder: Embedder) -> None:
    """Lightning asks its parts to train; a recogniser does not."""
    embedder.train()
    training = [name or "itself" for name, module in embedder.named_modules() if module.training]
    embedder.eval()
    expect(
        not training,
        "stays in evaluation mode",
        measured=f"{len(training)} modules that train after train(), {', '.join(training[:3])}",
        allowed="none",
        remedy="Return an Embedder, whose train() does nothing, and switch no part of it on again.",
    )


def pickles(embedder: Embedder) -> None:
    """Several processes get the surrogate by pickle."""
    promise, remedy = "pickles", "Hold no lambdas, local classes, open files or sessions; name classes in a module."
    with works(promise, remedy):
        copied = pickle.loads(pickle.dumps(embedder))
    crops = sample_crops(embedder.spec)[:1]
    expect(
        torch.equal(copied(crops), embedder(crops)),
        promise,
        measured="another embedding after it",
        allowed="the same",
        remedy="Keep everything that counts in the state that pickle takes along.",
    )


def every_tensor_moves_along(embedder: Embedder) -> None:
    """What a module holds goes to the device with it: it is a parameter or a buffer."""
    loose = [
        f"{type(module).__name__}.{name}"
        for module in embedder.modules()
        for name, value in vars(module).items()
        if name not in ("_parameters", "_buffers", "_modules") and any(_tensors(value))
    ]
    expect(
        not loose,
        "every tensor moves along to another device",
        measured=f"plain attributes {', '.join(loose[:3])}",
        allowed="parameters and buffers",
        remedy="Use register_buffer(name, tensor, persistent=False).",
    )


def same_answer_on_cuda(embedder: Embedder) -> None:
    """CUDA gives the CPU's embeddings, up to rounding, in the same type."""
    if not torch.cuda.is_available():
        raise SkipTest("no CUDA device")
    crops = sample_crops(embedder.spec)
    with works("runs on CUDA", "Make tensors on the device of the crops."):
        found = copy.deepcopy(embedder).to("cuda")(crops.to("cuda"))
    worst = gap(found.cpu(), embedder(crops))
    expect(
        found.device.type == "cuda" and found.dtype == torch.float32 and worst <= 1e-2,
        "CUDA gives the CPU's embeddings",
        measured=f"a difference of {worst:.2g}, {found.dtype} on {found.device.type}",
        allowed="<= 0.01, torch.float32 on cuda",
        remedy="Stay on the device and in the type of the crops.",
    )


def stays_on_its_device(embedder: Embedder) -> None:
    """It computes where its weights and the crops are."""

    def compute(device: torch.device) -> Tensor:
        moved = copy.deepcopy(embedder).to(device)
        found: Tensor = moved(sample_crops(embedder.spec).to(device))
        return found

    expect_device("stays on its device", compute)


def recognises_people(embedder: Embedder, *, folder: str | Path | None = None) -> None:
    """Rank-1 identification of clean faces, detected and aligned as in a run, is above chance.

    The first photo of each person is enrolled, the others are searched for. The bound is low, three standard
    deviations above guessing: the check finds embeddings that say nothing of who it is, and no more. The built-in
    identities are easy: raw pixels, and SFace with its colours in the wrong order, recognise all of them, an untrained
    MobileNetV3 four of five. A folder of real people, in several photos each, says more.

    Args:
        embedder: The surrogate.
        folder: A subfolder of two or more photos per person; the built-in virtual identities by default.
    """
    people = people_in(VIRTUAL if folder is None else folder)
    labels = torch.tensor([number for number, person in enumerate(people) for _ in person.checks])
    with torch.no_grad():  # Whatever comes back: other checks say what is wrong with it.
        enrolled = embedder(crops(embedder, [person.aim for person in people])).flatten(1)
        probes = embedder(crops(embedder, [face for person in people for face in person.checks])).flatten(1)
    cosines = (probes @ enrolled.T).nan_to_num(nan=-1)
    # A tie is no recognition: one embedding for everybody would else be right once.
    right = cosines.gather(1, labels.unsqueeze(1)).squeeze(1).to(cosines)
    rank1 = ((cosines >= right.unsqueeze(1)).sum(1) == 1).float().mean().item()
    chance = 1 / len(people)
    allowed = chance + 3 * (chance * (1 - chance) / len(labels)) ** 0.5
    expect(
        rank1 > allowed,
        f"recognises people ({len(people)} people, {len(labels)} photos searched for)",
        measured=f"rank-1 of {100 * rank1:.1f} %",
        allowed=f"more than {100 * allowed:.1f} %; guessing gives {100 * chance:.1f} %",
        remedy="Check the weights, template, channel_order, mean and std of the spec.",
    )


def people_in(folder: str | Path) -> list[Target]:
    """Return the people of a folder, a subfolder of two or more photos each.

    Raises:
        PhotoError: If there are fewer than two.
    """
    return _people(str(folder))


@cache
def _people(where: str) -> list[Target]:
    people = [person for person in load_targets(where, _MOST_PEOPLE, detector(), "all") if person.checks]
    if len(people) < 2:
        raise PhotoError(
            f"folder: {where} holds {len(people)} people with two or more photos, allowed are 2 or more. "
            "Give each person a subfolder with two or more photos."
        )
    return people


def _tensors(value: object) -> Iterator[bool]:
    if isinstance(value, Tensor):
        yield True
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


CHECKS = (
    template_lies_in_the_crop,
    returns_one_embedding_per_crop,
    embeddings_have_unit_length,
    takes_a_slightly_changed_photo_for_the_same_person,
    threshold_decides,
    same_answer_twice,
    same_answer_in_a_batch_and_alone,
    gradient_reaches_every_part_of_the_crop,
    gradient_is_finite_on_a_black_crop,
    refuses_other_sizes,
    weights_are_frozen,
    stays_in_evaluation_mode,
    pickles,
    every_tensor_moves_along,
    same_answer_on_cuda,
    stays_on_its_device,
    recognises_people,
)
