"""How fast a recipe is, and where time and memory go, beside what arithmetic alone would take."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from facecrypt.carriers.base import FOLDER
from facecrypt.engine.selection import choose_faces, load_references
from facecrypt.errors import NoFaceFoundError, PhotoError, RecipeError
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.methods.base import ITERATIVE
from facecrypt.methods.iterative.batch_size import MOST_AT_ONCE, faces_at_once
from facecrypt.methods.iterative.loop import ProtectionLoop, Surrogate
from facecrypt.methods.reference import Literal
from facecrypt.photos.files import read_photo
from facecrypt.pipeline import runner
from facecrypt.pipeline.builders import build_detector, build_surrogates
from facecrypt.pipeline.material import gather
from facecrypt.recipe.check import Recipe, level_recipes, tried_levels
from facecrypt.recipe.face_rules import face_rules
from facecrypt.recipe.judge_rules import is_remote
from facecrypt.recipe.presets import name_level
from facecrypt.recipe.schema import Args, Slot
from facecrypt.report.model import Report
from facecrypt.system.private_files import temporary_folder
from facecrypt.system.timing import Path as Stages
from facecrypt.system.timing import Stopwatch, stage
from facecrypt.targets.selectors import Target, load_targets

_LITERAL_STEPS = 4
_STAGES = ("start-up", "build", "read", "detect", "protect", "strength", "write", "verify", "report", "other")
_FUNCTIONS: dict[Callable[..., Any], str] = {
    torch.autograd.grad: "backward",
    Tensor.backward: "backward",
    torch.nn.functional.grid_sample: "crops",
}
_PRECISIONS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class StageTime:
    """A stage of a run.

    Attributes:
        stage: Its name; ``protect: ...`` are the parts of one stage.
        seconds: Time spent in it.
        share: The same as a share of the whole run, 0 to 1; all shares add up to 1.
    """

    stage: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Arithmetic:
    """What the multiplications of the surrogates alone would take.

    Attributes:
        forward_backward_gflop: 10^9 operations of one forward and backward pass of one face through the surrogates and
            views of a step, a multiplication with its addition counted as two.
        done_gflop: The same for what a step really does, candidate steps included, on average.
        machine_gflops: 10^9 operations per second of a product of two large matrices, same device, type and threads.
        floor_seconds: Forward and backward pass at that rate.
        ratio: Measured seconds per face and step over `floor_seconds`.
        used: Share of the machine's rate that protection reaches, by the operations really done.
    """

    forward_backward_gflop: float
    done_gflop: float
    machine_gflops: float
    floor_seconds: float
    ratio: float
    used: float


@dataclass(frozen=True)
class LiteralTime:
    """The paper's Algorithm 1 to the letter, beside the product's loop, in the same process.

    Attributes:
        seconds_per_step: Of one face through every surrogate of the recipe, without views and naturalness terms.
        ratio: The same over the product's seconds per face and step.
    """

    seconds_per_step: float
    ratio: float


@dataclass(frozen=True)
class Figures:
    """What `measure` found; sizes in bytes, times in seconds.

    Attributes:
        device: Device that made the masks.
        threads: Threads of torch on the CPU.
        cores: Processor cores of the machine.
        photos: Photos of the run.
        faces: Faces that were protected.
        steps: Iterations of each; where the strength is chosen, those of the strongest level.
        faces_per_batch: Largest number of faces protected together.
        seconds: Of the whole run, start-up included.
        seconds_per_face: Without ``start-up`` and ``build``, which a run does once.
        faces_per_second: The inverse.
        seconds_per_face_and_step: Of ``protect`` alone.
        peak_memory: Main memory of the process at its highest; None where the system does not tell.
        gpu_peak_memory: Memory of the graphics card at its highest; None without one.
        stages: Where the time went.
        arithmetic: What arithmetic alone would take.
        literal: The literal reference, if it was asked for.
    """

    device: str
    threads: int
    cores: int
    photos: int
    faces: int
    steps: int
    faces_per_batch: int
    seconds: float
    seconds_per_face: float
    faces_per_second: float
    seconds_per_face_and_step: float
    peak_memory: int | None
    gpu_peak_memory: int | None
    stages: list[StageTime]
    arithmetic: Arithmetic
    literal: LiteralTime | None


def measure(recipe: Recipe, faces: int, literal: bool, started: float = 0.0) -> Figures:
    """Run a recipe's pipeline on some faces and return where its time goes.

    The recipe's photos, or the sample photo, are repeated until there are enough faces. Everything is written to a
    folder that goes away. One process does all, photos are read in it, and nothing runs ahead, so that times add up.
    What happens inside ``protect`` comes from a second run of one batch, since looking inside slows it down; where the
    strength is chosen, at the strongest level.

    Args:
        recipe: A checked recipe.
        faces: Least number of faces.
        literal: Whether to time the literal reference, too.
        started: Seconds that the program took until now.

    Raises:
        RecipeError: If its method has no loop to look into.
        FacecryptError: If the recipe cannot run, or no photo shows a face.
    """
    if recipe.method.name != ITERATIVE:
        fault = (
            f"method: bench looks inside the loop of steps, which {recipe.method.name!r} has not. Name a recipe whose "
            f"method is {ITERATIVE!r}; report.json of a run tells the seconds that each face took."
        )
        raise RecipeError("recipe", [fault])
    with temporary_folder("bench") as folder:
        own = replace(
            recipe,
            output=str(folder / "protected"),
            in_place=False,
            name="{stem}{suffix}",
            workers=0,
            held_out=[judge for judge in recipe.held_out if not is_remote(judge)],  # Measuring is not worth a bill.
            trainer=replace(recipe.trainer, devices=1, strategy="auto", num_nodes=1),
        )
        images = _fill(own, folder / "photos", faces)
        own = replace(own, photos=str(folder / "photos"), source=Slot(FOLDER), sink=Slot(FOLDER))
        watch = Stopwatch()
        with watch.running():
            report = runner.run(own)
        peak, device = _peak_memory(), torch.device(report.device)
        gpu_peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    done = sum(len(photo["faces"]) for photo in report.photos)
    seconds = _by_stage(watch) | {"start-up": started}
    levels = level_recipes(recipe)
    each = seconds["protect"] / _iterations(report, levels, tried_levels(recipe))
    inside = _Inside(levels[-1], device)
    at_once = recipe.batch_size if isinstance(recipe.batch_size, int) else faces_at_once(inside.loop)
    parts = inside.parts(images[: min(at_once, done)])
    rows = _rows(seconds, parts)
    whole = sum(seconds.values())
    repeated = whole - seconds["start-up"] - seconds["build"]
    return Figures(
        device=report.device,
        threads=torch.get_num_threads(),
        cores=os.cpu_count() or 1,
        photos=len(report.photos),
        faces=done,
        steps=levels[-1].steps,
        faces_per_batch=at_once,
        seconds=whole,
        seconds_per_face=repeated / done,
        faces_per_second=done / repeated,
        seconds_per_face_and_step=each,
        peak_memory=peak,
        gpu_peak_memory=gpu_peak,
        stages=rows,
        arithmetic=inside.arithmetic(images[0], each),
        literal=inside.literal(images[0], each) if literal else None,
    )


def _fill(recipe: Recipe, folder: Path, faces: int) -> list[FaceImage]:
    """Fill a folder with copies of a recipe's photos until they show enough faces, and return those of one batch.

    No more are kept, since the memory of a long run is to be the run's own.
    """
    folder.mkdir()
    detector, images = build_detector(recipe.detector), list[FaceImage]()
    references = load_references(recipe.faces, detector)
    room = recipe.batch_size if isinstance(recipe.batch_size, int) else MOST_AT_ONCE
    counts: dict[Path, int] = {}
    with gather(replace(recipe, sink=Slot(FOLDER)), runner.sample_photo(), []) as material:
        for source, _ in material.chosen:
            if sum(counts.values()) >= faces:
                break
            try:
                photo = read_photo(source)
                found = choose_faces(photo, recipe.faces, detector, references).faces
            except PhotoError:
                continue
            images += [cut(photo, face) for face in found[: room - len(images)]]
            if found:
                counts[source] = len(found)
        if not counts:
            raise NoFaceFoundError("photos: none of them shows a face. Name photos with faces to measure on.")
        shown = 0
        for number, source in enumerate(itertools.cycle(counts)):
            if shown >= faces:
                break
            shutil.copyfile(source, folder / f"{number:06d}-{source.name}")
            shown += counts[source]
    return list(itertools.islice(itertools.cycle(images), min(room, shown)))


def _iterations(report: Report, levels: Sequence[Recipe], tried: Sequence[Args]) -> int:
    """Return the iterations of all faces together, those at lighter levels than a face's own included."""
    names = [name_level(level) for level in tried] if tried else [None]
    reached = [names.index(face["level"]) for photo in report.photos for face in photo["faces"]]
    return sum(level.steps for last in reached for level in levels[: last + 1])


