"""The one sentence that everything says of a run: the verdict, how visible the change is, and what to do if it is weak.

The command says it first, the report at its head, the page above its pictures, and Python in place of a result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from facecrypt.recipe.presets import load_presets, name_level
from facecrypt.verdicts.sentences import LOST, label_of, listed, of_others
from facecrypt.verdicts.verdict import (
    ASKED,
    FaceVerdict,
    changes,
    is_evidence,
    judge_outcome,
    most_visible,
    worst,
)

Face = Mapping[str, Any]

_RECOGNISED = ("recognised", "again")

_WORDS: Mapping[FaceVerdict, str] = {
    "weak": "Weak",
    "not judged": "Not judged",
    "not found again": "Not found again",
    "pass": "Pass",
}


def summarise(photos: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> str:
    """Return what a person needs to know of a run.

    Args:
        photos: The photos as report.json has them.
        recipe: The recipe as report.json has it.
    """
    faces = [face for photo in photos for face in photo["faces"]]
    parts = [*_of_faces(faces, recipe)] if faces else ["No face was changed, so there is nothing to judge."]
    failed = sum(photo.get("status") == "failed" for photo in photos)
    if failed:
        parts.append(f"{failed} of {len(photos)} photo{'' if len(photos) == 1 else 's'} failed.")
    return " ".join(parts)


def next_choice(recipe: Mapping[str, Any], faces: Sequence[Face]) -> dict[str, Any] | None:
    """Return what to try next for faces that are weak, as a key of the recipe: a preset, or a protection to ask for.

    Args:
        recipe: The recipe as report.json has it.
        faces: The faces as report.json has them.

    Returns:
        None where no face is weak, where no stronger masks are known, or where another method than the loop made them.
    """
    weak = [face for face in faces if face["verdict"] == "weak"]
    if not weak or not _by_loop(recipe):
        return None
    names, levels = list(load_presets()), _levels(recipe)
    reached = {str(face.get("level") or recipe.get("preset")) for face in weak}
    known = {name for name in reached if name in names and (levels or _is_whole(recipe, name))}
    strongest = {names[-1]} & known | set(levels[-1:]) - set(names)
    if reached <= strongest:
        return None
    if not levels and not any(_judges(face, _RECOGNISED) for face in weak):
        return {"protect": ASKED}
    if known < reached or reached & strongest:  # Some masks are of other settings than presets, or strongest already.
        return {"preset": names[-1]}
    return {"preset": names[max(map(names.index, known)) + 1]}


def _by_loop(recipe: Mapping[str, Any]) -> bool:
    """Return whether presets say how strong the masks are: other methods have settings of their own."""
    return bool(recipe.get("method", {"name": "iterative"})["name"] == "iterative")


def _of_faces(faces: Sequence[Face], recipe: Mapping[str, Any]) -> list[str]:
    verdict = worst(face["verdict"] for face in faces)
    assert verdict is not None  # Reports of earlier versions get one when they are read.
    asked = _asked(recipe)
    why = _one(faces[0], asked) if len(faces) == 1 else _many(faces)
    parts = [f"{_WORDS[verdict]}: {why}{'' if why.endswith('.') else '.'}", _looks(faces), _advice(faces, recipe)]
    return [part for part in parts if part]


def _one(face: Face, asked: float) -> str:
    held_out = {name: each for name, each in face["recognisers"].items() if not each["white_box"]}
    outcomes = {name: judge_outcome(each) for name, each in held_out.items()}
    kept = [name for name, outcome in outcomes.items() if outcome == "recognised"]
    again = [name for name, outcome in outcomes.items() if outcome == "again"]
    rid = [name for name, outcome in outcomes.items() if outcome == "not_recognised" and is_evidence(held_out[name])]
    if face["verdict"] == "not found again":
        return LOST
    if face["verdict"] == "not judged":
        return "no recogniser that gave no gradients judged this face, and what others make of it cannot be expected"
    if kept:
        return f"{_who(kept)} still take{_s(kept)} this face for the original"
    if again:
        after = listed(sorted({label_of(c) for name in again for c in changes(held_out[name], recognised=True)}))
        return f"{_who(again)} take{_s(again)} this face for the original again after {after}"
    if rid:
        return f"{_who(rid)} take{_s(rid)} this face for somebody else"
    told = of_others(face["expected"])
    told = told[0].lower() + told[1:]
    return told if face["verdict"] == "pass" else f"{told}; {100 * asked:g} % would be enough"


def _many(faces: Sequence[Face]) -> str:
    parts = []
    for verdict in _WORDS:
        those = [face for face in faces if face["verdict"] == verdict]
        one = len(those) == 1
        verb = f"{'passes' if one else 'pass'}" if verdict == "pass" else f"{'is' if one else 'are'} {verdict}"
        if those:
            parts.append(f"{len(those)} {verb}{_reason(those, verdict)}")
    return f"of {len(faces)} faces, {listed(parts)}"


def _reason(faces: Sequence[Face], verdict: FaceVerdict) -> str:
    """Return why faces are weak, or pass."""
    if verdict not in ("weak", "pass"):
        return ""
    wanted = _RECOGNISED if verdict == "weak" else ("not_recognised",)
    each = [_judges(face, wanted) for face in faces]
    names, expected = sorted(set().union(*each)), sum(not judges for judges in each)
    by = [f"{'recognised' if verdict == 'weak' else 'not recognised'} by {listed(names)}"] if names else []
    if expected:
        by.append(f"{f'{expected} ' if names else ''}by what is expected of others, not measured")
    return f" ({', '.join(by)})"


def _judges(face: Face, outcomes: Collection[str]) -> set[str]:
    """Return the recognisers without gradients that make one of these of a face."""
    return {
        name
        for name, verdict in face["recognisers"].items()
        if not verdict["white_box"] and judge_outcome(verdict) in outcomes
    }


def _looks(faces: Sequence[Face]) -> str:
    seen = most_visible(face["visible"] for face in faces)
    if seen is None:
        return ""
    return f"The change is {seen} visible." if len(faces) == 1 else f"The changes are {seen} visible at most."


def _advice(faces: Sequence[Face], recipe: Mapping[str, Any]) -> str:
    verdicts = {face["verdict"] for face in faces}
    if "weak" not in verdicts:
        return "To know more, name a recogniser under held_out." if "not judged" in verdicts else ""
    if not _by_loop(recipe):
        return f"Another strength may help: facecrypt list method {recipe['method']['name']} tells how it is set."
    choice = next_choice(recipe, faces)
    if choice is None:
        which = "this face" if len(faces) == 1 else "the weak faces"
        return f"Stronger masks do not help: what remains is to leave {which} out of the photo or to cover it."
    if "protect" in choice:
        return f"A stronger mask may help: --protect {choice['protect']}."
    return f"A stronger mask may help: {'strength=null ' if recipe.get('strength') else ''}preset={choice['preset']}."


def _asked(recipe: Mapping[str, Any]) -> float:
    asked = recipe.get("protect")
    return ASKED if asked is None else float(asked)


def _levels(recipe: Mapping[str, Any]) -> list[str]:
    """Return what a report calls the levels that a recipe tries, from the lightest on; nothing where it tries none."""
    levels = recipe.get("levels") if recipe.get("protect") is not None else (recipe.get("strength") or {}).get("levels")
    return [name_level(level) for level in levels or []]


def _is_whole(recipe: Mapping[str, Any], name: str) -> bool:
    """Return whether a recipe has the budget, the bound and the steps of a preset, so that it is as strong."""
    values = load_presets()[name]
    budget = recipe.get("budget") or {}
    same = [budget.get(key) == value for key, value in values["budget"].items()]
    return all(same) and all(recipe.get(key) == values[key] for key in ("epsilon", "steps"))


def _who(names: Sequence[str]) -> str:
    return f"{listed(names)}, which gave no gradients,"


def _s(names: Sequence[str]) -> str:
    return "s" if len(names) == 1 else ""
