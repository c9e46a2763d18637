"""Photographs to compare on: a folder or the calibration set in, frames at a model's input size out, one at a time."""

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

LISTED = 100  # photographs that an error names


class Frames(Sequence[LabelledFrame]):
    """Photographs that are opened when they are asked for, and not kept: a folder of any size fits into memory.

    Args:
        items: where they lie.
        spec: gives the size, how photographs are brought to it, and whether a depth map is needed.
    """

    def __init__(self, items: Sequence[Item], spec: PortraitSpec):
        self.items = tuple(items)
        self._spec = spec

    @property
    def without_depth(self) -> tuple[str, ...]:
        """Names of the photographs for which `stand_in_depth` serves: the model reads depth, they have none."""
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


def load_frames(data: Path | None, spec: PortraitSpec, *, split: str | None = None) -> Frames:
    """Frames with their masks where there are any. Every file of a folder is opened once to see that it can be used.

    Args:
        data: a folder; None takes the calibration set that comes along.
        spec: as for `Frames`.
        split: only this one.
    Raises:
        UsageError, DataError: no such split; everything that is wrong with the folder.
    """
    from ..calibration.dataset import calibration_items, usable_items

    return Frames(calibration_items(split) if data is None else usable_items(data, split), spec)


def stand_in_note(without_depth: int, photographs: int) -> str:
    """What to say where `stand_in_depth` served on both sides of a comparison."""
    return (
        f"{without_depth} of {photographs} photographs have no depth map: brightness over a ramp stands in for it on"
        " both sides."
    )


def require_depth(frames: Frames, *, name: str) -> None:
    """Raise DataError where a model called `name` reads depth and photographs have none: scores would mean nothing."""
    without = frames.without_depth
    if without:
        raise DataError(
            f"{name} reads a depth map beside the image; {len(without)} of {len(frames)} photographs have none.",
            code="no-depth",
            context=without[:LISTED],
            hint="give a folder with 16-bit gray PNGs of the photographs' names in depth/ beside images/;"
            " `portrait-export depth` makes them.",
        )


def open_frame(item: Item, spec: PortraitSpec) -> LabelledFrame:
    """One photograph as a model with this spec sees it, its mask and depth map brought along."""
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
    """A depth map for photographs that have none, for comparing two runs of one model: brightness over a ramp.

    It has a photograph's edges and a scene's slope, so it exercises every operation that reads depth. It is not a
    depth estimate, and a mask computed from it says nothing about a model's quality.

    Args:
        image: (H, W, 3) uint8.
    Returns:
        (H, W) float32 in 0..1.
    """
    import numpy as np

    brightness = image.astype(np.float32).mean(axis=2) / 255
    ramp = np.linspace(0, 1, image.shape[0], dtype=np.float32)[:, None]
    return (0.5 * brightness + 0.5 * ramp).astype(np.float32)