def _by_stage(watch: Stopwatch) -> dict[str, float]:
    """Return the seconds of the outermost stages; reading and searching the saved file is part of verifying it."""
    seconds = dict.fromkeys(_STAGES, 0.0)
    for path, spent in watch.seconds.items():
        seconds[path[0] if path else "other"] += spent
    return seconds


def _rows(seconds: dict[str, float], parts: dict[str, float]) -> list[StageTime]:
    whole, inside = sum(seconds.values()), sum(parts.values())
    rows = []
    for name, spent in seconds.items():
        if name == "strength" and not spent:  # The recipe leaves no choice.
            continue
        if name == "protect":
            split = [(f"protect: {part}", spent * value / inside) for part, value in parts.items()]
            rows += [StageTime(part, value, value / whole) for part, value in split]
        else:
            rows.append(StageTime(name, spent, spent / whole))
    return rows


class _Inside:
    """The protection loop of a recipe on its own, to look inside."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        aligned = face_rules(recipe.faces).choose == "aligned"
        detector = build_detector(recipe.detector)
        self.targets: list[Target] = load_targets(
            recipe.targets,
            recipe.max_targets,
            detector,
            "aligned" if aligned else "largest",
            recipe.target_weights,
        )
        self.surrogates: list[Surrogate] = build_surrogates(recipe, [])
        self.own_photos = runner.load_own_photos(recipe, self.surrogates, detector)
        self.loop: ProtectionLoop = self._build().to(device)
        self.dtype = _PRECISIONS.get(recipe.trainer.precision, torch.float32)

    def _build(self) -> ProtectionLoop:
        return runner.build_loop(self.recipe, self.surrogates, self.targets, self.own_photos)

    def parts(self, faces: Sequence[FaceImage]) -> dict[str, float]:
        """Return the seconds of each part of protecting some faces."""
        self._run(self.loop, faces[:1], 1)
        watch = Stopwatch(self._wait)
        loop = self._build().to(self.device)
        loop.target_selector = _timed(loop.target_selector, "select")
        loop.optimizer = _timed(loop.optimizer, "step")
        loop.views = [_timed(view, "views") for view in loop.views]
        loop.naturalness = [(_timed(term, "naturalness"), weight) for term, weight in loop.naturalness]
        hooks = [hook for embedder in loop.embedders for hook in _hook(embedder.network, watch)]
        with watch.running(), _MarkFunctions():
            self._run(loop, faces, self.recipe.steps)
        for hook in hooks:
            hook.remove()
        return _named(watch.seconds)

    def arithmetic(self, face: FaceImage, each: float) -> Arithmetic:
        """Return what one face costs in operations, and what these would take.

        Args:
            face: A face.
            each: Measured seconds per face and step.
        """
        passes = _Operations()
        with passes:
            for embedder in self.loop.embedders:
                crop = torch.zeros(1, 3, embedder.spec.height, embedder.spec.width, device=self.device)
                with torch.enable_grad():
                    crop.requires_grad_()
                    torch.autograd.grad(embedder(crop).sum(), crop)
        drawn = self.recipe.surrogates_per_step or len(self.loop.embedders)
        once = passes.total * self.recipe.views_per_step * drawn / len(self.loop.embedders)
        whole = _Operations()
        with whole:
            self._run(self.loop, [face], self.recipe.steps)
        done = whole.total / self.recipe.steps
        rate = self._machine_rate()
        return Arithmetic(once / 1e9, done / 1e9, rate / 1e9, once / rate, each * rate / once, done / rate / each)

    def literal(self, face: FaceImage, each: float) -> LiteralTime:
        """Return the time of the literal reference.

        Args:
            face: A face.
            each: Measured seconds per face and step of the product.
        """
        epsilon, step_size = self.recipe.epsilon / 255, self.recipe.step_size / 255
        seconds = 0.0
        for embedder in self.loop.embedders:
            reference = Literal(embedder, face, self.targets, epsilon=epsilon, step_size=step_size)
            self._wait()
            began = time.perf_counter()
            reference.run(_LITERAL_STEPS)
            self._wait()
            seconds += time.perf_counter() - began
        return LiteralTime(seconds / _LITERAL_STEPS, seconds / _LITERAL_STEPS / each)

    def _run(self, loop: ProtectionLoop, faces: Sequence[FaceImage], steps: int) -> None:
        loop.settings = replace(loop.settings, steps=steps)
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype) if mixed else nullcontext():
            loop.run(faces, list(range(len(faces))))

    def _machine_rate(self) -> float:
        """Return the operations per second of the best of several products of two square matrices."""
        side = 1024 if self.device.type == "cpu" else 8192
        matrix = torch.rand(side, side, device=self.device, dtype=self.dtype)
        best = float("inf")
        backend = torch.backends.cuda.matmul
        before = backend.allow_tf32
        # Convolutions round float32 to 19 bits by default, and products do not: the rate would flatter the loop.
        backend.allow_tf32 = torch.backends.cudnn.allow_tf32
        try:
            for _ in range(20):
                self._wait()
                began = time.perf_counter()
                matrix @ matrix
                self._wait()
                best = min(best, time.perf_counter() - began)
        finally:
            backend.allow_tf32 = before
        return 2 * side**3 / best

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types.
    """Counts the operations of matrix products and convolutions inside the block, as torch's own flop counter does.

    That one also follows modules, for which it must not be given leaves of the graph.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


