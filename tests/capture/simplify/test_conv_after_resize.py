"""conv-after-resize: both forms give the same numbers for every resize and every window; tiles stay small."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_export.capture.onnx.check import make_session, random_feeds, relative_error, run_session
from portrait_export.capture.simplify import Graph, conv_after_resize
from portrait_export.capture.simplify.resize_taps import MAX_ELEMENTS, TapWindow, tap_matrix, tiles, whole_tap
from portrait_export.quantize.recipes import RECIPES

from .build import TOLERANCE, ints, model, normal, outcome

FORMS = {"by rows": conv_after_resize._by_rows, "by taps": conv_after_resize._by_taps}
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
WINDOWS = [  # attributes of the convolution, kernel
    ("pads=[1,1,1,1]", (3, 3)),
    ("pads=[0,0,0,0]", (1, 2)),
    ("pads=[2,0,1,3], strides=[2,3]", (3, 5)),
    ("pads=[4,2,4,2], dilations=[3,2]", (3, 3)),
    ('auto_pad="SAME_UPPER", strides=[2,2]', (3, 4)),
    ('auto_pad="SAME_LOWER"', (2, 3)),
    ('auto_pad="VALID"', (3, 1)),
]


def enlarged(small, factor, coordinates, mode, window, *, by_scales=False, bias=True, seed=0):
    """A resize with each axis' own factor, and a convolution of it."""
    attrs, kernel = window
    large = [size * times for size, times in zip(small, factor, strict=True)]
    how = "(x, , scales)" if by_scales else "(x, , , size)"
    resize = f'r = Resize<mode="{mode}", coordinate_transformation_mode="{coordinates}">{how}'
    more = {"scales": np.asarray([1, 1, *factor], np.float32)} if by_scales else {"size": ints(2, 3, *large)}
    return model(
        f"(float[2,3,{small[0]},{small[1]}] x) => (float y)"
        f" {{ {resize} y = Conv<{attrs}>(r, w{', b' * bias}) }}",
        w=normal(4, 3, *kernel, seed=seed), b=normal(4, seed=seed), **more,
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(3, 9), st.integers(3, 9)), PAIRS,
    st.sampled_from(["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]),
    st.sampled_from(["linear", "nearest", "cubic"]), st.sampled_from(WINDOWS), st.booleans(), st.booleans(),
)  # fmt: skip
def test_both_forms_keep_the_numbers(form, small, factor, coordinates, mode, window, by_scales, bias):
    if mode == "cubic" and factor[0] != factor[1]:
        factor = (factor[0], factor[0])
    source = enlarged(small, factor, coordinates, mode, window, by_scales=by_scales, bias=bias)
    graph = Graph(source)
    for match in conv_after_resize.RULE.pattern(graph):
        taps = conv_after_resize._taps(graph, match.anchor, match.parts)
        if isinstance(taps, str):
            assert taps == "no tap is inside the image for every output, so that it could take the bias"
            return
        conv_after_resize._replace(graph, match.anchor, match.parts, taps, FORMS[form])
    result = graph.to_model()
    assert "MatMul" in [node.op_type for node in result.graph.node]
    feeds = random_feeds(source)
    expected, found = (run_session(make_session(each, optimize=False), feeds)["y"] for each in (source, result))
    assert relative_error(expected, found) < TOLERANCE


def test_zero_padding_stays_zero_at_the_border():
    # Two rows, each repeated twice; a window of three with one zero on either side.
    doubled = np.repeat(np.eye(2), 2, axis=0)
    matrix = tap_matrix(doubled, TapWindow(taps=3, stride=1, dilation=1, before=1, after=1))
    assert matrix.shape == (4, 3, 2)
    assert matrix[:, 0].tolist() == [[0, 0], [1, 0], [1, 0], [0, 1]]
    assert matrix[:, 1].tolist() == doubled.tolist()
    assert matrix[:, 2].tolist() == [[1, 0], [0, 1], [0, 1], [0, 0]]
    assert whole_tap(matrix) == 1


def test_tiles_are_small_cover_every_output_and_read_only_what_they_need():
    doubled = np.repeat(np.eye(128), 2, axis=0)
    matrix = tap_matrix(doubled, TapWindow(taps=3, stride=1, dilation=1, before=1, after=1))
    cut = tiles(matrix)
    assert sum(len(tile.matrix) for tile in cut) == 256
    assert max(tile.matrix.size for tile in cut) <= MAX_ELEMENTS
    assert [(tile.start, tile.end) for tile in cut[:2]] == [(0, 17), (15, 33)]
    restored = np.zeros((256, 3, 128))
    for tile, start in zip(cut, range(0, 256, 32), strict=True):
        restored[start : start + 32, :, tile.start : tile.end] = tile.matrix.reshape(32, 3, -1)
    assert (restored == matrix).all()


def test_no_recipe_takes_a_tile_for_a_weight():
    assert min(recipe.min_elements for recipe in RECIPES.values()) >= MAX_ELEMENTS


def test_a_classifier_on_the_tiles_keeps_the_wide_image_from_ever_existing():
    source = model(
        "(float[1,128,48,48] x) => (float y) {"
        ' r = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, , , size)'
        " c = Conv<pads=[1,1,1,1]>(r, w) p = Relu(c) y = Conv(p, v) }",
        size=ints(1, 128, 96, 96), w=normal(64, 128, 3, 3), v=normal(1, 64, 1, 1),
    )  # fmt: skip
    found = outcome(source)
    assert set(found.fired) == {"conv-after-resize", "conv-before-rows"}
    assert found.after.peak_activation_bytes < 0.9 * found.before.peak_activation_bytes
