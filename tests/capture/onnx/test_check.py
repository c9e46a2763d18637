"""Compare outputs: which count as equal, and how a difference is reported."""

import numpy as np
import pytest
import torch

from portrait_export.capture.onnx.check import (
    check_model,
    differences,
    make_session,
    random_feeds,
    relative_error,
    run_once,
    run_session,
)
from portrait_export.errors import CaptureError

from ..simplify.build import model

A = np.asarray([1.0, -4.0, 2.0], np.float32)
ERRORS = {
    "the_same": (A, A, 0.0),
    "relative_to_the_largest_value": (A, A + np.float32(0.5), 0.125),
    "zeros_have_a_floor": (np.zeros(2, np.float32), np.asarray([0, 1e-7], np.float32), 1e-5),
    "nan_in_the_same_place": (np.asarray([np.nan, 1], np.float32), np.asarray([np.nan, 1], np.float32), 0.0),
    "nan_in_another_place": (np.asarray([np.nan, 1], np.float32), np.asarray([1, np.nan], np.float32), np.inf),
    "infinity_of_another_sign": (np.asarray([np.inf, 1], np.float32), np.asarray([-np.inf, 1], np.float32), np.inf),
    "share_of_integers": (np.asarray([1, 2, 3, 4]), np.asarray([1, 2, 3, 5]), 0.25),
    "another_shape": (A, A[:2], np.inf),
    "nothing": (A[:0], A[:0], 0.0),
}


@pytest.mark.parametrize("case", ERRORS)
def test_relative_error(case):
    expected, actual, error = ERRORS[case]
    assert relative_error(expected, actual) == pytest.approx(error, rel=1e-5)


def test_a_mask_without_anybody_is_the_same_in_pytorch_and_onnx_runtime():
    logits = np.linspace(-40, -11, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    session = make_session(model("(float[1,1,8,8] x) => (float[1,1,8,8] y) { y = Sigmoid(x) }"))
    reference = torch.sigmoid(torch.from_numpy(logits)).numpy()
    assert differences({"y": reference}, run_session(session, {"x": logits})) == []


def test_differences_name_every_output_that_is_off():
    lines = differences({"a": A, "b": A, "c": A}, {"a": A * 2, "b": A})
    assert [line.split(":")[0] for line in lines] == ["a", "c"]
    assert "relative error 1.0e+00, tolerance 1e-04" in lines[0]
    assert "shape None, expected (3,)" in lines[1]


def test_feeds_are_seeded_and_typed():
    source = model("(float[2,3] x, int64[4] i, bool[2] b) => (float y) { y = Relu(x) }")
    first, second = random_feeds(source), random_feeds(source)
    assert {name: (array.shape, array.dtype.name) for name, array in first.items()} == {
        "x": ((2, 3), "float32"),
        "i": ((4,), "int64"),
        "b": ((2,), "bool"),
    }
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_an_invalid_model_is_refused_in_the_checkers_words():
    source = model("(float[2] x) => (float y) { y = Relu(x) }")
    source.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(CaptureError, match="not a valid ONNX model") as caught:
        check_model(source)
    assert "NoSuchOperator" in str(caught.value)


def test_a_model_run_once_gives_what_a_session_gives():
    source = model("(float[2,3] x) => (float[2,3] y, float[2,3] z) { y = Exp(x)  z = Sqrt(y) }")
    feeds = random_feeds(source)
    found = run_once(source, feeds, optimize=False)
    assert differences(run_session(make_session(source, optimize=False), feeds), found, tolerance=0) == []
    assert list(found) == ["y", "z"]


def test_what_onnx_runtime_cannot_load_or_run_is_a_capture_error():
    with pytest.raises(CaptureError, match="ONNX Runtime cannot load this model"):
        make_session(b"nonsense")
    session = make_session(model("(float[2] x) => (float y) { y = Relu(x) }"))
    with pytest.raises(CaptureError, match="ONNX Runtime cannot run this model"):
        run_session(session, {"x": np.zeros(3, np.float32)})
