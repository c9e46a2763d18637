"""Open the photos of a folder or of the calibration set as frames at a model's input size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from ..artifacts import LabelledFrame
from ..errors import DataError
from ..preprocessing import PortraitSpec

if TYPE_CHECKING:
    import numpy as np

    from ..calibration.dataset import Item

LISTED = 100  # photos that an error names


class Frames(Sequence[LabelledFrame]):
    """Photos that are opened on access and not kept, so a folder of any size fits into memory.

    Args:
        items: the files.
        spec: the input size, the resize policy, and whether a depth map is needed.
    """

    def __init__(self, items: Sequence[Item], spec: PortraitSpec):
        self.items = tuple(items)
        self._spec = spec

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
            return Frames(self.items[index], self._spec)
        labelled = open_frame(self.items[index], self._spec)
        return _with_depth(labelled) if "depth" in self._spec.inputs else labelled

    def spread(self, count: int) -> Frames:
        """At most `count` of the photos, evenly spread."""
        return self[:: max(1, len(self) // count)][:count]


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
        return Frames(usable_items(data, split), spec)
    return Frames([item for item in calibration_items(split) if not kinds or item.kind in kinds], spec)


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
