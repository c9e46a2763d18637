"""Draw training crops and composites; each step's batch depends only on seed and step."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..artifacts import LabelledFrame
from ..calibration.dataset import Item, check_items, find_items, load_item, map_each, resize_map, resize_photo
from ..errors import DataError
from ..imaging.encode import image_bytes
from .compositing import Composer, Scene
from .config import SourceConfig, TrainConfig
from .cutouts import CutOut, cut_from, read_cutout
from .trust import trusted

T = TypeVar("T")
CYCLE = 120  # places of training after which every source has had its share
FEW_ATTEMPTS = 20  # draws until a photograph's people can be cut out


@dataclass(frozen=True)
class Split:
    """What a run trains on and what it validates on; they share no photograph. `cutouts` are RGBA pictures to paste."""

    train: tuple[Item, ...]
    val: tuple[Item, ...]
    cutouts: tuple[Path, ...] = ()


def prepare(config: TrainConfig) -> Split:
    """Find, check and divide the photographs of a run. Every file is opened once before training starts.

    Raises:
        DataError: everything that is wrong with the folder in one report; or too few photographs.
    """
    items, faults = find_items(config.data)
    excluded = _excluded(config)
    items = [item for item in items if item.name not in excluded and source_of(item, config.sources) is not None]
    cutouts = find_cutouts(config)
    faults = [*faults, *(f"{item.image}: it has no mask" for item in items if item.mask is None), *check_items(items)]
    faults += map_each(cutouts, read_cutout)[1]
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
    return replace(split, cutouts=tuple(cutouts))


def source_of(item: Item, sources: Sequence[SourceConfig]) -> int | None:
    """The index of the first source whose pattern matches the photograph's name; None if none does."""
    return next((i for i, source in enumerate(sources) if fnmatchcase(item.name, source.match)), None)


def find_cutouts(config: TrainConfig) -> list[Path]:
    """The RGBA pictures of `composite.cutouts`, sorted. Raises DataError if there are none."""
    if not config.composite.cutouts or not config.composite.share:
        return []
    folder = Path(config.data) / config.composite.cutouts
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".webp"))
    if not found:
        raise DataError(
            f"{folder} holds no cut-outs.", hint="composite.cutouts is a folder of RGBA pictures (.png, .webp)."
        )
    return found


def divide(items: Sequence[Item], holdout: int) -> Split:
    """By the folders `train` and `val` where there are any (`test` is left alone), else by a hash of the names.

    The hash keeps a photograph in its split when others are added or removed.
    """
    if any(item.split for item in items):
        train, val = (tuple(item for item in items if item.split == name) for name in ("train", "val"))
        return Split(train, val)
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


class Order:
    """The photograph at each place of the training.

    Sources take turns in a shuffled cycle that gives each its share; within a source each pass is a permutation of its
    own, seeded by its number.
    """

    def __init__(self, items: Sequence[Item], sources: Sequence[SourceConfig], seed: int):
        members: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            source = source_of(item, sources)
            if source is not None and sources[source].weight > 0:
                members.setdefault(source, []).append(index)
        if not members:
            raise DataError("No photograph belongs to a source with a weight above 0.")
        self.members, self.seed = members, seed
        counts = _shares({source: sources[source].weight for source in members}, CYCLE)
        cycle = [source for source, count in counts.items() for _ in range(count)]
        self.cycle = [cycle[i] for i in np.random.default_rng((seed, CYCLE)).permutation(len(cycle))]
        self.rank = [self.cycle[:i].count(source) for i, source in enumerate(self.cycle)]
        self.counts = counts
        self._permutations: dict[tuple[int, int], np.ndarray] = {}

    def photograph(self, place: int) -> int:
        """The index of the photograph at a place, counted from 0 over the whole training."""
        turn, within = divmod(place, len(self.cycle))
        source = self.cycle[within]
        passed, position = divmod(turn * self.counts[source] + self.rank[within], len(self.members[source]))
        return self.members[source][int(self._permutation(source, passed)[position])]

    def _permutation(self, source: int, passed: int) -> np.ndarray:
        key = (source, passed)
        if key not in self._permutations:
            if len(self._permutations) > 4 * len(self.members):
                self._permutations.clear()
            generator = np.random.default_rng((self.seed, source, passed))
            self._permutations[key] = generator.permutation(len(self.members[source]))
        return self._permutations[key]


