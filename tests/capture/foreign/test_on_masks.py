"""Test that drawn masks of photographs tell a wrong output or class from the person, on a network that finds people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.export import export_onnx
from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.network import ForeignNetwork
from portrait_export.capture.foreign.on_masks import BADLY
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.errors import UsageError
from portrait_export.models.registry import load_shipped, model_spec

SIDE = 128
node = helper.make_node


@pytest.fixture(scope="module")
def people() -> onnx.ModelProto:
    """A network whose output `mask` is of the person, without the project's metadata."""
    spec = model_spec("lite0_fpn").portrait_spec().with_size(SIDE, SIDE)
    model = export_onnx(load_shipped("lite0_fpn"), spec=spec, check=False)
    del model.metadata_props[:]
    return model


def ending(
    people: onnx.ModelProto, nodes: list[onnx.NodeProto], outputs: dict[str, int], **arrays: object
) -> onnx.ModelProto:
    """The network with further nodes that read `mask` and `logits`; outputs by name, with their types."""
    model = onnx.ModelProto()
    model.CopyFrom(people)
    model.graph.node.extend(nodes)
    stored = {"one": np.float32(1), "half": np.float32(0.5), "zero": np.float32(0), **arrays}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items())
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items())
    return onnx.shape_inference.infer_shapes(model)


def load(model: onnx.ModelProto, folder: Path, **settings: object) -> ForeignNetwork:
    onnx.save(model, folder / "net.onnx")
    prepared = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "scale": 1 / 255}
    return load_foreign(ForeignOptions(onnx=folder / "net.onnx", **{**prepared, **settings}))


F32, U8, I64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
INVERSE = node("Sub", ["one", "mask"], ["inverse"])
BACKGROUNDS = {
    "argmax with the person first": (
        [INVERSE, node("Concat", ["mask", "inverse"], ["both"], axis=1), node("ArgMax", ["both"], ["y"], axis=1)],
        I64,
    ),
    "a hard mask": ([node("Less", ["mask", "half"], ["low"]), node("Cast", ["low"], ["y"], to=F32)], F32),
    "a saturated mask": (
        [
            node("Mul", ["logits", "steep"], ["steeper"]),
            node("Clip", ["steeper", "zero", "one"], ["sharp"]),
            node("Sub", ["one", "sharp"], ["y"]),
        ],
        F32,
    ),
}


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_background_is_refused_though_its_values_tie(people, tmp_path, name):
    nodes, kind = BACKGROUNDS[name]
    with pytest.raises(UsageError, match="marks the background") as caught:
        load(ending(people, nodes, {"y": kind}, steep=np.float32(0.3)), tmp_path)
    assert caught.value.code == "which-class"


EDGE = [
    node("MaxPool", ["mask"], ["wide"], kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
    node("Sub", ["wide", "mask"], ["edge"]),
]


def test_two_classes_that_overlap_are_told_apart_by_the_masks(people, tmp_path):
    sums = [*EDGE, node("Add", ["edge", "tiny"], ["some"]), node("Log", ["some"], ["edge_logit"])]
    resized = node("Resize", ["logits", "", "twice"], ["large"], mode="linear")
    both = [node("Concat", ["large", "edge_logit"], ["z"], axis=1), node("Sigmoid", ["z"], ["y"])]
    arrays = {"tiny": np.float32(1e-3), "twice": np.array([1, 1, 2, 2], np.float32)}
    model = ending(people, [*sums, resized, *both], {"y": F32}, **arrays)
    with pytest.raises(UsageError, match=r"Class 0 .* marks people better than class 1") as caught:
        load(model, tmp_path)
    assert "`person_class=0`" in caught.value.hint
    assert load(model, tmp_path, person_class=(0,)).head.person == (0,)


def test_a_network_that_finds_people_is_not_doubted(people, tmp_path):
    network = load(ending(people, [], {"mask": F32}), tmp_path)
    assert network.warnings == ()


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("Slice", ["mask", "from", "to", "axes"], ["y"])], "neither a whole part nor a multiple"),
        ([node("Slice", ["mask", "last", "before", "across", "back"], ["y"])], BADLY),
    ],
    ids=["cropped", "mirrored"],
)
def test_a_mask_of_another_view_is_doubted(people, tmp_path, nodes, said):
    arrays = {
        "from": np.array([20, 20]),
        "to": np.array([108, 108]),
        "axes": np.array([2, 3]),
        "last": np.array([SIDE - 1]),
        "before": np.array([-SIDE - 1]),
        "across": np.array([3]),
        "back": np.array([-1]),
    }
    network = load(ending(people, nodes, {"y": F32}, **arrays), tmp_path)
    assert any(said in warning for warning in network.warnings)


def test_of_several_outputs_the_masks_choose(people, tmp_path):
    named = [*EDGE, node("Identity", ["edge"], ["edge_mask"]), node("Identity", ["mask"], ["alpha"])]
    network = load(ending(people, named, {"edge_mask": F32, "alpha": F32}), tmp_path)
    assert network.head.output == "alpha"
    misnamed = [*EDGE, node("Identity", ["edge"], ["mask_2"]), node("Identity", ["mask"], ["v17"])]
    network = load(ending(people, misnamed, {"mask_2": F32, "v17": F32}), tmp_path)
    assert network.head.output == "v17"


def test_of_outputs_at_several_scales_the_largest_is_used(people, tmp_path):
    small = node("AveragePool", ["mask"], ["s0"], kernel_shape=[8, 8], strides=[8, 8])
    network = load(ending(people, [small, node("Identity", ["mask"], ["s1"])], {"s0": F32, "s1": F32}), tmp_path)
    assert network.head.output == "s1"
    assert "s0 (1, 1, 16, 16), s1 (1, 1, 128, 128); s1 is used" in network.warnings[0]


def test_positive_is_refused_for_several_classes(people, tmp_path):
    both = [INVERSE, node("Concat", ["inverse", "mask"], ["y"], axis=1)]
    with pytest.raises(UsageError, match="is of a single channel"):
        load(ending(people, both, {"y": F32}), tmp_path, positive="background")
