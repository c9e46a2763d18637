"""Build small networks with the outputs of instance segmentation: YOLO's detections and MaskFormer's queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE = 64
STRIDES = (8, 16, 32)


class Yolo(nn.Module):
    """Detections and prototypes as Ultralytics' exporter returns them.

    Args:
        form: `plain` (1, d, n), as YOLOv8 and later; `rows` (1, n, d); `objectness` (1, 3n, d), as YOLOv5; `selected`
            (1, 20, 6 + m): two corners, a score, a class, coefficients, as a network that selects itself.
    """

    def __init__(self, form: str, classes: int = 3, prototypes: int = 8, side: int = SIDE) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.form, self.classes, self.side = form, classes, side
        self.anchors = 3 if form == "objectness" else 1
        self.length = 4 + (form == "objectness") + classes + prototypes
        self.prototypes = nn.Conv2d(3, prototypes, 4, 4)
        self.heads = nn.ModuleList(nn.Conv2d(3, self.anchors * self.length, step, step) for step in STRIDES)
        for layer in (self.prototypes, *self.heads):
            nn.init.normal_(layer.weight, 0, 4 / layer.weight[0].numel() ** 0.5)
            nn.init.normal_(layer.bias, 0, 1)

    def rows(self, x: Tensor) -> Tensor:
        """(1, n, d): centre, width and height in pixels; objectness; scores; coefficients."""
        found = []
        for step, head in zip(STRIDES, self.heads, strict=True):
            raw = head(x).reshape(1, self.anchors, self.length, -1).permute(0, 1, 3, 2).reshape(1, -1, self.length)
            side = self.side // step
            places = (torch.arange(side) + 0.5) * step
            centres = torch.stack([places.repeat(side), places.repeat_interleave(side)], 1).repeat(self.anchors, 1)
            centres = centres + raw[..., :2].tanh() * step
            sides = raw[..., 2:4].sigmoid() * 3 * step + 2
            last = 4 + (self.form == "objectness") + self.classes
            found.append(torch.cat([centres, sides, (raw[..., 4:last] - 1).sigmoid(), raw[..., last:]], 2))
        return torch.cat(found, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.rows(x)
        if self.form == "plain":
            rows = rows.transpose(1, 2)
        if self.form == "selected":
            best, number = rows[..., 4 : 4 + self.classes].max(2, keepdim=True)
            half = rows[..., 2:4] / 2
            corners = [rows[..., :2] - half, rows[..., :2] + half]
            rows = torch.cat([*corners, best, number.float(), rows[..., 4 + self.classes :]], 2)
            rows = rows[:, best[0, :, 0].topk(20).indices]
        return rows, self.prototypes(x)


def person_of_detections(rows: Tensor, prototypes: Tensor, form: str, person: list[int]) -> Tensor:
    """The oracle, (h, w): the largest of all masks, each as Ultralytics' `process_mask` computes it, cut to its box
    with partial pixels at the edges, times its score.
    """
    found = rows[0].T if form == "plain" else rows[0]
    count = prototypes.shape[1]
    height, width = prototypes.shape[2:]
    if form == "selected":
        x1, y1, x2, y2 = found[:, :4].T
        scores = found[:, 4] * sum(found[:, 5] == k for k in person)
    else:
        x, y, w, h = found[:, :4].T
        x1, y1, x2, y2 = x - w / 2, y - h / 2, x + w / 2, y + h / 2
        first = 5 if form == "objectness" else 4
        scores = found[:, [first + k for k in person]].amax(1)
        scores = scores * found[:, 4] if form == "objectness" else scores
    masks = (found[:, -count:] @ prototypes[0].flatten(1)).sigmoid().reshape(-1, height, width)
    across = _overlap(x1 / 4, x2 / 4, width)[:, None, :]
    return (masks * across * _overlap(y1 / 4, y2 / 4, height)[:, :, None] * scores[:, None, None]).amax(0)


def _overlap(low: Tensor, high: Tensor, length: int) -> Tensor:
    pixels = torch.arange(length)[None]
    return (torch.minimum(high[:, None], pixels + 1) - torch.maximum(low[:, None], pixels)).clamp(min=0)


class Queries(nn.Module):
    """Classes of queries, the last one "no object", and their masks, as MaskFormer returns them."""

    def __init__(self, classes: int = 3, queries: int = 12) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.classes = nn.Conv2d(3, queries * (classes + 1), 16, 16)
        self.masks = nn.Conv2d(3, queries, 4, 4)
        self.queries, self.side = queries, SIDE
        for layer in (self.classes, self.masks):
            nn.init.normal_(layer.weight, 0, 6 / layer.weight[0].numel() ** 0.5)
        nn.init.constant_(self.masks.bias, -4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(x).mean((2, 3)).reshape(1, self.queries, -1), self.masks(x)


def person_of_queries(classes: Tensor, masks: Tensor, person: list[int]) -> Tensor:
    """The oracle, (h, w): `semantic_inference` of Mask2Former's repository, and its sum over classes, at most 1."""
    scores = torch.einsum("bqc,bqhw->bchw", classes.softmax(-1)[..., :-1], masks.sigmoid())
    return scores[0, person].sum(0).clamp(max=1)