def _shares(weights: dict[int, float], total: int) -> dict[int, int]:
    """Whole numbers of about `total`, in proportion to the weights, each at least 1."""
    whole = sum(weights.values())
    return {name: max(1, round(total * weight / whole)) for name, weight in weights.items()}


class Picks(Sampler[list[Pick]]):
    """The batches of steps `start` to `stop`. It has no state: a resumed run asks for the steps that are left."""

    def __init__(self, config: TrainConfig, order: Order, *, start: int, stop: int, rank: int = 0, world: int = 1):
        self.config, self.order, self.start, self.stop = config, order, start, stop
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[Pick]]:
        drawn = self._drawn_before(self.start)
        for step in range(self.start, self.stop):
            phase = self.config.phase_at(step)
            first = drawn + self.rank * phase.batch
            yield [
                Pick(
                    self.order.photograph(first + i), phase.size, (self.config.seed, step, self.rank * phase.batch + i)
                )
                for i in range(phase.batch)
            ]
            drawn += phase.batch * self.world

    def _drawn_before(self, step: int) -> int:
        total = 0
        for phase in self.config.stretches:
            taken = min(step, phase.steps)
            total, step = total + taken * phase.batch * self.world, step - taken
        return total


class Crops(Dataset[dict[str, Tensor]]):
    """Photographs cut to a random part and brought to a square, and composites, with their masks.

    A place gives {"image": (3, S, S) uint8, "mask": (1, S, S) float32 in 0..1, "trust": (1, S, S) float32, 0 where the
    mask should not be trained on} and, if the photographs have one, "depth": (1, S, S) float32.
    """

    def __init__(self, split: Split, config: TrainConfig):
        self.items, self.cutouts, self.config = split.train, split.cutouts, config
        # Bytes left: a third is for cut-outs, which are small and take longest to make.
        memory = config.memory << 20
        self.cutout_memory = memory // 3 if config.composite.share else 0
        self.memory = memory - self.cutout_memory
        self._kept: dict[Item, LabelledFrame] = {}
        self._people: dict[Item | Path, CutOut | None] = {}
        self.composer = Composer(
            config.composite, background=self._background, texture=self._texture, person=self._person
        )
        self._empty: list[int] | None = None
        sources = [source_of(item, config.sources) for item in self.items]
        sizes = Counter(sources)
        weights = np.asarray([0.0 if s is None else config.sources[s].paste / sizes[s] for s in sources])
        self._paste = weights / weights.sum() if weights.sum() else np.full(len(weights), 1 / max(1, len(weights)))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, pick: Pick) -> dict[str, Tensor]:
        generator = np.random.default_rng(pick.stream)
        if generator.random() < self.config.composite.share:
            return scene_tensors(self._finished(self.composer.compose(pick.size, generator), generator))
        part = self._part(pick.index, self.config.augment.crop, pick.size, generator)
        if part.frame.depth is not None:
            return as_tensors(part)
        return scene_tensors(self._finished(_as_scene(part), generator))

    def keep(self) -> None:
        """Decode as many photographs and cut-outs as may be kept, now. Processes that are forked later share them."""
        for item in self.items:
            if self.memory <= 0:
                break
            self._decoded(item)
        pasted = [item for item, weight in zip(self.items, self._paste, strict=True) if weight]
        sources: list[Item | Path] = [*self.cutouts, *pasted]
        for source in sources:
            if self.cutout_memory <= 0:
                break
            self._cut(source)

    def _finished(self, scene: Scene, generator: np.random.Generator) -> Scene:
        """Turned and compressed, as photographs come from phones."""
        if generator.random() < self.config.augment.turn:
            turns = int(generator.integers(1, 4))
            scene = Scene(*(np.rot90(part, turns) for part in (scene.image, scene.mask, scene.trust)))
        if generator.random() < self.config.augment.jpeg:
            scene = replace(scene, image=_recompressed(scene.image, int(generator.integers(25, 86))))
        return scene

    def _background(self, size: int, generator: np.random.Generator) -> Scene:
        """A square part of a picture: mostly without people, else with."""
        crowd = generator.random() < self.config.composite.crowd
        pool: Sequence[int] = range(len(self.items)) if crowd or not self._scenes() else self._scenes()
        return _as_scene(self._part(_one_of(pool, generator), 0.4, size, generator))

    def _texture(self, size: int, generator: np.random.Generator) -> np.ndarray:
        return self._part(_one_of(self._scenes() or [0], generator), 0.3, size, generator).frame.image

    def _part(self, index: int, smallest: float, size: int, generator: np.random.Generator) -> LabelledFrame:
        """A random part of a photograph as a square; its sides are at least `smallest` of the photograph's."""
        labelled = self._decoded(self.items[index])
        return cut(labelled, _random_box(labelled.frame.image.shape, smallest, generator), size)

    def _person(self, generator: np.random.Generator) -> CutOut:
        """People of a photograph or of an RGBA picture."""
        for _ in range(FEW_ATTEMPTS):
            if self.cutouts and generator.random() < self.config.composite.rendered:
                found = self._cut(_one_of(self.cutouts, generator))
            else:
                found = self._cut(self.items[int(generator.choice(len(self.items), p=self._paste))])
            if found is not None:
                return found
        raise DataError("No photograph shows people that can be cut out for composites.")

    def _cut(self, source: Item | Path) -> CutOut | None:
        """The people of a photograph, if they can be cut out, or of an RGBA picture; kept as `_decoded` keeps."""
        if source in self._people:
            return self._people[source]
        found = read_cutout(source) if isinstance(source, Path) else cut_from(self._decoded(source))
        size = 0 if found is None else found.colours.nbytes + found.alpha.nbytes
        if size <= self.cutout_memory:
            self.cutout_memory -= size
            self._people[source] = found
        return found

    def _scenes(self) -> list[int]:
        """The photographs without people."""
        if self._empty is None:
            self._empty = [i for i, item in enumerate(self.items) if _is_empty(self._decoded(item))]
        return self._empty

    def _decoded(self, item: Item) -> LabelledFrame:
        if item in self._kept:
            return self._kept[item]
        labelled = load_item(item, size=None)
        size = _bytes(labelled)
        if size <= self.memory:
            self.memory -= size
            self._kept[item] = labelled
        return labelled


