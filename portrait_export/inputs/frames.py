"""Open photos as frames at a model's input size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from ..artifacts import LabelledFrame
from ..errors import DataError
from ..preprocessing import PortraitSpec
from ..utils.evenly import evenly

if TYPE_CHECKING:
    import numpy as np

    from ..calibration.dataset import Item

LISTED = 100  # photos that an error names


class Frames(Sequence[LabelledFrame]):
    """Photos that are opened on access and not kept, so a folder of any size fits into memory.

    Args:
        items: the files.
        spec: the input size, the resize policy, and whether a depth map or further pictures are needed.
        own: files of the user's for further pictures: input's name → photograph's name → file.
    """

    def __init__(
        self, items: Sequence[Item], spec: PortraitSpec, own: Mapping[str, Mapping[tuple[str, str], Path]] | None = None
    ):
        self.items = tuple(items)
        self._spec = spec
        self._own = own or {}

    @property
    def without_depth(self) -> tuple[str, ...]:
        """Names of the photos that get `stand_in_depth`: the model needs a depth map and they have none."""
        return tuple(item.name for item in self.items if "depth" in self._spec.inputs and item.depth is None)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> LabelledFrame: ...

    @overload
    def __getitem__(self, index: slice) -> Frames: ...

    def __getitem__(self, index: int | slice) -> LabelledFrame | Frames:
        if isinstance(index, slice):
            return Frames(self.items[index], self._spec, self._own)
        item = self.items[index]
        labelled = open_frame(item, self._spec)
        if self._spec.pictures:
            labelled = _with_pictures(labelled, item, self._spec, self._files(item))
        return _with_depth(labelled) if "depth" in self._spec.inputs else labelled

    def _files(self, item: Item) -> dict[str, Path]:
        """The user's own files for further pictures of a photograph, by input."""
        key = (item.split, item.name)
        return {name: files[key] for name, files in self._own.items() if key in files}

    def made_pictures(self) -> tuple[str, ...]:
        """How the further pictures come about, one line for each that is not the user's own on every photograph."""
        from ..imaging.companions import HOW

        lines = []
        for picture in self._spec.pictures:
            made = [item for item in self.items if picture.name not in self._files(item)]
            stand_ins = sum(item.mask is None for item in made)
            drawn, stand_in = HOW[picture.shows]
            many = f"{len(made)} of {len(self.items)} photographs"
            if stand_ins < len(made):
                lines.append(f"input {picture.name!r} on {many}: {drawn}")
            if stand_ins and drawn != stand_in:
                lines.append(f"input {picture.name!r} on {stand_ins} photographs without a drawn mask: {stand_in}")
        return tuple(lines)

    @property
    def with_drawn_answers(self) -> tuple[str, ...]:
        """Names of inputs whose pictures are made from the drawn masks, which scores are computed from."""
        return tuple(
            picture.name
            for picture in self._spec.pictures
            if picture.shows != "photo" and any(picture.name not in self._files(item) for item in self.items)
        )

    def spread(self, count: int) -> Frames:
        """At most `count` of the photos, evenly spread."""
        return Frames(evenly(self.items, count), self._spec, self._own)


def load_frames(
    data: Path | None, spec: PortraitSpec, *, split: str | None = None, kinds: tuple[str, ...] = ()
) -> Frames:
    """Return frames, with their masks if there are any. Every file of a folder is opened once as a check.

    Args:
        data: a folder; None uses the bundled calibration set.
        spec: as for `Frames`.
        split: use only this split.
        kinds: use only photos of these kinds of the calibration set; empty: all.
    Raises:
        UsageError, DataError: no such split; or every problem with the folder.
    """
    from ..calibration.dataset import calibration_items, usable_items

    if data is not None:
        items = usable_items(data, split)
        return Frames(items, spec, _own_pictures(data, items, spec) if spec.pictures else None)
    return Frames([item for item in calibration_items(split) if not kinds or item.kind in kinds], spec)


