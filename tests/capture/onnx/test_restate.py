"""Test that wrong shapes of outputs and inner values are replaced, and that wrong graphs stay refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from portrait_export.capture.onnx.check import run_once
from portrait_export.capture.onnx.load import load_onnx
from portrait_export.errors import CaptureError


def model(text):
    return onnx.parser.parse_model(f"<ir_version: 8, opset_import: ['' : 17]> g {text}".replace("'", '"'))


WRONG = {
    "another_size": "(float[1,3,4,4] x) => (float[1,3,8,8] y) { y = Relu(x) }",
    "another_rank": "(float[1,3,4,4] x) => (float[4,4] y) { y = Relu(x) }",
    "an_inner_value": "(float[1,3,4,4] x) => (float[1,3,4,4] y) <float[1,3,2,2] z> { z = Relu(x)  y = Neg(z) }",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_wrong_shapes_are_inferred_anew(text, tmp_path):
    onnx.save(model(text), tmp_path / "net.onnx")
    found = load_onnx(tmp_path / "net.onnx")
    [output] = found.graph.output
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [1, 3, 4, 4]
    image = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)
    assert run_once(found, {"x": image})["y"].shape == image.shape


def test_shapes_that_do_not_fit_together_are_refused(tmp_path):
    text = "(float[1,3,4,4] x, float[1,2,4,4] k) => (float[1,3,4,4] y) { y = Add(x, k) }"
    onnx.save(model(text), tmp_path / "net.onnx")
    with pytest.raises(CaptureError, match="not a valid ONNX model"):
        load_onnx(tmp_path / "net.onnx")


def test_right_shapes_stay(tmp_path):
    right = model("(float[1,3,4,4] x) => (float[1,3,4,4] y) <float[1,3,4,4] z> { z = Relu(x)  y = Neg(z) }")
    onnx.save(right, tmp_path / "net.onnx")
    assert load_onnx(tmp_path / "net.onnx") == right