def _one_of(pool: Sequence[T], generator: np.random.Generator) -> T:
    return pool[int(generator.integers(len(pool)))]


def _is_empty(labelled: LabelledFrame) -> bool:
    return labelled.mask is not None and not (labelled.mask > 0).any()


def _as_scene(labelled: LabelledFrame) -> Scene:
    assert labelled.mask is not None
    return Scene(labelled.frame.image, labelled.mask, trusted(labelled.mask))


def _recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    """(H, W, 3) uint8 after JPEG."""
    file = image_bytes(Image.fromarray(np.ascontiguousarray(image)), "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(file)))


def scene_tensors(scene: Scene) -> dict[str, Tensor]:
    """A scene as a place of a batch."""
    return {
        "image": torch.from_numpy(np.ascontiguousarray(scene.image.transpose(2, 0, 1))),
        "mask": torch.from_numpy(np.ascontiguousarray(scene.mask[None], np.float32)),
        "trust": torch.from_numpy(np.ascontiguousarray(scene.trust[None], np.float32)),
    }


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
    tensors = scene_tensors(_as_scene(labelled))
    if labelled.frame.depth is not None:
        tensors["depth"] = torch.from_numpy(np.ascontiguousarray(labelled.frame.depth[None], np.float32))
    return tensors


def cut(labelled: LabelledFrame, box: tuple[int, int, int, int], size: int) -> LabelledFrame:
    """The part (top, left, bottom, right) of a frame, in pixels, stretched to a square of `size`."""
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
