"""Test that what an output means is decided from the graph and from values, and asked where neither settles it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from portrait_export.artifacts import Frame
from portrait_export.capture.foreign.field import field_of
from portrait_export.capture.foreign.instances import instances_of
from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.capture.onnx.check import run_once
from portrait_export.errors import PortraitError
from tests.capture.foreign.guesses import guesses

SIDE = 32
node = helper.make_node
Nodes = list[onnx.NodeProto]
Probability = Callable[[np.ndarray], np.ndarray]
PIXELS: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def picture() -> np.ndarray:
    coarse = np.random.default_rng(5).integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), np.uint8))


def constants() -> dict[str, np.ndarray]:
    numbers = {"half": 0.5, "one": 1, "two": 2, "three": 3, "six": 6, "tenth": 0.1, "c255": 255, "c100": 100, "zero": 0}
    blur = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32).reshape(1, 1, 3, 3) / 16
    arrays = {name: np.array(value, np.float32) for name, value in numbers.items()}
    return arrays | {
        "blur": blur,
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "end": np.array([3], np.int64),
        "axis": np.array([1], np.int64),
        "weighing": np.array([1.3, 0.9, -0.8], np.float32).reshape(1, 3, 1, 1),
        "minus": np.array([-0.2], np.float32),
        "minus_half": np.array([-0.5], np.float32),
        "threshold": np.array(0.5, np.float32),
        "halves": np.array([1, 1, 0.5, 0.5], np.float32),
        "doubles": np.array([1, 1, 2, 2], np.float32),
        "list_of_pixels": np.array([1, 2, SIDE * SIDE], np.int64),
        "map": np.array([1, 2, SIDE, SIDE], np.int64),
        "step": np.array(1 / 255, np.float32),
        "large_step": np.array(16 / 255, np.float32),
        "byte0": np.array(0, np.uint8),
        "byte128": np.array(128, np.uint8),
        "lowest": np.array(-128, np.int8),
    }


def network(nodes: Nodes, *, dtype: int = TensorProto.FLOAT, bias: float = 0.0) -> onnx.ModelProto:
    """`x` → `z` (one channel of both signs), `g` (three) and their `s` = σ(z), `p` = softmax(g) → the nodes' `y`."""
    generator = np.random.default_rng(1)
    weights = {
        "wz": np.array([3, -4, 2], np.float32).reshape(1, 3, 1, 1) * 2,
        "bz": np.array([-1 + bias], np.float32),
        "wg": generator.normal(0, 4, (3, 3, 1, 1)).astype(np.float32),
    }
    base = [
        node("Conv", ["x", "wz", "bz"], ["z"], name="/z"),
        node("Conv", ["x", "wg"], ["g"], name="/g"),
        node("Sigmoid", ["z"], ["s"], name="/s"),
        node("Softmax", ["g"], ["p"], axis=1, name="/p"),
        node("Slice", ["p", "second", "end", "axis"], ["people"], name="/people"),
        node("Slice", ["p", "first", "second", "axis"], ["rest"], name="/rest"),
    ]
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in {**weights, **constants()}.items()]
    graph = helper.make_graph(
        [*base, *nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", dtype, [None] * 4)],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def load(model: onnx.ModelProto, folder: Path, **settings: Any) -> Any:
    onnx.save(model, folder / "net.onnx")
    return load_foreign(ForeignOptions(onnx=folder / "net.onnx", **{**PIXELS, **settings}))


def unchanged(y: np.ndarray) -> np.ndarray:
    return y


def logistic(y: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-y))


def of_bytes(y: np.ndarray) -> np.ndarray:
    return y / 255.0


def signed(y: np.ndarray) -> np.ndarray:
    return (y + 1) / 2


def to_bytes(value: str, *before: onnx.NodeProto) -> Nodes:
    return [*before, node("Mul", [value, "c255"], ["scaled"]), node("Cast", ["scaled"], ["y"], to=TensorProto.UINT8)]


RIGHT: dict[str, tuple[Nodes, Probability]] = {
    "logits": ([node("Identity", ["z"], ["y"])], logistic),
    "logits_times_three": ([node("Mul", ["z", "three"], ["y"])], logistic),
    "capped_logits": ([node("Tanh", ["z"], ["t"]), node("Mul", ["t", "c100"], ["y"])], logistic),
    "sum_of_logits": ([node("Add", ["z", "z"], ["y"])], logistic),
    "gated_logits": ([node("Mul", ["z", "people1"], ["y"])], logistic),
    "sigmoid_times_255": ([node("Mul", ["s", "c255"], ["y"])], of_bytes),
    "sigmoid_times_100": ([node("Mul", ["s", "c100"], ["y"])], lambda y: y / 100),
    "one_minus_sigmoid": ([node("Sub", ["one", "s"], ["y"])], unchanged),
    "tanh": ([node("Tanh", ["z"], ["y"])], signed),
    "tanh_in_0_to_1": (
        [node("Tanh", ["z"], ["t"]), node("Mul", ["t", "half"], ["h"]), node("Add", ["h", "half"], ["y"])], unchanged,
    ),
    "two_sigmoids_minus_one": ([node("Mul", ["s", "two"], ["t"]), node("Sub", ["t", "one"], ["y"])], signed),
    "clip": ([node("Clip", ["z", "zero", "one"], ["y"])], unchanged),
    "relu6_over_six": (
        [
            node("Add", ["z", "three"], ["t"]), node("Clip", ["t", "zero", "six"], ["c"]),
            node("Div", ["c", "six"], ["y"]),
        ],
        unchanged,
    ),
    "square": ([node("Pow", ["s", "two"], ["y"])], unchanged),
    "two_branches_fused": (
        [node("Split", ["people"], ["a", "b"], axis=1), node("Mul", ["a", "s"], ["c"]), node("Add", ["b", "c"], ["y"])],
        unchanged,
    ),
    "part_subtracted": ([node("Mul", ["s", "s"], ["t"]), node("Sub", ["s", "t"], ["y"])], unchanged),
    "average_pool": (
        [node("AveragePool", ["s"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])], unchanged,
    ),
    "maximum_of_classes": ([node("ReduceMax", ["people"], ["y"], axes=[1], keepdims=1)], unchanged),
    "sum_of_classes": ([node("ReduceSum", ["people", "axis"], ["y"], keepdims=1)], unchanged),
    "blurred_softmax": (
        [node("Sub", ["one", "rest"], ["t"]), node("Conv", ["t", "blur"], ["y"], pads=[1, 1, 1, 1])], unchanged,
    ),
    "bicubic_that_overshoots": (
        [
            node("Greater", ["s", "threshold"], ["t"]), node("Cast", ["t"], ["f"], to=TensorProto.FLOAT),
            node("AveragePool", ["f"], ["low"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Resize", ["low", "", "doubles"], ["y"], mode="cubic"),
        ],
        lambda y: y.clip(0, 1),
    ),
    "written_out_sigmoid": (
        [
            node("Neg", ["z"], ["n"]), node("Exp", ["n"], ["e"]), node("Add", ["one", "e"], ["d"]),
            node("Reciprocal", ["d"], ["y"]),
        ],
        unchanged,
    ),
    "stretched_to_its_own_range": (
        [
            node("ReduceMin", ["z"], ["low"], axes=[1, 2, 3]), node("ReduceMax", ["z"], ["high"], axes=[1, 2, 3]),
            node("Sub", ["z", "low"], ["t"]), node("Sub", ["high", "low"], ["d"]), node("Div", ["t", "d"], ["y"]),
        ],
        unchanged,
    ),
    "threshold": (
        [node("Greater", ["s", "threshold"], ["t"]), node("Cast", ["t"], ["y"], to=TensorProto.FLOAT)], unchanged,
    ),
    "difference_of_two_softmaxes": ([node("Sub", ["people1", "rest"], ["y"])], signed),
    "8_bit_sigmoid": (
        [
            node("QuantizeLinear", ["s", "step", "byte0"], ["q"]),
            node("DequantizeLinear", ["q", "step", "byte0"], ["y"]),
        ],
        unchanged,
    ),
    "8_bit_logits": (
        [
            node("QuantizeLinear", ["z", "large_step", "byte128"], ["q"]),
            node("DequantizeLinear", ["q", "large_step", "byte128"], ["y"]),
        ],
        logistic,
    ),
    "picture_by_quantization": ([node("QuantizeLinear", ["s", "step", "byte0"], ["y"])], of_bytes),
    "picture_of_a_softmax": (to_bytes("people1"), of_bytes),
    "picture_of_a_sigmoid": (to_bytes("s"), of_bytes),
    "picture_of_a_clip": (to_bytes("c", node("Clip", ["z", "zero", "one"], ["c"])), of_bytes),
    "picture_of_a_threshold": (
        to_bytes("f", node("Greater", ["s", "threshold"], ["t"]), node("Cast", ["t"], ["f"], to=TensorProto.FLOAT)),
        of_bytes,
    ),
    "interpolated_argmax_of_two": (
        [
            node("Slice", ["p", "first", "two_", "axis"], ["pair"]), node("ArgMax", ["pair"], ["k"], axis=1),
            node("Cast", ["k"], ["f"], to=TensorProto.FLOAT), node("Resize", ["f", "", "halves"], ["t"]),
            node("Resize", ["t", "", "doubles"], ["y"], mode="linear"),
        ],
        unchanged,
    ),
    "picture_of_an_argmax": (
        [
            node("Concat", ["z", "zero1"], ["both"], axis=1), node("ArgMin", ["both"], ["k"], axis=1, keepdims=1),
            node("Cast", ["k"], ["f"], to=TensorProto.FLOAT), node("Mul", ["f", "c255"], ["y"]),
        ],
        of_bytes,
    ),
}  # fmt: skip
HELPERS = {
    "people1": node("Slice", ["p", "second", "two_", "axis"], ["people1"]),
    "zero1": node("Mul", ["z", "zero"], ["zero1"]),
}


def built(nodes: Nodes) -> onnx.ModelProto:
    needed = {name for each in nodes for name in each.input} & set(HELPERS)
    pictures = any(a.i == TensorProto.UINT8 for each in nodes for a in each.attribute if a.name == "to")
    pictures = pictures or nodes[-1].op_type == "QuantizeLinear"
    model = network([*(HELPERS[name] for name in needed), *nodes], dtype=2 if pictures else 1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2], np.int64), "two_"))
    return model


