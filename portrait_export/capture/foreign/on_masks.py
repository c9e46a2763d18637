"""Judge by photographs with drawn masks whether what was chosen is the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UsageError
from .measured import Seen, separations

if TYPE_CHECKING:
    from .head import Head
    from .options import Settings

AGREEING = 4  # photographs that are needed to judge
# How often a pixel of the person has the larger value than one of the background: by a mask of the background, and by
# one of the person. Networks with random weights are between: what is bright in one photograph is dark in another.
CONTRARY, LIKELY = 0.15, 0.85
WELL = 0.93  # on average, by the person's mask of a trained network: the bundled ones reach 0.99, mirrored ones 0.89
CHANCE = 0.55  # where a hard mask misses the person, all pixels tie: 0.5
CLEARLY_BETTER = 0.1  # of the same share
BADLY = "what was chosen tells people from backgrounds badly"


def checked_on_masks(head: Head, seen: Seen, options: Settings, *, guessed: bool) -> Head:
    """Add what drawn masks of photographs say of a choice: a note, and a warning where they speak against it.

    Args:
        guessed: the person's class was chosen by the number of classes alone.
    Raises:
        UsageError: it marks the background, or another class marks the person, and the user chose neither.
    """
    positive = options.positive or "person"
    found = separations(seen, lambda values: _score(head, values))
    if len(found) < AGREEING:
        return head
    if positive == "background":
        found = [1 - value for value in found]
    note = (
        f"on {len(found)} photographs with drawn masks, a pixel of the person has the larger value in {min(found):.0%}"
        f" to {max(found):.0%} of all pairs (by chance: 50%)"
    )
    if guessed:
        _refuse_worse_class(head, seen, fmean(found), note)
    warnings = list(head.warnings)
    if median(found) <= CONTRARY and max(found) <= CHANCE:
        warnings.append(_background(head, options, positive, note))
    elif head.slope < 0 and options.positive is None and min(found) < LIKELY:
        warnings.append(
            f"the graph subtracts a probability from 1, which may be that of the background ({head.text}): taken as the"
            " person's (`positive=`)"
        )
    elif fmean(found) < WELL:
        warnings.append(
            f"{BADLY}: {note}. Look at the masks: the weights may be random or unfinished, the output or class another"
            " one, the pixels prepared otherwise, or the mask cropped, shifted or turned"
        )
    return replace(head, notes=(*head.notes, note), warnings=tuple(warnings))


def separation_of(head: Head, seen: Seen, positive: str) -> float | None:
    """How well an output tells the person from the background on photographs, on average; None without enough."""
    mean = _mean(separations(seen, lambda values: _score(head, values)))
    return 1 - mean if mean is not None and positive == "background" else mean


def clearly_better(seen: Mapping[str, Seen], chosen: str) -> str:
    """The output that tells people from backgrounds, where the chosen one does clearly worse; else the chosen one.

    Args:
        seen: values of the outputs that could be the mask; the last of their classes is looked at.
    """
    means = {name: _mean(separations(each, lambda values: values[-1])) or 0.0 for name, each in seen.items()}
    best = max(means, key=lambda name: means[name])
    better = means[best] >= LIKELY and means[best] > means[chosen] + CLEARLY_BETTER
    return best if better else chosen


def _mean(found: Sequence[float]) -> float | None:
    return fmean(found) if len(found) >= AGREEING else None


def _background(head: Head, options: Settings, positive: str, note: str) -> str:
    """A warning that the background was chosen. Raises UsageError where nobody chose it."""
    inverse = "person" if positive == "background" else "background"
    one = head.field.classes == 1 and head.kind != "argmax"
    which = f"`positive={inverse}`" if one else "another `person_class=`"
    if options.positive is None and options.person_class is None:
        classes = _others(head)
        raise UsageError(
            f"The output {head.output!r} marks the background rather than the person: {note}.",
            code="which-class",
            hint=f"{which} takes the other one; `positive=person` keeps this one."
            if one
            else f"name the person's class: `person_class={' or '.join(classes)}`.",
        )
    return f"what was chosen is probably the background: {note}; {which} takes the other one"


def _refuse_worse_class(head: Head, seen: Seen, mean: float, note: str) -> None:
    """Raise UsageError if another class tells people from backgrounds clearly better than the guessed one."""
    overlapping = head.kind in ("sigmoid", "multilabel", "probability")
    if head.picked is not None or head.field.classes < (2 if overlapping else 3):
        return
    others = [k for k in range(head.field.classes) if k not in head.person]
    means = {k: separation_of(replace(head, person=(k,)), seen, "person") or 0.0 for k in others}
    best = max(means, key=lambda k: means[k])
    if means[best] >= LIKELY and means[best] > mean + CLEARLY_BETTER:
        chosen = ", ".join(map(str, head.person))
        raise UsageError(
            f"Class {best} of the output {head.output!r} marks people better than class {chosen}, which its number of"
            f" classes suggests: {means[best]:.0%} of all pairs on average; {note}.",
            code="which-class",
            hint=f"name the person's class: `person_class={best}`, or `person_class={chosen}` if that is right.",
        )


def _others(head: Head) -> list[str]:
    count = max(head.field.classes, 2)
    return [str(k) for k in range(min(count, 4)) if k not in head.person_in_output]


def _score(head: Head, values: np.ndarray) -> np.ndarray:
    """What rises with P(person), from the classes of an output (K, n)."""
    if head.kind == "argmax":
        return np.isin(np.rint(values[0]), head.person).astype(np.float32)
    if len(values) == 1:
        return values[0]
    chosen = [k for k in head.person_in_output if k < len(values)]
    rest = [k for k in range(len(values)) if k not in chosen]
    if head.kind in ("sigmoid", "multilabel", "probability") or not rest:
        return values[chosen].max(0)
    return values[chosen].max(0) - values[rest].max(0)
