"""Who identifies in a benchmark: recognisers with their embeddings of the gallery, and judges that are asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from facecrypt import registry
from facecrypt.benchmark.adversaries.base import TOP, Evaluator, Gallery
from facecrypt.benchmark.asking import AskedEvaluator
from facecrypt.benchmark.cast import Cast
from facecrypt.benchmark.config import EvaluatorSlot
from facecrypt.errors import EmbeddingError, FacecryptError, JudgeError, PhotoError, PluginError, WeightsError
from facecrypt.evaluation.embedding_cache import EmbeddingCache, recogniser_key
from facecrypt.judges.base import NotSentError, Sworn
from facecrypt.pipeline.builders import build_judge, build_recogniser, warn
from facecrypt.recipe.schema import JudgeSlot
from facecrypt.registry import JUDGES
from facecrypt.surrogates.judging import find_fault


class Panel:
    """The evaluators of a benchmark, and why some were left out: every photo counts for each of the others."""

    def __init__(self) -> None:
        self.evaluators: list[Evaluator] = []
        self.judges: list[AskedEvaluator] = []
        self.left_out: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.asked: dict[str, Sworn] = {}

    @contextmanager
    def asking(self, evaluator: Evaluator | AskedEvaluator) -> Iterator[None]:
        """Leave an evaluator out from now on if it gives no embedding of a photo, or no answer, in this context.

        One that makes no request goes on, so that all of them are counted.
        """
        try:
            yield
        except NotSentError:
            pass
        except (EmbeddingError, JudgeError, PluginError) as error:
            if isinstance(error, PluginError) and isinstance(evaluator, Evaluator):
                raise
            self._remove(evaluator)
            self.leave_out(evaluator.label, str(error))
            self.require_any()

    def _remove(self, evaluator: Evaluator | AskedEvaluator) -> None:
        if isinstance(evaluator, AskedEvaluator):
            self.judges.remove(evaluator)
        else:
            self.evaluators.remove(evaluator)

    def dismiss(self) -> None:
        """Have the judges clear away what they keep of this benchmark elsewhere, once."""
        while self.asked:
            label, judge = self.asked.popitem()
            try:
                judge.close()
            except (JudgeError, PluginError) as error:
                warn(f"evaluator {label}: {error}")

    def close(self) -> None:
        """End the asking, and tell what a dry run has counted, in place of results.

        Raises:
            FacecryptError: If there is nobody else.
        """
        self.dismiss()
        for judge in list(self.judges):
            spent = judge.judge.spending
            if spent is not None and spent.unsent:
                self.judges.remove(judge)
                self.leave_out(judge.label, f"dry run: {judge.describe_cost()} were counted, and none was made")
        self.require_any()

    def leave_out(self, label: str, reason: str) -> None:
        """Note, and tell the user, that an evaluator does not judge."""
        self.left_out[label] = reason
        warn(f"evaluator {label} is left out, as it could not judge: {reason}")

    def miss(self, label: str, reason: str) -> None:
        """Note, and tell the user, that an optional evaluator is not there."""
        self.missing[label] = reason
        warn(f"evaluator {label} does not judge this benchmark: {reason}")

    def require_any(self) -> None:
        """Raise FacecryptError if no evaluator is left."""
        if not self.evaluators and not self.judges:
            reasons = "; ".join(f"{label}: {reason}" for label, reason in (self.missing | self.left_out).items())
            raise FacecryptError(f"evaluators: none of them could judge ({reasons}). Name one that can.")


def seat(panel: Panel, cast: Cast, cache: EmbeddingCache, *, by_threshold: bool) -> None:
    """Build the evaluators of a benchmark, and have them embed or enrol the gallery.

    Args:
        panel: Where they sit.
        cast: Whom the benchmark is about.
        cache: Embeddings that are known.
        by_threshold: Whether their thresholds are to decide anything.

    Raises:
        FacecryptError: If none of them can judge, or the gallery cannot be used.
    """
    benchmark, protocol, numbers, detector = cast.benchmark, cast.protocol, cast.numbers, cast.detector
    paths = [entry.image for entry in protocol.gallery]
    labels = torch.tensor([numbers[entry.identity] for entry in protocol.gallery])
    for slot in benchmark.evaluators:
        if registry.get(JUDGES, slot.name).kind == "judge":
            _add_judge(panel, slot, cast)
            continue
        try:
            embedder = build_recogniser(slot.name, slot.args)
        except WeightsError as error:
            if not slot.optional:
                raise
            panel.miss(slot.label, str(error))
            continue
        fault = find_fault(embedder, by_threshold=by_threshold)
        if fault:
            panel.leave_out(slot.label, fault)
            continue
        key = recogniser_key(embedder)
        try:
            gallery, found = cache.embed_files(paths, embedder, key, detector, benchmark.faces)
        except EmbeddingError as error:
            panel.leave_out(slot.label, str(error))
            continue
        if found.sum() < max(TOP):
            raise PhotoError(
                f"gallery: {found.sum()} of {len(paths)} photos show a face, {max(TOP)} are needed. Add photos."
            )
        places = found.nonzero().flatten()
        panel.evaluators.append(Evaluator(slot.label, embedder, key, Gallery(gallery[found], labels[found]), places))
    panel.require_any()


def _add_judge(panel: Panel, slot: EvaluatorSlot, cast: Cast) -> None:
    """Enrol the gallery with a judge, and have it identify as the others do."""
    judge = panel.asked[slot.label] = build_judge(JudgeSlot(slot.name, slot.args))
    originals = slot.send_originals or not judge.remote
    evaluator = AskedEvaluator(slot.label, judge, originals, cast.detector, cast.benchmark.faces)
    try:
        evaluator.enrol(cast.protocol.gallery, cast.numbers)
    except (JudgeError, PluginError) as error:
        panel.leave_out(slot.label, str(error))
        return
    except PhotoError:
        raise
    except FacecryptError as error:
        if not slot.optional:
            raise
        panel.miss(slot.label, str(error))
        return
    panel.judges.append(evaluator)
