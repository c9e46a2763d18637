"""Items of a folder in, square crops out; which photograph comes at which step is a function of seed and step alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..artifacts import LabelledFrame
from ..calibration.dataset import Item, check_items, find_items, load_item, resize_map, resize_photo
from ..errors import DataError
from .config import AugmentConfig, TrainConfig


@dataclass(frozen=True)
class Split:
    """What a run trains on and what it validates on; they share no photograph."""

    train: tuple[Item, ...]
    val: tuple[Item, ...]


def prepare(config: TrainConfig) -> Split:
    """Find, check and divide the photographs of a run. Every file is opened once before training starts.

    Raises:
        DataError: everything that is wrong with the folder in one report; or too few photographs.
    """
    items, faults = find_items(config.data)
    excluded = _excluded(config)
    items = [item for item in items if item.name not in excluded]
    faults = [*faults, *(f"{item.image}: it has no mask" for item in items if item.mask is None), *check_items(items)]
    if faults:
        raise DataError(
            f"{config.data} cannot be trained on as it is: {len(faults)} faults in {len(items)} photographs.",
            context=faults,
            hint="repair these files, or name their photographs in the `exclude` file.",
        )
    split = divide(items, config.holdout)
    if not split.train or not split.val:
        raise DataError(
            f"{config.data} has {len(split.train)} photographs to train on and {len(split.val)} to validate on;"
            " both are needed.",
            hint="add photographs, or folders images/train and images/val.",
        )
    return Split(tuple(item for item in split.train for _ in range(repeats(item, config))), split.val)


def repeats(item: Item, config: TrainConfig) -> int:
    """How often a photograph comes up in a pass."""
    return next((count for pattern, count in config.repeat.items() if fnmatchcase(item.name, pattern)), 1)


def divide(items: Sequence[Item], holdout: int) -> Split:
    """By the folders `train` and `val` where there are any (`test` is left alone), else by a hash of the names.

    The hash keeps a photograph on its side when others come and go.
    """
    if any(item.split for item in items):
        return Split(*(tuple(item for item in items if item.split == name) for name in ("train", "val")))
    ranked = sorted(items, key=lambda item: hashlib.sha256(item.name.encode()).digest())
    count = max(1, round(len(items) / holdout)) if len(items) > 1 else 0
    return Split(tuple(ranked[count:]), tuple(ranked[:count]))


def _excluded(config: TrainConfig) -> dict[str, str]:
    if not config.exclude:
        return {}
    try:
        return dict(json.loads(Path(config.exclude).read_text(encoding="utf-8"))["names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{config.exclude} is not a list of excluded photographs: {error!r}.") from error


@dataclass(frozen=True)
class Pick:
    """One place in one batch: which photograph, at which side in pixels, cropped by which random stream."""

    index: int
    size: int
    stream: tuple[int, int, int]  # seed, step, place in the batch over all processes


class Picks(Sampler[list[Pick]]):
    """The batches of steps `start` to `stop`. It has no state: a resumed run asks for the steps that are left.

    Each pass over the photographs is a permutation of its own, seeded by its number.
    """

    def __init__(self, config: TrainConfig, count: int, *, start: int, stop: int, rank: int = 0, world: int = 1):
        self.config, self.count, self.start, self.stop = config, count, start, stop
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[Pick]]:
        drawn = self._drawn_before(self.start)
        for step in range(self.start, self.stop):
            phase = self.config.phase_at(step)
            first = drawn + self.rank * phase.batch
            yield [
                Pick(self._photograph(first + i), phase.size, (self.config.seed, step, self.rank * phase.batch + i))
                for i in range(phase.batch)
            ]
            drawn += phase.batch * self.world

    def _drawn_before(self, step: int) -> int:
        total = 0
        for phase in self.config.phases:
            taken = min(step, phase.steps)
            total, step = total + taken * phase.batch * self.world, step - taken
        return total

    def _photograph(self, place: int) -> int:
        passed, within = divmod(place, self.count)
        return int(np.random.default_rng((self.config.seed, passed)).permutation(self.count)[within])


class Crops(Dataset[dict[str, Tensor]]):
    """Photographs cut to a random part and brought to a square, with their masks.

    A place gives {"image": (3, S, S) uint8, "mask": (1, S, S) float32 in 0..1} and, if the photographs have one,
    "depth": (1, S, S) float32.
    """

    def __init__(self, items: Sequence[Item], config: AugmentConfig, *, memory: int = 0):
        """
        Args:
            memory: bytes of photographs that are kept decoded.
        """
        self.items, self.config, self.memory = tuple(items), config, memory
        self._kept: dict[Item, LabelledFrame] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, pick: Pick) -> dict[str, Tensor]:
        labelled = self._decoded(self.items[pick.index])
        generator = np.random.default_rng(pick.stream)
        return as_tensors(
            cut(labelled, _random_box(labelled.frame.image.shape, self.config.crop, generator), pick.size)
        )

    def keep(self) -> None:
        """Decode as many photographs as may be kept, now. Processes that are forked later share them."""
        for item in self.items:
            if self.memory <= 0:
                return
            self._decoded(item)

    def _decoded(self, item: Item) -> LabelledFrame:
        if item in self._kept:
            return self._kept[item]
        labelled = load_item(item, size=None)
        size = _bytes(labelled)
        if size <= self.memory:
            self.memory -= size
            self._kept[item] = labelled
        return labelled


def _bytes(labelled: LabelledFrame) -> int:
    maps = (labelled.frame.image, labelled.frame.depth, labelled.mask)
    return sum(array.nbytes for array in maps if array is not None)


class Whole(Dataset[dict[str, Tensor]]):
    """Photographs as a model sees them when it is used: whole, stretched to the input's size."""

    def __init__(self, items: Sequence[Item], size: tuple[int, int]):
        self.items, self.size = tuple(items), size

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return as_tensors(load_item(self.items[index], size=self.size))