def _own_pictures(data: Path, items: Sequence[Item], spec: PortraitSpec) -> dict[str, dict[tuple[str, str], Path]]:
    """The files in folders named after the further inputs, next to the photographs or to their folder."""
    from ..calibration.dataset import pictures_by_stem

    found: dict[str, dict[tuple[str, str], Path]] = {}
    for picture in spec.pictures:
        for split in dict.fromkeys(item.split for item in items):
            folder = data / picture.name / split
            files, faults = pictures_by_stem(folder, data) if folder.is_dir() else ({}, [])
            if faults:
                raise DataError(f"{folder} cannot be used.", context=faults[:LISTED])
            for stem, file in files.items():
                found.setdefault(picture.name, {})[split, stem] = file
    return found


def _with_pictures(labelled: LabelledFrame, item: Item, spec: PortraitSpec, files: Mapping[str, Path]) -> LabelledFrame:
    """A frame with the further pictures of its model: the user's own files, else made from its mask."""
    from ..imaging.companions import fitted, with_pictures
    from ..imaging.photo import open_photo
    from ..imaging.placement import place

    own = {}
    if files:
        placement = place(open_photo(item.image).size, (spec.height, spec.width), spec.resize)
        further = {picture.name: picture for picture in spec.pictures}
        own = {
            name: fitted(open_photo(file).pixels, further[name], placement, where=str(file))
            for name, file in files.items()
        }
    return replace(labelled, frame=with_pictures(labelled.frame, labelled.mask, spec, own))


def stand_in_note(without_depth: int, photographs: int) -> str:
    """Return the warning that `stand_in_depth` was used on both sides of a comparison."""
    return f"{without_depth} of {photographs} photos have no depth map: both sides use brightness plus a ramp instead."


def require_depth(frames: Frames, *, name: str) -> None:
    """Raise DataError if the model `name` needs depth maps and photos have none: scores would mean nothing."""
    without = frames.without_depth
    if without:
        raise DataError(
            f"{name} needs depth maps; {len(without)} of {len(frames)} photos have none.",
            code="no-depth",
            context=without[:LISTED],
            hint="add a folder depth/ next to images/, with 16-bit gray PNGs of the same names;"
            " `portrait-export depth` makes them.",
        )


def require_own_pictures(frames: Frames, *, name: str) -> None:
    """Raise DataError if pictures that the model `name` takes would be made from the masks that it is scored with."""
    made = frames.with_drawn_answers
    if made:
        raise DataError(
            f"{name} takes {' and '.join(map(repr, made))} besides the photo. Made from the drawn masks, which the"
            " scores are computed from, such a picture would tell the model its answer.",
            code="no-picture",
            hint=f"add a folder {made[0]}/ next to images/, with pictures of the same names.",
        )


def open_frame(item: Item, spec: PortraitSpec) -> LabelledFrame:
    """Open a photo, its mask and its depth map, fitted to a model with this spec."""
    from ..calibration.dataset import load_item
    from ..imaging.photo import Photo
    from ..imaging.placement import place_map, to_frame

    if spec.resize == "stretch":
        return load_item(item, size=(spec.height, spec.width))
    whole = load_item(item, size=None)
    depth = whole.frame.depth if "depth" in spec.inputs else None
    image_only = spec if depth is not None else replace(spec, inputs=("image",))
    frame, placement = to_frame(Photo(whole.frame.image, item.name), image_only, depth)
    mask = None if whole.mask is None else place_map(whole.mask, placement, item.name, what="mask")
    return LabelledFrame(frame, mask, item.split, item.kind, item.tags)


def _with_depth(labelled: LabelledFrame) -> LabelledFrame:
    if labelled.frame.depth is not None:
        return labelled
    return replace(labelled, frame=replace(labelled.frame, depth=stand_in_depth(labelled.frame.image)))


def stand_in_depth(image: np.ndarray) -> np.ndarray:
    """Make a synthetic depth map, brightness plus a ramp, to compare two runs of one model on the same input.

    It has the edges of a photo and the slope of a scene, so it exercises every operation that reads depth. It is not a
    depth estimate, and masks computed from it say nothing about a model's quality.

    Args:
        image: (H, W, 3) uint8.
    Returns:
        (H, W) float32 in 0..1.
    """
    import numpy as np

    brightness = image.astype(np.float32).mean(axis=2) / 255
    ramp = np.linspace(0, 1, image.shape[0], dtype=np.float32)[:, None]
    return (0.5 * brightness + 0.5 * ramp).astype(np.float32)
