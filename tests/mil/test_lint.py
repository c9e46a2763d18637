"""Each pattern is found in packages and in ONNX, with its source; other operations are not reported."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest
from onnx import helper

from portrait_export.capture.onnx.lint import lint_model
from portrait_export.mil.lint import LISTED_SHAPES, MAX_SIDE, RANGE_SHAPES, RULES, LintOp, advise, lint_program

FOUR = (1, 8, 64, 64)

FOUND = {
    "rank-above-5": LintOp("transpose", "t", ((1, 2, 3, 4, 5, 6),), ((1, 2, 3, 4, 5, 6),)),
    "rank-5": LintOp("add", "a", outputs=((1, 2, 3, 4, 5),)),
    "side-above-16384": LintOp("softmax", "s", outputs=((1, 1, 8, MAX_SIDE + 1),)),
    "large-copy": LintOp("reshape", "r", outputs=((1, 65536, 1, 8),)),
    "single-last-axis": LintOp("add", "a", outputs=((1, 64, 64, 1),)),
    "computed-weight": LintOp("conv", "c", outputs=(FOUR,), constant_weight=False),
    "dilation": LintOp("conv", "c", outputs=(FOUR,), dilations=(1, 2)),
    "gather": LintOp("gather", "g", outputs=((1, 8),)),
    "recurrent": LintOp("lstm", "l", outputs=((4, 1, 8),)),
    "custom": LintOp("custom_thing", "x", outputs=(FOUR,)),
    "large-pool": LintOp("avg_pool", "p", outputs=(FOUR,), kernel=(14, 14)),
    "resize-factor": LintOp("resize_bilinear", "r", inputs=((1, 8, 16, 16),), outputs=(FOUR,)),
    "float32": LintOp("matmul", "m", outputs=((1, 8, 8),), dtype="fp32"),
}
FINE = {
    "four_dimensions": LintOp("conv", "c", (FOUR,), (FOUR,), "fp16", dilations=(1, 1)),
    "longest_side": LintOp("softmax", "s", outputs=((1, 1, 8, MAX_SIDE),)),
    "small_copy": LintOp("transpose", "t", outputs=((1, 8, 64),)),
    "largest_pool": LintOp("max_pool", "p", outputs=(FOUR,), kernel=(13, 13)),
    "resize_by_two": LintOp("upsample_bilinear", "r", inputs=((1, 8, 32, 32),), outputs=(FOUR,)),
    "resize_of_open_size": LintOp("resize", "r", inputs=((1, 8, None, None),), outputs=((1, 8, None, None),)),
    "gather_of_a_shape": LintOp("gather", "g", outputs=((1,),), dtype="int64"),
    "unknown_shapes": LintOp("add", "a", inputs=((),), outputs=()),
}


@pytest.mark.parametrize("code", FOUND)
def test_it_is_found(code):
    assert code in [item.code for item in advise([FOUND[code]])]


def test_every_rule_has_a_case():
    assert [rule.code for rule in RULES] == list(FOUND)


@pytest.mark.parametrize("name", FINE)
def test_it_is_fine(name):
    assert advise([FINE[name]]) == []


@pytest.mark.parametrize("rule", [*RULES, RANGE_SHAPES, LISTED_SHAPES], ids=lambda rule: rule.code)
def test_every_rule_has_a_remedy_and_sources(rule):
    assert rule.sources
    assert rule.do
    assert all(re.fullmatch(r"https://[\w.-]+/\S+", source) for source in rule.sources)


def test_many_alike_are_one_piece_of_advice():
    [item] = advise([LintOp("gather", f"g{i}", outputs=((1, 8),)) for i in range(9)])
    assert (item.count, item.where) == (9, ("g0", "g1", "g2", "g3", "g4"))


def _package(tmp_path, build, shape, **options):
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    program = mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS17)(
        lambda x: build(mb, x)
    )
    model = ct.convert(
        program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS17, skip_model_load=True, **options
    )
    path = tmp_path / "net.mlpackage"
    model.save(str(path))
    return path


def test_a_package_is_read(tmp_path):
    from portrait_export.mil.program import read_program

    def build(mb, x):
        weight = np.ones((8, 8, 3, 3), np.float32)
        y = mb.conv(x=x, weight=weight, dilations=[2, 2], pad_type="same", name="wide")
        y = mb.avg_pool(x=y, kernel_sizes=[16, 16], strides=[1, 1], pad_type="valid", name="pool")
        kernel = mb.reshape(x=mb.reduce_mean(x=y, axes=[2, 3]), shape=[8, 1, 1, 1])
        y = mb.conv(x=y, weight=kernel, groups=8, name="computed")
        return mb.gather(x=y, indices=np.array([1, 0, 3], np.int32), axis=1, name="pick")

    found = {item.code: item for item in lint_program(read_program(_package(tmp_path, build, (1, 8, 32, 32))))}
    assert set(found) == {"dilation", "large-pool", "computed-weight", "gather"}
    assert "wide" in found["dilation"].where[0]
    assert "computed" in found["computed-weight"].where[0]


def test_a_package_in_float32_with_open_shapes_is_read(tmp_path):
    import coremltools as ct

    from portrait_export.mil.program import read_program

    path = _package(
        tmp_path,
        lambda mb, x: mb.conv(x=x, weight=np.ones((1, 3, 1, 1), np.float32), name="c"),
        (1, 3, mb_symbol(), 32),
        inputs=[ct.TensorType(name="x", shape=(1, 3, ct.RangeDim(8, 64), 32))],
        compute_precision=ct.precision.FLOAT32,
    )
    assert [item.code for item in lint_program(read_program(path))] == ["float32", "range-shapes"]


def mb_symbol():
    from coremltools.converters.mil.mil import get_new_symbol

    return get_new_symbol()


def _onnx(*nodes: onnx.NodeProto, shape: list[object], **constants: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, [None] * 4)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_an_onnx_model_is_read():
    nodes = (
        helper.make_node("Conv", ["x", "w"], ["c"], name="/wide", dilations=[4, 4], pads=[4] * 4),
        helper.make_node("Gather", ["c", "i"], ["g"], name="/pick", axis=1),
        helper.make_node("Resize", ["g", "", "s"], ["y"], name="/up"),
    )
    constants = {
        "w": np.ones((2, 3, 3, 3), np.float32),
        "i": np.array([1], np.int64),
        "s": np.array([1, 1, 4, 4], np.float32),
    }
    found = lint_model(_onnx(*nodes, shape=[1, 3, 16, 16], **constants))
    assert [(item.code, item.where) for item in found] == [
        ("dilation", ("/wide",)),
        ("gather", ("/pick",)),
        ("resize-factor", ("/up",)),
    ]


def test_an_onnx_model_with_open_size_is_read():
    found = lint_model(_onnx(helper.make_node("Relu", ["x"], ["y"]), shape=["n", 3, "h", "w"]))
    assert [(item.code, item.where) for item in found] == [("range-shapes", ("x",))]


@pytest.mark.parametrize("suffix", ["mlpackage", "onnx"])
def test_inspect_shows_advice_as_text_and_as_json(suffix, cli, small_export):
    path = small_export / f"segformer_b0.{suffix}"
    text = cli("inspect", path, "--lint").out
    assert "advice from public documents, not a measurement" in text
    assert "source  https://" in text
    lint = json.loads(cli("inspect", path, "--lint", "--json").out)["lint"]
    assert {"resize-factor"} <= {item["code"] for item in lint["advice"]}
    assert "lint" not in json.loads(cli("inspect", path, "--json").out)
