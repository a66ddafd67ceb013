"""What recognisers say of a face, as report.json has it, made up."""

from __future__ import annotations

from typing import Any


def sighting(similarity: float | None, threshold: float | None, place: Any = None) -> dict[str, Any]:
    known = similarity is not None and threshold is not None
    return {"similarity": similarity, "still_recognised": similarity >= threshold if known else None, "place": place}  # type: ignore[operator]


def verdict(
    saved: float | None,
    *,
    threshold: float | None = 0.5,
    white_box: bool = False,
    blind: bool = False,
    chooses: bool = False,
    cannot: str = "",
    **after: Any,
) -> dict[str, Any]:
    """A verdict on a saved photo and after changes; `blind`: the changes alone hide the original, too.

    With `cannot`, what the recogniser says does not count, whatever it says.
    """
    clean = {name: sighting(0.1 if blind else 0.9, threshold) for name in after}
    seen = sighting(saved, threshold)
    return {
        **({"cannot_judge": cannot} if cannot else {}),  # Older reports do not have the key.
        "white_box": white_box,
        "chooses": chooses,
        "similarity": saved,
        "target_similarity": None,
        "threshold": threshold,
        "still_recognised": seen["still_recognised"],
        "person": None,
        "before": {"none": sighting(1.0, threshold), **clean},
        "after": {"none": seen, **{name: sighting(each, threshold) for name, each in after.items()}},
    }
