"""Compose one mask of the person in NumPy; see `compositions`."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from .compositions import BOX, MOST_DETECTIONS, Arrays, Detections, Queries

NEGLIGIBLE = 1e-6  # a score that no mask shows


@singledispatch
def person(layout: object, outputs: Arrays) -> np.ndarray:
    """P(person) as (1, 1, h, w) float32.

    Args:
        layout: where its parts are.
        outputs: the network's, by name.
    """
    raise TypeError(type(layout).__name__)


@person.register
def _(layout: Detections, outputs: Arrays) -> np.ndarray:
    prototypes = layout.field.planes(outputs[layout.prototypes].astype(np.float64))
    table = layout.table(outputs)
    scores = layout.scores(table)
    mask = np.zeros(layout.field.pixels)
    for index in np.argsort(-scores, kind="stable")[:MOST_DETECTIONS]:
        if scores[index] < NEGLIGIBLE:
            break
        row = table[index]
        inside = _inside(row[:BOX], layout)
        own = 1 / (1 + np.exp(-np.clip(np.tensordot(row[-layout.coefficients :], prototypes, 1), -700, 700)))
        mask = np.maximum(mask, scores[index] * inside * own)
    return mask[None, None].astype(np.float32)


def _inside(box: np.ndarray, layout: Detections) -> np.ndarray:
    """(h, w): the share of each pixel that is inside a box."""
    x1, y1, x2, y2 = box if layout.corners else (*(box[:2] - box[2:] / 2), *(box[:2] + box[2:] / 2))
    (height, width), picture = layout.field.pixels, layout.picture
    across = _covered(x1 * width / picture[1], x2 * width / picture[1], width)
    return np.outer(_covered(y1 * height / picture[0], y2 * height / picture[0], height), across)


def _covered(low: float, high: float, length: int) -> np.ndarray:
    """How much of each pixel i, which reaches from i to i + 1, is between two places."""
    edges = np.clip(np.arange(length + 1), low, max(low, high))
    return np.diff(edges)


@person.register
def _(layout: Queries, outputs: Arrays) -> np.ndarray:
    logits = outputs[layout.scores].astype(np.float64).reshape(layout.shape[-2:])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights = powers[:, list(layout.person)].sum(axis=1) / powers.sum(axis=1)
    masks = layout.field.planes(outputs[layout.masks].astype(np.float64))
    total = np.zeros(layout.field.pixels)
    for weight, mask in zip(weights, masks, strict=True):
        total += weight * (0.5 + 0.5 * np.tanh(0.5 * mask))
    return np.minimum(total, 1)[None, None].astype(np.float32)
