"""Describe a value as a rearrangement of another value's numbers, and find the shortest way to make it.

Every chain of reshapes and transposes of a base is described by saying, for each axis of the result, which pieces of
which axes of the base it runs through. A piece is (axis of the base, size, stride within that axis). For a base of
shape (N, C, H, W) with C = heads·d, all sizes over 1:

    tokens (N, H·W, C)             [N] [H W] [C]
    heads  (N, heads, H·W, d)      [N] [C:heads] [H W] [C:d]

Reshapes cut and join pieces in their order, transposes permute the axes, and any chain collapses into one such list.
So pairs that undo one another vanish by themselves, and what remains is at most reshape, transpose, reshape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Piece = tuple[int, int, int]  # axis of the base, size, stride within that axis
Dims = tuple[tuple[Piece, ...], ...]


@dataclass(frozen=True)
class View:
    """An arrangement of a base value's numbers.

    Attributes:
        base: the name of the value.
        base_shape: its shape.
        dims: for each axis of the view, the pieces of the base that it runs through, slowest first; an axis of size 1
            has none.
        origin: the layout operator that it came from, for naming.
    """

    base: str
    base_shape: tuple[int, ...]
    dims: Dims
    origin: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The view's own shape."""
        return tuple(math.prod(size for _, size, _ in pieces) for pieces in self.dims)

    @property
    def is_base(self) -> bool:
        """Whether the view is the base itself."""
        return self.dims == whole(self.base_shape)

    def with_base(self, base: str, base_shape: tuple[int, ...]) -> View:
        """The same arrangement of another base; an axis of the base that changed its size must be used as a whole."""
        changed = {axis: size for axis, size in enumerate(base_shape) if size != self.base_shape[axis]}
        dims = tuple(
            tuple((axis, changed.get(axis, size), stride) for axis, size, stride in pieces) for pieces in self.dims
        )
        dims = tuple(tuple(piece for piece in pieces if piece[1] != 1) for pieces in dims)
        return View(base, base_shape, dims, self.origin)


def identity(base: str, shape: tuple[int, ...]) -> View:
    """A value as the view of itself."""
    return View(base, shape, whole(shape))


def whole(shape: tuple[int, ...]) -> Dims:
    """The dims of the identity view."""
    return tuple(((axis, size, 1),) if size != 1 else () for axis, size in enumerate(shape))


def transposed(view: View, perm: Sequence[int], *, origin: str) -> View:
    """The view with its axes permuted as ONNX's Transpose does it."""
    return View(view.base, view.base_shape, tuple(view.dims[axis] for axis in perm), origin)


def reshaped(view: View, shape: Sequence[int], *, origin: str) -> View | None:
    """The view in another shape of as many numbers; None where an axis would have to be cut unevenly."""
    left = [piece for pieces in view.dims for piece in pieces]
    if 0 in shape or math.prod(shape) != math.prod(size for _, size, _ in left):
        return None
    dims: list[tuple[Piece, ...]] = []
    for size in shape:
        taken: list[Piece] = []
        missing = size
        while missing > 1:
            axis, available, stride = left.pop(0)
            if missing % available == 0:
                taken.append((axis, available, stride))
                missing //= available
            elif available % missing == 0:
                inner = available // missing
                taken.append((axis, missing, stride * inner))
                left.insert(0, (axis, inner, stride))
                missing = 1
            else:
                return None
        dims.append(_joined(taken))
    return View(view.base, view.base_shape, tuple(dims), origin)