@pytest.mark.parametrize("name", RIGHT)
def test_the_mask_is_what_the_values_mean(name, tmp_path):
    nodes, probability = RIGHT[name]
    model = built(nodes)
    found = load(model, tmp_path)
    image = found.spec.normalise(Frame(picture()))
    values = run_once(model, {"x": image})["y"].astype(np.float64)
    expected = probability(values).reshape(SIDE, SIDE)
    mask = run_once(found.to_onnx(), {"image": image})["mask"][0, 0]
    step = 1 / 255 if name.startswith("picture") else 1e-5
    assert np.ptp(expected) > 0.2, "a flat mask would prove nothing"
    np.testing.assert_allclose(mask, expected, atol=step + 1e-6)
    [reference] = found.open_runner().run([Frame(picture())])
    np.testing.assert_allclose(reference.probability, expected, atol=step + 1e-6)
    np.testing.assert_allclose(reference.raw, values.reshape(reference.raw.shape), rtol=1e-6)
    assert found.summary.count(str(found.head.text)) == 1
    assert " on 6 photographs and " in found.provenance["meaning"]


ASKED: dict[str, tuple[Nodes, str]] = {
    "relu": ([node("Relu", ["z"], ["y"])], "never negative, as no logits are, and above 1, as no probability is"),
    "relu6": ([node("Clip", ["z", "zero", "six"], ["y"])], "never negative"),
    "sigmoids_weighted_with_a_bias": (
        [node("Conv", ["p", "weighing", "minus"], ["y"])], "never negative, as no logits are",
    ),
    "sigmoids_weighted_to_both_sides_of_0": (
        [node("Conv", ["p", "weighing", "minus_half"], ["y"])], "neither within 0..1 nor on both sides of 0",
    ),
    "sigmoid_around_0": (
        [node("Mul", ["s", "c255"], ["m"]), node("Sub", ["m", "c100"], ["y"])], "a sigmoid times 255 plus -100",
    ),
    "sum_of_two_sigmoids": ([node("Add", ["s", "s"], ["y"])], "never negative"),
    "logarithm_of_a_sigmoid": ([node("Log", ["s"], ["y"])], "never positive, as logarithms of probabilities are"),
    "sigmoid_with_a_residual": (
        [node("Mul", ["z", "tenth"], ["r"]), node("Add", ["s", "r"], ["y"])], "on both sides of 0 as logits are",
    ),
    "weak_values": ([node("Mul", ["z2", "tenth"], ["t"]), node("Add", ["t", "half"], ["y"])], "which nothing in the"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_it_asks_where_nothing_settles_it(name, tmp_path):
    nodes, words = ASKED[name]
    model = network(nodes)
    if name == "weak_values":
        model.graph.node.insert(1, node("Conv", ["x", "wz2"], ["z2"]))
        weights = np.full((1, 3, 1, 1), 0.5, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "wz2"))
    with pytest.raises(PortraitError) as caught:
        load(model, tmp_path)
    assert caught.value.code == "which-activation"
    assert caught.value.message.startswith("What does the output 'y' (1, 1, 32, 32) hold? It ends in ")
    assert words in caught.value.message
    assert "`activation=" in caught.value.hint


@pytest.mark.parametrize("scale", [90.0, 127.0])
def test_whole_numbers_that_never_come_near_255_are_no_picture(scale, tmp_path):
    model = network(
        [node("Mul", ["s", "scale"], ["m"]), node("Cast", ["m"], ["y"], to=TensorProto.INT8)], dtype=TensorProto.INT8
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(scale, np.float32), "scale"))
    with pytest.raises(PortraitError) as caught:
        load(model, tmp_path)
    assert "neither class numbers from 0 on nor a picture of 0..255" in caught.value.message


