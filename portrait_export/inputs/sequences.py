"""Make sequences of frames for recurrent networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from ..artifacts import LabelledFrame
from ..preprocessing import PortraitSpec
from ..utils.natural import natural_key
from .frames import Frames, load_frames

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Runner
    from ..calibration.dataset import Item

PANNED = 12  # photographs of the calibration set that are shown as pans
STEPS = 5  # frames of a pan
MARGIN = 1 / 8  # of the picture's side, that the window moves by in all


class InOrder(Sequence[LabelledFrame]):
    """Photographs as the frames of one sequence, in order."""

    def __init__(self, frames: Frames):
        self._frames = frames
        self.note = f"{len(frames)} frames in one sequence, in the order of their names"

    @property
    def items(self) -> tuple[Item, ...]:
        """The files that the frames are read from."""
        return self._frames.items

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> LabelledFrame: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[LabelledFrame]: ...

    def __getitem__(self, index: int | slice) -> LabelledFrame | Sequence[LabelledFrame]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        labelled = self._frames[index]
        return replace(labelled, frame=replace(labelled.frame, continues=index % len(self) > 0))


class Pans(Sequence[LabelledFrame]):
    """Photographs, each shown as a sequence: a window moves over it, from its upper left to its lower right corner.

    Args:
        frames: the photographs, larger than the window.
        spec: of the size of the window.
        steps: frames of each sequence.
    """

    def __init__(self, frames: Frames, spec: PortraitSpec, steps: int = STEPS):
        self._frames, self._size, self._steps = frames, (spec.height, spec.width), steps
        self._opened: tuple[int, LabelledFrame] | None = None
        self.note = f"{len(self)} frames: {len(frames)} photographs, each shown as a pan of {steps} frames"

    @property
    def items(self) -> tuple[Item, ...]:
        """The files that the frames are read from."""
        return self._frames.items

    def __len__(self) -> int:
        return len(self._frames) * self._steps

    @overload
    def __getitem__(self, index: int) -> LabelledFrame: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[LabelledFrame]: ...

    def __getitem__(self, index: int | slice) -> LabelledFrame | Sequence[LabelledFrame]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        photograph, step = divmod(index % len(self), self._steps)
        whole = self._photograph(photograph)
        frame = replace(
            whole.frame,
            image=self._window(whole.frame.image, step),
            pictures={name: self._window(picture, step) for name, picture in whole.frame.pictures.items()},
            name=f"{whole.frame.name} #{step + 1}",
            continues=step > 0,
        )
        return replace(whole, frame=frame, mask=None if whole.mask is None else self._window(whole.mask, step))

    def _photograph(self, index: int) -> LabelledFrame:
        """A photograph, which is kept for the next frames of its pan."""
        if self._opened is None or self._opened[0] != index:
            self._opened = index, self._frames[index]
        return self._opened[1]

    def _window(self, picture: np.ndarray, step: int) -> np.ndarray:
        top, left = (
            round((whole - side) * step / max(self._steps - 1, 1))
            for whole, side in zip(picture.shape[:2], self._size, strict=True)
        )
        return picture[top : top + self._size[0], left : left + self._size[1]].copy()


def load_sequences(
    data: Path | None,
    spec: PortraitSpec,
    *,
    split: str | None = None,
    kinds: tuple[str, ...] = (),
    photographs: int = PANNED,
    steps: int = STEPS,
) -> InOrder | Pans:
    """Return the photographs of a folder as one sequence, or pans over some of the calibration set.

    Args:
        data, split, kinds: as for `load_frames`.
        photographs: how many are shown as pans.
        steps: frames of each pan.
    """
    if data is not None:
        found = load_frames(data, spec, split=split)
        return InOrder(Frames(sorted(found.items, key=lambda item: natural_key(item.name)), spec))
    height, width = (side + max(steps - 1, round(side * MARGIN)) for side in (spec.height, spec.width))
    wide = load_frames(None, spec.with_size(height, width), split=split, kinds=kinds)
    return Pans(wide.spread(photographs), spec, steps)


def with_carried(frames: Sequence[LabelledFrame], runner: Runner) -> Iterator[LabelledFrame]:
    """Give each frame of sequences the values that a runner carries to it, so that it can be run by itself."""
    carried = None
    for labelled in frames:
        alone = replace(labelled.frame, continues=False, carried=carried if labelled.frame.continues else None)
        (prediction,) = runner.run([alone])
        carried = prediction.carried
        yield replace(labelled, frame=alone)
