"""A PortraitSpec becomes image features and exact normalisation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from PIL import Image

from portrait_export.artifacts import ArrayFeature, ImageFeature
from portrait_export.frontend.convert import lower
from portrait_export.preprocessing import PortraitSpec
from tests.cases.model import model_of, values
from tests.frontend.harness import run_lowered

SIZE = 8
SPEC = PortraitSpec(height=SIZE, width=SIZE, output="multiarray")
PICTURE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def network(*, groups: int = 1, direct: bool = True) -> tuple[onnx.ModelProto, np.ndarray]:
    """conv (padded) → logits → mask, as capture exports it; and the weight of its convolution."""
    weight = values(1 if groups == 1 else 3, 3 // groups, 3, 3, seed=3)
    make = helper.make_node
    nodes = [] if direct else [make("Neg", ["image"], ["negated"], name="/neg")]
    conv = make("Conv", ["image", "w"], ["features"], name="/stem/Conv", pads=[1, 1, 1, 1], group=groups)
    nodes += [conv, make("ReduceSum", ["features", "axes"], ["logits"], name="/sum")]
    if not direct:
        nodes += [make("Identity", ["negated"], ["unused"])]
        nodes[-2].output[0] = "sums"
        nodes += [make("ReduceMax", ["negated"], ["top"], axes=[1], name="/max")]
        nodes += [make("Add", ["sums", "top"], ["logits"], name="/add")]
    nodes += [make("Sigmoid", ["logits"], ["mask"], name="/sigmoid")]
    feeds = {"image": np.zeros((1, 3, SIZE, SIZE), "f")}
    return model_of(nodes, feeds, {"w": weight, "axes": np.asarray([1])}, ["logits", "mask"]), weight


def normal(spec: PortraitSpec) -> torch.Tensor:
    """The picture normalised, straight from the definition."""
    channels = PICTURE if spec.color == "rgb" else PICTURE[..., ::-1]
    scaled = channels.astype(np.float64) * spec.scale
    return torch.from_numpy(((scaled - np.asarray(spec.mean)) / np.asarray(spec.std)).transpose(2, 0, 1)[None].copy())


def reference(spec: PortraitSpec, weight: np.ndarray, *, groups: int = 1, direct: bool = True) -> np.ndarray:
    x = normal(spec)
    features = torch.nn.functional.conv2d(x, torch.from_numpy(weight).double(), padding=1, groups=groups)
    logits = features.sum(1, keepdim=True)
    return (logits if direct else logits + (-x).amax(1, keepdim=True)).numpy()


def ops(lowered: object) -> list[str]:
    return [op.op_type for op in lowered.program.functions["main"].operations if op.op_type != "const"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_std_folds_into_the_first_convolution_borders_included(groups: int, color: str) -> None:
    model, weight = network(groups=groups)
    spec = PortraitSpec(height=SIZE, width=SIZE, output="logits", color=color)
    lowered = lower(model, spec=spec)
    assert ops(lowered) == ["conv", "reduce_sum"]
    result = run_lowered(lowered, {"image": Image.fromarray(PICTURE)})["logits"]
    np.testing.assert_allclose(result, reference(spec, weight, groups=groups), rtol=0, atol=2e-4)


def test_std_is_a_multiplication_where_the_image_has_another_user() -> None:
    model, weight = network(direct=False)
    spec = PortraitSpec(height=SIZE, width=SIZE, output="logits")
    lowered = lower(model, spec=spec)
    assert ops(lowered)[0] == "mul"
    result = run_lowered(lowered, {"image": Image.fromarray(PICTURE)})["logits"]
    np.testing.assert_allclose(result, reference(spec, weight, direct=False), rtol=0, atol=2e-4)


def test_unit_std_leaves_the_weights_alone() -> None:
    model, _ = network()
    spec = PortraitSpec(
        height=SIZE, width=SIZE, output="logits", std=(1.0, 1.0, 1.0), mean=(0.1, 0.2, 0.3), scale=1 / 127
    )
    lowered = lower(model, spec=spec)
    assert ops(lowered) == ["conv", "reduce_sum"]
    assert lowered.inputs == (
        ImageFeature("image", SIZE, SIZE, "rgb", 1 / 127, (-0.1, -0.2, -0.3), description="A photograph, 8×8 pixels."),
    )


def test_mask_is_a_rounded_picture_and_logits_keep_their_name() -> None:
    model, weight = network()
    spec = PortraitSpec(height=SIZE, width=SIZE, output="mask")
    lowered = lower(model, spec=spec)
    assert ops(lowered) == ["conv", "reduce_sum", "sigmoid", "mul", "round"]
    names = [op.outputs[0].name for op in lowered.program.functions["main"].operations]
    assert {"logits", "probability", "mask"} <= set(names)
    assert [(f.name, f.color, f.height, f.width) for f in lowered.outputs] == [("mask", "grayscale", SIZE, SIZE)]
    picture = run_lowered(lowered, {"image": Image.fromarray(PICTURE)})["mask"]
    probability = 1 / (1 + np.exp(-reference(spec, weight)))
    np.testing.assert_allclose(np.asarray(picture, float), np.round(255 * probability[0, 0]), atol=1)


@pytest.mark.parametrize(("output", "name"), [("multiarray", "mask"), ("logits", "logits")])
def test_array_outputs(output: str, name: str) -> None:
    model, weight = network()
    spec = PortraitSpec(height=SIZE, width=SIZE, output=output)
    lowered = lower(model, spec=spec)
    feature = lowered.outputs[0]
    assert isinstance(feature, ArrayFeature)
    assert (feature.name, feature.shape, feature.dtype) == (name, (1, 1, SIZE, SIZE), "fp32")
    result = run_lowered(lowered, {"image": Image.fromarray(PICTURE)})[name]
    expected = reference(spec, weight)
    np.testing.assert_allclose(result, expected if name == "logits" else 1 / (1 + np.exp(-expected)), atol=2e-4)


def test_multiarray_has_a_class_map_too() -> None:
    model, weight = network()
    lowered = lower(model, spec=SPEC)
    assert [(f.name, f.shape, f.dtype) for f in lowered.outputs[1:]] == [("classes", (SIZE, SIZE), "int32")]
    result = run_lowered(lowered, {"image": Image.fromarray(PICTURE)})["classes"]
    sure = np.abs(reference(SPEC, weight)[0, 0]) > 1e-3
    assert np.array_equal(result[sure], (reference(SPEC, weight)[0, 0] >= 0)[sure])


def test_wrong_size_is_refused() -> None:
    from portrait_export.errors import LoweringError

    model, _ = network()
    with pytest.raises(LoweringError) as caught:
        lower(model, spec=PortraitSpec(height=16, width=8))
    assert caught.value.context == ("image: its shape is (1, 3, 8, 8); the spec requires (1, 3, 16, 8)",)


def test_values_carry_the_names_of_the_onnx_values() -> None:
    model, _ = network()
    lowered = lower(model)
    named = [op for op in lowered.program.functions["main"].operations if op.op_type != "const"]
    assert [(op.op_type, op.name, op.outputs[0].name) for op in named] == [
        ("conv", "features", "features"),
        ("reduce_sum", "logits", "logits"),
        ("sigmoid", "mask", "mask"),
    ]


def test_names_that_are_not_identifiers_stay_distinct() -> None:
    make = helper.make_node
    nodes = [make("Relu", ["x"], ["/a.b"]), make("Neg", ["/a.b"], ["/a/b"]), make("Abs", ["/a/b"], ["1y"])]
    lowered = lower(model_of(nodes, {"x": values(2)}, {}, ["1y"]))
    names = [op.outputs[0].name for op in lowered.program.functions["main"].operations if op.op_type != "const"]
    assert names == ["_a_b", "_a_b_2", "_1y"]
    assert run_lowered(lowered, {"x": np.asarray([-1, 2], "f")})["_1y"].tolist() == [0, 2]


INPUTS = [
    ("scalar", np.asarray(2.5, "f"), "Neg"),
    ("bools", np.asarray([True, False]), "Not"),
    ("int64_saturates", np.asarray([2**40, -5]), "Neg"),
    ("half", np.asarray([0.5, 1.5], np.float16), "Neg"),
]


@pytest.mark.parametrize(("name", "value", "op_type"), INPUTS, ids=[row[0] for row in INPUTS])
def test_plain_inputs_and_outputs(name: str, value: np.ndarray, op_type: str) -> None:
    lowered = lower(model_of([helper.make_node(op_type, ["x"], ["y"])], {"x": value}, {}, ["y"]))
    result = run_lowered(lowered, {"x": value})["y"]
    narrow = np.clip(value, -(2**31), 2**31 - 1) if value.dtype == np.int64 else value
    expected = np.logical_not(value) if op_type == "Not" else -narrow
    assert result.reshape(-1).tolist() == np.asarray(expected).reshape(-1).tolist()


def _high_rank(*, perm: list[int], between: str = "") -> onnx.ModelProto:
    make = helper.make_node
    nodes = [make("Reshape", ["x", "split"], ["six"])]
    nodes += [make(between, ["six"], ["odd"])] if between else []
    nodes += [make("Transpose", [nodes[-1].output[0]], ["moved"], perm=perm), make("Reshape", ["moved", "flat"], ["y"])]
    params = {"split": np.asarray([2, 2, 3, 2, 2, 5]), "flat": np.asarray([8, -1])}
    return model_of(nodes, {"x": values(2, 6, 4, 5)}, params, ["y"])


@pytest.mark.parametrize("perm", [[0, 1, 3, 2, 4, 5], [0, 3, 1, 4, 2, 5], [4, 5, 2, 3, 0, 1], [0, 1, 2, 3, 4, 5]])
def test_rank_six_between_reshapes(perm: list[int]) -> None:
    x = values(2, 6, 4, 5)
    if perm == [0, 3, 1, 4, 2, 5]:
        x = values(2, 6, 4, 5, seed=1)
    lowered = lower(_high_rank(perm=perm))
    expected = x.reshape(2, 2, 3, 2, 2, 5).transpose(perm).reshape(8, -1)
    assert np.array_equal(run_lowered(lowered, {"x": x})["y"], expected)


def test_rank_six_in_arithmetic() -> None:
    x = values(2, 6, 4, 5)
    lowered = lower(_high_rank(perm=[0, 1, 3, 2, 4, 5], between="Abs"))
    expected = np.abs(x).reshape(2, 2, 3, 2, 2, 5).transpose([0, 1, 3, 2, 4, 5]).reshape(8, -1)
    assert np.array_equal(run_lowered(lowered, {"x": x})["y"], expected)