def test_weak_logits_of_features_are_logits(tmp_path):
    """A convolution of values of both signs, with small weights: bounded, and within -0.5..1.5 on photographs."""
    nodes = [node("Tanh", ["g"], ["t"]), node("Conv", ["t", "weak", "weak_bias"], ["y"])]
    model = network(nodes)
    for name, array in (("weak", [0.1, -0.3, 0.2]), ("weak_bias", [-0.2])):
        shaped = np.array(array, np.float32).reshape(-1 if name == "weak_bias" else (1, 3, 1, 1))
        model.graph.initializer.append(onnx.numpy_helper.from_array(shaped, name))
    assert load(model, tmp_path).head.kind == "logits"


def test_the_answer_is_taken(tmp_path):
    nodes = ASKED["sigmoid_with_a_residual"][0]
    assert load(network(nodes), tmp_path, activation="logits").head.kind == "logits"


CONTRADICTIONS: dict[str, tuple[Nodes, str, str]] = {
    "logits_of_a_sigmoid": (
        [node("Identity", ["s"], ["y"])], "logits", "values that are never negative call every pixel the person",
    ),
    "logits_of_a_picture": (to_bytes("s"), "logits", "`activation=logits` cannot be right"),
    "matte_of_0_to_1": ([node("Identity", ["s"], ["y"])], "matte255", "was taken as a matte of 0..255"),
    "matte_that_the_graph_keeps_dark": (
        [node("Tanh", ["z"], ["t"]), node("Mul", ["t", "six"], ["y"])], "matte255", "was taken as a matte of 0..255",
    ),
    "signed_without_a_sign": ([node("Identity", ["s"], ["y"])], "signed", "was taken as a matte of -1..1"),
    "probability_of_0_to_255": ([node("Mul", ["s", "c255"], ["y"])], "probability", "was taken as a probability"),
    "class_numbers_with_fractions": ([node("Identity", ["s"], ["y"])], "argmax", "was taken as class numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_an_option_that_the_values_contradict_is_refused(name, tmp_path):
    nodes, activation, words = CONTRADICTIONS[name]
    with pytest.raises(PortraitError) as caught:
        load(built(nodes), tmp_path, activation=activation)
    assert words in caught.value.message
    assert f"activation={activation}`" not in caught.value.hint


def test_how_sure_a_network_is_says_not_where_the_person_is(tmp_path):
    with pytest.raises(PortraitError, match="the largest of 3 probabilities: how sure the network is") as caught:
        load(network([node("ReduceMax", ["p"], ["y"], axes=[1], keepdims=1)]), tmp_path)
    assert "`mask_output=g`" in caught.value.hint


@pytest.mark.parametrize(
    ("last", "words"),
    [
        pytest.param(node("Mul", ["f", "c100"], ["y"]), "times 100 plus 0", id="scaled"),
        pytest.param(node("Resize", ["f", "", "doubles"], ["y"], mode="linear"), "interpolated", id="interpolated"),
    ],
)
def test_a_picture_of_class_numbers_is_no_mask(last, words, tmp_path):
    nodes = [node("ArgMax", ["g"], ["k"], axis=1, keepdims=1), node("Cast", ["k"], ["f"], to=TensorProto.FLOAT)]
    with pytest.raises(PortraitError, match=f"holds numbers of 3 classes, {words}") as caught:
        load(network([*nodes, last]), tmp_path)
    assert caught.value.hint == "`mask_output=k` takes the class numbers themselves."
    assert caught.value.code == "scaled-classes"


LEVELS = {
    "logits": (["z", "large_step", "byte128"], "0.06275 · (q - 128)"),
    "signed_bytes": (["s", "step", "lowest"], "0.003922 · (q + 128)"),
}


@pytest.mark.parametrize("name", LEVELS)
def test_8_bit_integers_that_stand_for_other_numbers_are_no_picture(name, tmp_path):
    inputs, formula = LEVELS[name]
    dtype = TensorProto.INT8 if "lowest" in inputs else TensorProto.UINT8
    model = network([node("QuantizeLinear", inputs, ["y"])], dtype=dtype)
    with pytest.raises(PortraitError) as caught:
        load(model, tmp_path)
    assert f"holds 8-bit integers q that stand for {formula}" in caught.value.message
    assert caught.value.hint == f"`mask_output={inputs[0]}` takes the numbers themselves."
    assert load(model, tmp_path, mask_output=inputs[0]).head.output == inputs[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_softmax_over_pixels_says_nothing_of_classes(channels, tmp_path):
    value, shape = ("z", [1, 1, SIDE * SIDE]) if channels == 1 else ("g", [1, 3, SIDE * SIDE])
    nodes = [
        node("Reshape", [value, "flat"], ["t"]),
        node("Softmax", ["t"], ["q"], axis=2),
        node("Reshape", ["q", "back"], ["y"]),
    ]
    model = network(nodes)
    for name, sizes in (("flat", shape), ("back", [*shape[:2], SIDE, SIDE])):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(sizes, np.int64), name))
    with pytest.raises(PortraitError, match="which is not the axis of its") as caught:
        load(model, tmp_path, person_class=None if channels == 1 else (1,))
    assert caught.value.code == "softmax-axis"


def test_a_softmax_over_the_classes_of_a_list_of_pixels_is_a_mask(tmp_path):
    nodes = [
        node("Slice", ["g", "first", "two_", "axis"], ["pair"]),
        node("Reshape", ["pair", "list_of_pixels"], ["t"]),
        node("Softmax", ["t"], ["q"], axis=1),
        node("Reshape", ["q", "map"], ["y"]),
    ]
    model = built(nodes)
    found = load(model, tmp_path)
    image = found.spec.normalise(Frame(picture()))
    mask = run_once(found.to_onnx(), {"image": image})["mask"][0, 0]
    np.testing.assert_allclose(mask, run_once(model, {"x": image})["y"][0, 1], atol=1e-5)


def test_a_picture_with_an_alpha_channel_holds_no_class_numbers(tmp_path):
    """A dark cutout: colours times the matte, and the matte as its fourth channel."""
    nodes = [
        node("Mul", ["s", "tenth"], ["dark"]),
        node("Mul", ["x", "dark"], ["colours"]),
        node("Concat", ["colours", "dark"], ["rgba"], axis=1),
        *to_bytes("rgba"),
    ]
    with pytest.raises(PortraitError) as caught:
        load(network(nodes, dtype=TensorProto.UINT8), tmp_path, person_class=(3,))
    assert caught.value.code == "which-activation"


def test_subtracting_from_one_is_doubted_until_the_user_says_which(tmp_path):
    model = built(RIGHT["one_minus_sigmoid"][0])
    assert any("may be that of the background (1 - a sigmoid)" in line for line in load(model, tmp_path).warnings)
    for positive in ("person", "background"):
        assert guesses(load(model, tmp_path, positive=positive)) == ()


def with_lists(lists: dict[str, tuple[int, ...]], channels: int) -> onnx.ModelProto:
    """A map of some channels at half size, and lists of vectors."""
    nodes = [
        node("Conv", ["x", "wide"], ["wide_map"]),
        node("AveragePool", ["wide_map"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    nodes += [node("Expand", ["zero", f"{name}_shape"], [name]) for name in lists]
    model = network(nodes)
    wide = np.random.default_rng(0).normal(size=(channels, 3, 1, 1)).astype(np.float32)
    arrays = {"wide": wide, **{f"{name}_shape": np.array(shape, np.int64) for name, shape in lists.items()}}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, shape) for name, shape in lists.items())
    return model


INSTANCES: dict[str, tuple[dict[str, tuple[int, ...]], int, str]] = {
    "yolov8_seg": ({"output0": (1, 116, 84)}, 32, "instance segmentation as YOLO's"),
    "yolov5_seg": ({"output0": (1, 252, 117)}, 32, "instance segmentation as YOLO's"),
    "end_to_end_yolo": ({"output0": (1, 300, 38)}, 32, "instance segmentation as YOLO's"),
    "yolact": (
        {"boxes": (1, 200, 4), "conf": (1, 200, 2), "coefficients": (1, 200, 32)}, 32,
        "instance segmentation as YOLACT's",
    ),
    "maskformer": ({"class_queries_logits": (1, 100, 134)}, 100, "segmentation by queries, as MaskFormer's"),
    "yolo_with_16_prototypes": ({"output0": (1, 21, 84)}, 16, "instance segmentation as YOLO's"),
    "detections_with_masks": ({"dets": (50, 5), "labels": (1, 50)}, 50, "segmentation by queries"),
    "separate_lists": (
        {"boxes": (1, 4, 84), "scores": (1, 3, 84), "coefficients": (1, 16, 84)}, 16,
        "instance segmentation as YOLACT's",
    ),
    "selected_with_64_prototypes": ({"output0": (1, 300, 70)}, 64, "instance segmentation as YOLO's"),
    "four_strides": ({"output0": (1, 23, 85)}, 16, "instance segmentation as YOLO's"),
    "undecoded_heads": (
        {f"{part}{side}": (1, count, side, side) for side in (8, 4, 2)
         for part, count in (("box", 64), ("scores", 80), ("coefficients", 16))}, 16,
        "instance segmentation before its boxes are decoded",
    ),
    "undecoded_with_anchors": (
        {f"head{side}": (1, 3, side, side, 117) for side in (8, 4, 2)}, 32, "before its boxes are decoded",
    ),
    "detr": ({"logits": (1, 50, 92), "pred_boxes": (1, 50, 4)}, 50, "segmentation by queries"),
}  # fmt: skip


@pytest.mark.parametrize("name", INSTANCES)
def test_instances_are_refused_by_name(name, tmp_path):
    lists, channels, words = INSTANCES[name]
    with pytest.raises(PortraitError) as caught:
        load(with_lists(lists, channels), tmp_path, person_class=(1,))
    assert caught.value.code == "instances"
    assert words in caught.value.message


def test_labels_of_masks_are_instances():
    outputs = {"masks": np.zeros((1, 20, 16, 16)), "labels": np.zeros((1, 20), np.int64), "scores": np.zeros((1, 20))}
    field = field_of((1, 20, 16, 16), (64, 64))
    assert field is not None
    found = instances_of(outputs, "masks", field)
    assert found is not None
    assert "instance segmentation: 20 masks and each one's class" in found.text


SEMANTIC: dict[str, dict[str, tuple[int, ...]]] = {
    "side_outputs": {"seg": (1, 21, 64, 64), "aux1": (1, 21, 32, 32), "aux2": (1, 21, 16, 16), "aux3": (1, 21, 8, 8)},
    "mattes_of_a_pyramid": {"alpha_os1": (1, 1, 64, 64), "alpha_os4": (1, 1, 16, 16), "alpha_os8": (1, 1, 8, 8)},
    "features": {"seg": (1, 19, 64, 64), "c1": (1, 64, 32, 32), "c2": (1, 128, 16, 16), "c3": (1, 256, 8, 8)},
    "edges_at_one_scale": {"seg": (1, 19, 64, 64), "aux": (1, 19, 16, 16), "edge": (1, 1, 16, 16)},
}


@pytest.mark.parametrize("name", SEMANTIC)
def test_maps_of_several_scales_are_no_instances(name):
    outputs = {key: np.zeros(shape, np.float32) for key, shape in SEMANTIC[name].items()}
    for key, value in outputs.items():
        field = field_of(value.shape, (64, 64))
        assert field is not None
        assert instances_of(outputs, key, field) is None


def test_lists_beside_a_semantic_map_are_no_instances(tmp_path):
    lists = {"tokens": (1, 64, 96), "presence": (1, 2)}
    network_found = load(with_lists(lists, 2), tmp_path)
    assert network_found.head.output == "y"
    lists = {"tokens": (1, 256, 384), "presence": (1, 1000), "pooled": (1, 21)}
    network_found = load(with_lists(lists, 21), tmp_path)
    assert network_found.head.person == (15,)