def as_tensors(labelled: LabelledFrame) -> dict[str, Tensor]:
    """A labelled frame as a place of a batch."""
    assert labelled.mask is not None
    tensors = {
        "image": torch.from_numpy(np.ascontiguousarray(labelled.frame.image.transpose(2, 0, 1))),
        "mask": torch.from_numpy(np.ascontiguousarray(labelled.mask[None], np.float32)),
    }
    if labelled.frame.depth is not None:
        tensors["depth"] = torch.from_numpy(np.ascontiguousarray(labelled.frame.depth[None], np.float32))
    return tensors


def cut(labelled: LabelledFrame, box: tuple[int, int, int, int], size: int) -> LabelledFrame:
    """The part (top, left, bottom, right) of a frame, in pixels, stretched to a square of `size`."""
    from dataclasses import replace

    top, left, bottom, right = box
    frame, square = labelled.frame, (size, size)
    image = resize_photo(np.ascontiguousarray(frame.image[top:bottom, left:right]), square)
    depth = None if frame.depth is None else resize_map(frame.depth[top:bottom, left:right], square)
    mask = None if labelled.mask is None else resize_map(labelled.mask[top:bottom, left:right], square)
    return replace(labelled, frame=replace(frame, image=image, depth=depth), mask=mask)


def _random_box(shape: tuple[int, ...], smallest: float, generator: Any) -> tuple[int, int, int, int]:
    """A part of a picture of (H, W, 3): each side between `smallest` and the whole; a third of the time the whole."""
    H, W = shape[:2]
    if generator.random() < 1 / 3:
        return 0, 0, H, W
    share = generator.uniform(smallest, 1)
    stretch = np.exp(generator.uniform(-0.2, 0.2))
    height = max(1, min(H, round(H * min(1.0, share * stretch))))
    width = max(1, min(W, round(W * min(1.0, share / stretch))))
    top, left = int(generator.integers(0, H - height + 1)), int(generator.integers(0, W - width + 1))
    return top, left, top + height, left + width
