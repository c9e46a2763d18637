"""The models given to Core AI's converter, run by ONNX Runtime: pixels in, half precision."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from portrait_export.artifacts import Frame
from portrait_export.coreai.graph import with_pixels
from portrait_export.coreai.half import in_half
from portrait_export.errors import LoweringError

from .nets import photo, run_onnx, small_net, spec_of_side


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_pixels_are_normalised_exactly_as_the_spec_says(color: str) -> None:
    spec = spec_of_side(color=color, output="multiarray", threshold=0.4)
    expected = run_onnx(small_net(), image=spec.normalise(Frame(photo())))
    found = run_onnx(with_pixels(small_net(), spec), image=photo()[None])
    np.testing.assert_array_equal(found["logits"], expected["logits"])
    np.testing.assert_array_equal(found["mask"], expected["mask"])
    np.testing.assert_array_equal(found["classes"], (expected["mask"][0, 0] >= 0.4).astype(np.int32))


def test_mask_is_eight_bits() -> None:
    spec = spec_of_side()
    probability = run_onnx(small_net(), image=spec.normalise(Frame(photo())))["mask"]
    found = run_onnx(with_pixels(small_net(), spec), image=photo()[None])["mask"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.round(probability * np.float32(255)).astype(np.uint8))


def test_logits_alone() -> None:
    model = with_pixels(small_net(), spec_of_side(output="logits"))
    assert [value.name for value in model.graph.output] == ["logits"]


def test_old_opset_is_refused() -> None:
    model = small_net()
    model.opset_import[0].version = 13
    with pytest.raises(LoweringError, match="has opset 13; Core AI assets need 17"):
        with_pixels(model, spec_of_side())


def test_half_keeps_the_interface_and_the_scales_of_resize() -> None:
    model = in_half(small_net())
    onnx.checker.check_model(model)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types.pop("scales/fp32") == TensorProto.FLOAT
    assert set(types.values()) == {TensorProto.FLOAT16}
    x = spec_of_side().normalise(Frame(photo()))
    exact, half = run_onnx(small_net(), image=x), run_onnx(model, image=x)
    assert half["mask"].dtype == np.float32
    error = np.abs(exact["mask"] - half["mask"]).max()
    assert 0 < error < 5e-3


def test_half_refuses_weights_that_become_infinite() -> None:
    with pytest.raises(LoweringError, match=r"Half precision ends at 65504; these weights are larger: head\.weight"):
        in_half(small_net(largest=1e6))


def test_half_refuses_branches() -> None:
    model = small_net()
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["x"], then_branch=branch, else_branch=branch))
    with pytest.raises(LoweringError, match="branches or loops"):
        in_half(model)