class _MarkFunctions(TorchFunctionMode):
    """Marks what torch's own functions do, wherever in the loop they are called."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = _FUNCTIONS.get(func)
        with stage(name) if name else nullcontext():
            return func(*args, **(kwargs or {}))


def _hook(network: torch.nn.Module, watch: Stopwatch) -> list[torch.utils.hooks.RemovableHandle]:
    return [
        network.register_forward_pre_hook(lambda *_: watch.enter("forward")),
        network.register_forward_hook(lambda *_: watch.leave()),
    ]


def _timed(part: Any, name: str) -> Any:
    return _Timed(part, name)


class _Timed:
    """A component whose calls are a stage."""

    def __init__(self, part: Any, name: str) -> None:
        self._part, self._name = part, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with stage(self._name):
            return self._part(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        return stage(self._name)(value) if callable(value) else value


def _named(seconds: dict[Stages, float]) -> dict[str, float]:
    """Return the parts of protection by name: what a selector tries is told apart from the step itself."""
    parts: dict[str, float] = {}
    for path, spent in seconds.items():
        inner = path[-1] if path else "other"
        if path and path[0] == "select":
            inner = f"select, {inner if len(path) > 1 else 'other'}"
        parts[inner] = parts.get(inner, 0.0) + spent
    return dict(sorted(parts.items(), key=lambda part: -part[1]))


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:  # No POSIX.
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
