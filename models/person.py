"""Reduce the logits of several classes to one logit of the person.

(N, K, h, w) → (N, 1, h, w).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import UsageError

# Classes that are a whole person. Cityscapes and Mapillary tell riders from pedestrians; both are people.
PEOPLE = {
    *("person", "people", "persons", "human", "humans", "pedestrian", "pedestrians", "individual", "individuals"),
    *("rider", "riders", "bicyclist", "cyclist", "motorcyclist", "other_rider"),
    *("man", "woman", "child", "boy", "girl", "baby", "men", "women", "children"),
}
# Classes that are a person or a part of one, in EasyPortrait, CelebAMask-HQ, LIP, ATR and similar sets.
PERSON_PARTS = PEOPLE | {
    *("body", "clothes", "skin", "face", "hair", "beard", "hat", "glasses", "occlusion", "neck", "nose", "head"),
    *("teeth", "lips", "brows", "left_brow", "right_brow", "left_eyebrow", "right_eyebrow"),
    *("eyes", "left_eye", "right_eye", "mouth", "cloth", "clothing", "others", "accessories", "body_skin", "face_skin"),
    *("l_brow", "r_brow", "l_eye", "r_eye", "l_ear", "r_ear", "ear_r", "u_lip", "l_lip", "eye_g", "neck_l"),
    *("sunglasses", "upper_clothes", "skirt", "pants", "dress", "belt", "bag", "scarf", "gloves", "glove", "coat"),
    *("socks", "jumpsuits", "left_shoe", "right_shoe", "left_leg", "right_leg", "left_arm", "right_arm"),
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
            person: for K ≥ 2, the classes that are the person; empty: for K = 2 class 1, else refused.
        """
        super().__init__()
        chosen = sorted(set(person)) or ([1] if num_labels == 2 else [])
        if positive not in ("person", "background"):
            raise UsageError(f"The positive class is `person` or `background`; found {positive!r}.")
        if num_labels > 1 and not (chosen and set(chosen) < set(range(num_labels))):
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
    """Find the classes that are the person by their names; empty if the names do not show it.

    >>> person_classes({0: "background", 1: "person", 2: "skin"})
    (1, 2)
    >>> person_classes({0: "background", 1: "human", 2: "dog"})
    (1,)
    """
    names = {k: _names_in(label) for k, label in sorted(id2label.items())}
    others = [k for k, found in names.items() if "background" not in found]
    people = tuple(k for k in others if names[k] & PEOPLE)
    parts = PERSON_PARTS - {"others"} if people else PERSON_PARTS  # beside a whole person they are other things
    if len(others) < len(names) and all(names[k] & parts for k in others):
        return tuple(others)
    if people:
        return people
    return tuple(others) if len(others) == 1 and len(names) == 2 else ()


def _names_in(label: str) -> set[str]:
    """The names in a label: `person;individual;someone` (ADE20K) and `human--person` (Mapillary) have several."""
    parts = re.split(r"--|[,;/|]", label.strip().lower())
    return {re.sub(r"[\s-]+", "_", part.strip()) for part in parts}


def _channels(x: Tensor, classes: Sequence[int]) -> Tensor:
    """Some channels of (N, K, h, w), as a slice if they are adjacent: a slice exports better than a gather."""
    first, last = classes[0], classes[-1]
    if list(classes) == list(range(first, last + 1)):
        return x[:, first : last + 1]
    return torch.cat([x[:, k : k + 1] for k in classes], dim=1)
