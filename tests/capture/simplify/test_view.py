"""Layout algebra against numpy: any chain of reshapes and transposes is one view, made in at most three steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_export.capture.simplify.view import identity, layout_steps, reshaped, transposed


def made(view, base):
    """The array that a view's recipe makes of its base."""
    steps = layout_steps(view)
    array = base if steps.before is None else base.reshape(steps.before)
    array = array if steps.perm is None else array.transpose(steps.perm)
    return array if steps.after is None else array.reshape(steps.after)


def factorisations(size, draw):
    """A random shape of `size` numbers."""
    shape = []
    while size > 1:
        divisor = draw(st.sampled_from([d for d in range(2, size + 1) if size % d == 0]))
        shape.append(divisor)
        size //= divisor
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return tuple(shape) or (1,)


@st.composite
def chains(draw):
    """A base shape and a chain of layout steps that numpy can do."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    steps, current = [], shape
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            perm = tuple(draw(st.permutations(range(len(current)))))
            steps.append(("transpose", perm))
            current = tuple(current[axis] for axis in perm)
        else:
            current = factorisations(int(np.prod(current)), draw)
            steps.append(("reshape", current))
    return shape, steps


@settings(max_examples=200, deadline=None)
@given(chains())
def test_a_view_is_what_numpy_makes_of_the_same_chain(chain):
    shape, steps = chain
    base = np.arange(np.prod(shape)).reshape(shape)
    array, view = base, identity("x", shape)
    for kind, argument in steps:
        if kind == "transpose":
            array, view = array.transpose(argument), transposed(view, argument, origin="")
        else:
            array, view = array.reshape(argument), reshaped(view, argument, origin="")
        if view is None:
            return  # an uneven cut: the chain is emitted as it is
        assert view.shape == array.shape
    np.testing.assert_array_equal(made(view, base), array)
    assert layout_steps(view).steps <= max(len(steps), 3)


@settings(max_examples=100, deadline=None)
@given(chains())
def test_a_chain_and_its_inverse_leave_nothing(chain):
    shape, steps = chain
    view, undo = identity("x", shape), []
    for kind, argument in steps:
        before = view
        if kind == "transpose":
            view = transposed(view, argument, origin="")
            undo.append(("transpose", tuple(np.argsort(argument))))
        else:
            view = reshaped(view, argument, origin="")
            undo.append(("reshape", before.shape))
        if view is None:
            return
    for kind, argument in reversed(undo):
        view = transposed(view, argument, origin="") if kind == "transpose" else reshaped(view, argument, origin="")
    assert view.is_base
    assert layout_steps(view).steps == 0


TOKENS = (("reshape", (1, 12, 35)), ("transpose", (0, 2, 1)))  # (N, C, H, W) to (N, L, C)
STEPS = {
    "tokens": (TOKENS, 2),
    "channels_last": ([("transpose", (0, 2, 3, 1))], 1),
    "heads": ([*TOKENS, ("reshape", (1, 35, 3, 4)), ("transpose", (0, 2, 1, 3))], 2),
    "keys_transposed": ([*TOKENS, ("reshape", (1, 35, 3, 4)), ("transpose", (0, 2, 3, 1))], 1),
    "flattened": ([("reshape", (420,))], 1),
    "there_and_back": (
        [("transpose", (0, 2, 3, 1)), ("reshape", (35, 12)), ("reshape", (1, 5, 7, 12)), ("transpose", (0, 3, 1, 2))],
        0,
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_the_shortest_recipe_is_found(case):
    steps, expected = STEPS[case]
    view = identity("x", (1, 12, 5, 7))
    for kind, argument in steps:
        view = transposed(view, argument, origin="") if kind == "transpose" else reshaped(view, argument, origin="")
    assert layout_steps(view).steps == expected


def test_heads_put_together_again_need_one_transpose_and_one_reshape():
    heads = identity("o", (1, 3, 35, 4))  # attention's output (N, heads, L, d)
    view = reshaped(transposed(heads, (0, 1, 3, 2), origin=""), (1, 12, 5, 7), origin="")
    steps = layout_steps(view)
    assert (steps.before, steps.perm, steps.after) == (None, (0, 1, 3, 2), (1, 12, 5, 7))


def test_an_uneven_cut_is_not_a_view():
    view = transposed(identity("x", (6, 4)), (1, 0), origin="")
    assert reshaped(view, (3, 8), origin="") is None
