"""Reduce the logits of several classes to one logit of the person.

(N, K, h, w) → (N, 1, h, w).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import UsageError

# Classes that are a person or a part of one, in EasyPortrait and similar sets of portraits.
PERSON_PARTS = {
    *("person", "body", "clothes", "skin", "face", "hair", "beard", "hat", "glasses", "occlusion", "neck", "nose"),
    *("teeth", "lips", "brows", "left_brow", "right_brow", "left_eyebrow", "right_eyebrow"),
    *("eyes", "left_eye", "right_eye"),
}


class PersonLogit(nn.Module):
    """Wrap a network of any classes so that it returns one logit of the person.

    σ of the result is P(person): the sum of softmax over the person's classes,
        K = 1:  ±l                      (minus if the network's positive class is the background)
        K ≥ 2:  logΣexp(l_person) − logΣexp(l_rest);   for K = 2 that is l_person − l_background

    forward takes what the network takes: (image) or (image, depth).
    """

    def __init__(self, net: nn.Module, *, num_labels: int, positive: str = "person", person: Sequence[int] = ()):
        """Wrap a network.

        Args:
            net: gives (N, num_labels, h, w).
            num_labels: K.
            positive: for K = 1, the class that the logit is about.
            person: for K ≥ 2, the classes that are the person; empty: all but class 0.
        """
        super().__init__()
        chosen = sorted(set(person)) or list(range(1, num_labels))
        if positive not in ("person", "background"):
            raise UsageError(f"The positive class is `person` or `background`; found {positive!r}.")
        if num_labels > 1 and not (set(chosen) < set(range(num_labels))):
            raise UsageError(f"The person's classes {chosen} must be some, not all, of 0..{num_labels - 1}.")
        self.net = net
        self.num_labels = num_labels
        self.sign = -1.0 if positive == "background" else 1.0
        self.person = chosen
        self.rest = [k for k in range(num_labels) if k not in chosen]

    def forward(self, *inputs: Tensor) -> Tensor:
        logits = self.net(*inputs)
        if self.num_labels == 1:
            return logits if self.sign > 0 else -logits
        return log_sum_exp(_channels(logits, self.person)) - log_sum_exp(_channels(logits, self.rest))


def log_sum_exp(x: Tensor) -> Tensor:
    """logΣexp over channels: (N, C, h, w) → (N, 1, h, w). Shifted by the maximum, so half precision cannot overflow."""
    if x.shape[1] == 1:
        return x
    top = torch.amax(x, dim=1, keepdim=True)
    return top + torch.log(torch.sum(torch.exp(x - top), dim=1, keepdim=True))


def person_classes(id2label: Mapping[int, str]) -> tuple[int, ...]:
    """Find the classes that are the person by their names; empty if the names do not show it (then: all but class 0).

    >>> person_classes({0: "background", 1: "person", 2: "skin"})
    (1, 2)
    >>> person_classes({0: "background", 1: "aeroplane", 2: "person"})
    (2,)
    """
    names = {k: label.strip().lower().replace(" ", "_") for k, label in id2label.items()}
    others = [k for k, name in names.items() if name != "background"]
    if len(others) < len(names) and all(names[k] in PERSON_PARTS for k in others):
        return tuple(sorted(others))
    if "person" in names.values():
        return tuple(sorted(k for k, name in names.items() if name == "person"))
    return tuple(sorted(others)) if len(others) < len(names) else ()


def _channels(x: Tensor, classes: Sequence[int]) -> Tensor:
    """Some channels of (N, K, h, w), as a slice if they are adjacent: a slice exports better than a gather."""
    first, last = classes[0], classes[-1]
    if list(classes) == list(range(first, last + 1)):
        return x[:, first : last + 1]
    return torch.cat([x[:, k : k + 1] for k in classes], dim=1)