def _joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Neighbouring pieces that are contiguous in the same axis of the base, as one."""
    joined: list[Piece] = []
    for axis, size, stride in pieces:
        if joined and joined[-1][0] == axis and joined[-1][2] == size * stride:
            joined[-1] = (axis, joined[-1][1] * size, stride)
        else:
            joined.append((axis, size, stride))
    return tuple(joined)


@dataclass(frozen=True)
class LayoutSteps:
    """How to make a view from its base. A step that is None is not needed.

    Attributes:
        before: shape to bring the base into.
        perm: how to transpose that.
        after: shape to bring the result into.
    """

    before: tuple[int, ...] | None
    perm: tuple[int, ...] | None
    after: tuple[int, ...] | None

    @property
    def steps(self) -> int:
        """How many operators it takes."""
        return sum(step is not None for step in (self.before, self.perm, self.after))


def layout_steps(view: View) -> LayoutSteps:
    """The shortest reshape, transpose, reshape that makes a view."""
    candidates = [_layout_steps(view, join=join) for join in ("anywhere", "within an axis", "nowhere")]
    return min(candidates, key=lambda found: found.steps)


def _layout_steps(view: View, *, join: str) -> LayoutSteps:
    """One way to make a view: cut the base into blocks, permute the blocks, join them.

    Args:
        join: where pieces that are neighbours both in the base and in the view are taken as one block.
    """
    blocks: list[list[Piece]] = []  # in the view's order
    owners: list[int] = []  # the view's axis of each block
    for axis, pieces in enumerate(view.dims):
        for piece in pieces:
            near = join == "anywhere" or (join == "within an axis" and owners and owners[-1] == axis)
            if near and blocks and _follows(view.base_shape, blocks[-1][-1], piece):
                blocks[-1].append(piece)
            else:
                blocks.append([piece])
                owners.append(axis)
    order = sorted(range(len(blocks)), key=lambda index: (blocks[index][0][0], -blocks[index][0][2]))
    sizes = [math.prod(size for _, size, _ in block) for block in blocks]
    if order == list(range(len(blocks))):
        same = view.shape == view.base_shape
        return LayoutSteps(None, None, None if same else view.shape)
    cut, perm = _with_ones(view, [sizes[index] for index in order], order, owners)
    moved = tuple(cut[axis] for axis in perm)
    return LayoutSteps(
        None if cut == view.base_shape else cut, tuple(perm), None if moved == view.shape else view.shape
    )


def _follows(base_shape: tuple[int, ...], first: Piece, second: Piece) -> bool:
    """Whether the second piece comes right after the first in the base's memory."""
    between = range(first[0] + 1, second[0])
    if first[0] == second[0]:
        return first[2] == second[1] * second[2]
    ends_axis = first[2] == 1 and all(base_shape[axis] == 1 for axis in between)
    return first[0] < second[0] and ends_axis and second[1] * second[2] == base_shape[second[0]]


def _with_ones(view: View, sizes: list[int], order: list[int], owners: list[int]) -> tuple[tuple[int, ...], list[int]]:
    """Place axes of size 1 so that as few reshapes as possible are needed.

    Args:
        sizes: of the blocks in the base's order.
        order: block (by its place in the view) at each place in the base.
        owners: the view's axis of each block.
    Returns:
        The shape to cut the base into, and the permutation after which it has the view's shape, if each axis of the
        view is one block.
    """
    ones = [axis for axis, pieces in enumerate(view.dims) if not pieces]
    one_block_each = len(set(owners)) == len(owners) == len(view.dims) - len(ones)
    is_cut = [size for size in view.base_shape if size != 1] == sizes  # but for axes of size 1, which the base may have
    if is_cut and (not one_block_each or view.base_shape.count(1) == len(ones)):
        cut = view.base_shape
    else:
        cut = (*(1 for _ in ones if one_block_each), *sizes)
    free = [axis for axis, size in enumerate(cut) if size == 1]
    full = [axis for axis, size in enumerate(cut) if size != 1]
    at = {block: full[position] for position, block in enumerate(order)}
    if not one_block_each:
        return cut, [*free, *(at[block] for block in range(len(order)))]
    place = {owners[block]: at[block] for block in range(len(order))}
    perm = [place[axis] if axis in place else free.pop(0) for axis in range(len(view.dims))]
    return cut, perm
