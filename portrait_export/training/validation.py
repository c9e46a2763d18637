"""Score a network on the validation photographs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .evaluate import FALSE_PERSON_SHARE, HAZE


def measured(logits: Tensor, mask: Tensor) -> Tensor:
    """(N, 4): per image, the shares of pixels that are person in both, in either, in the prediction, and in doubt."""
    predicted, drawn, probability = logits > 0, mask >= 0.5, torch.sigmoid(logits)
    doubt = (probability > HAZE[0]) & (probability < HAZE[1])
    return torch.stack([x.float().mean((1, 2, 3)) for x in (predicted & drawn, predicted | drawn, predicted, doubt)], 1)


def validation_numbers(seen: Tensor, sources: Sequence[str]) -> dict[str, float]:
    """Compute the numbers that are logged after a validation.

    A photograph's score is its IoU. If nobody is in it, the score is 1 if at most FALSE_PERSON_SHARE of its pixels are
    predicted as person, else 0.

    Args:
        seen: (N, 4), from `measured`.
        sources: the source of each photograph.
    Returns:
        iou: the mean over sources of each one's mean score, by which the best moment is chosen; iou_worst: the lowest
        score; iou_set: all pixels counted together; haze: share of pixels in doubt; false_person: share of the
        photographs of nobody with a person in them; and each source's score under its pattern, if there are several.
    """
    shared, either, predicted, doubt = seen.double().unbind(1)
    empty = either <= predicted  # nothing is drawn outside the prediction ...
    empty &= shared == 0  # ... nor inside
    quiet = predicted <= FALSE_PERSON_SHARE
    score = torch.where(empty, quiet.double(), shared / either.clamp(min=1e-12))
    means = {name: float(score[[s == name for s in sources]].mean()) for name in dict.fromkeys(sources)}
    total = float(either.sum())
    return {
        "iou": sum(means.values()) / len(means),
        "iou_worst": float(score.min()),
        "iou_set": float(shared.sum()) / total if total else 1.0,
        "haze": float(doubt.mean()),
        "false_person": float((~quiet[empty]).double().mean()) if empty.any() else 0.0,
        **(means if len(means) > 1 else {}),
    }
