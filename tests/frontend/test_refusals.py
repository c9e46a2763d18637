"""Everything that cannot be lowered faithfully is refused in one error, in these words."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from portrait_export.errors import LoweringError, UsageError
from portrait_export.frontend.convert import lower
from tests.cases.model import Case, ints, model_of, values

X = {"x": values(1, 4, 6, 6)}


def graph(
    *nodes: onnx.NodeProto, feeds: dict[str, np.ndarray] = X, opset: int = 17, **params: np.ndarray
) -> onnx.ModelProto:
    return model_of(list(nodes), feeds, params, [nodes[-1].output[0]], opset=opset)


def refusal(model: onnx.ModelProto, **options: object) -> LoweringError:
    with pytest.raises(LoweringError) as caught:
        lower(model, source="modnet.onnx", file="nets/modnet.onnx", **options)  # type: ignore[arg-type]
    return caught.value


def test_missing_operators_in_one_error() -> None:
    make = helper.make_node
    model = graph(
        make("Relu", ["x"], ["a"], name="/stem/Relu"),
        make("Det", ["a"], ["d"], name="/neck/Det"),
        make("NonZero", ["x"], ["n1"], name="/head/NonZero"),
        make("NonZero", ["a"], ["n2"], name="/head/NonZero_1"),
        make("Identity", ["d"], ["y"], name="/out"),
    )
    model.graph.output.extend([helper.make_tensor_value_info(n, 7, None) for n in ("n1", "n2")])
    error = refusal(model)
    assert error.code == "unsupported-onnx-op"
    assert str(error) == (
        "Cannot lower modnet.onnx (opset 17) to MIL: 2 of 4 operator types have no lowering.\n"
        "  Det        1 node,  first /neck/Det: MIL has no determinant\n"
        "  NonZero    2 nodes, first /head/NonZero:"
        " the number of elements in its result depends on the values; Core ML's shapes are fixed\n"
        "hint: `portrait-export inspect nets/modnet.onnx` lists every operator and its status;"
        " `mask_output=NAME` can cut the network off at any value before them."
    )


def test_missing_operators_and_attributes_in_one_error() -> None:
    make = helper.make_node
    model = graph(
        make("Dropout", ["x", "ratio", "training"], ["n"], name="/drop"),
        make("Det", ["n"], ["y"], name="/det"),
        ratio=np.asarray(0.5, "f"),
        training=np.asarray(True),
    )
    assert refusal(model).message == (
        "Cannot lower modnet.onnx (opset 17) to MIL: 1 of 2 operator types has no lowering"
        " and 1 node has no faithful MIL expression."
    )
    assert refusal(model).context == (
        "Det        1 node, first /det: MIL has no determinant",
        "Dropout    1 node, first /drop: training_mode, which drops at random; export the network after model.eval()",
    )


CROP = {"r": np.asarray([0, 0, 0.1, 0.2, 1, 1, 1, 0.9], "f"), "s": ints(1, 4, 6, 6)}
CROPPED = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
SEVEN = {"x": values(1, 1, 7)}
SYMMETRIC = {"coordinate_transformation_mode": "half_pixel_symmetric"}
RANGE = {name: np.asarray(value, "f") for name, value in (("start", 0), ("limit", 4), ("delta", 1))}

REFUSED = [
    (
        Case("nms_has_no_lowering", "NonMaxSuppression", {"b": values(1, 3, 4), "s": values(1, 1, 3)}),
        "NonMaxSuppression",
    ),
    (Case("reshape_computed", "Reshape", {**X, "s": ints(2, -1)}), "its shape is computed by the model"),
    (Case("dropout_training", "Dropout", X, {"r": np.asarray(0.5, "f"), "t": np.asarray(True)}), "drops at random"),
    (Case("slice_empty", "Slice", X, {"s": ints(2), "e": ints(2)}), "is an empty tensor (0, 4, 6, 6)"),
    (Case("rank_6_output", "Unsqueeze", X, {"a": ints(0, 1)}), "has rank 6; Core ML supports at most 5"),
    (Case("resize_to_nothing", "Resize", X, {"s": np.asarray([1, 1, 0.1, 1], "f")}, ("x", "", "s")), "an empty result"),
    (
        Case("crop_to_the_same_size", "Resize", X, CROP, ("x", "r", "", "s"), attrs=CROPPED),
        "to the same size; ONNX's implementations disagree",
    ),
    (
        Case(
            "crop_that_ends_at_the_border",
            "Resize",
            X,
            {**CROP, "s": ints(1, 4, 10, 7)},
            ("x", "r", "", "s"),
            attrs=CROPPED,
        ),
        "whose border depends on rounding errors",
    ),
    (
        Case(
            "symmetric_ties",
            "Resize",
            SEVEN,
            {"s": np.asarray([1, 1, 0.6], "f")},
            ("x", "", "s"),
            opset=19,
            attrs=SYMMETRIC,
        ),
        "nearest elements of 7 → 4 that depend on rounding errors",
    ),
    (Case("cast_to_double", "Cast", X, attrs={"to": 11}), "a cast to float64"),
    (Case("range_computed", "Range", RANGE), "its length depends"),
    (Case("constant_of_computed_shape", "ConstantOfShape", {"s": ints(2, 3)}), "its shape depends on values"),
]


@pytest.mark.parametrize(("case", "words"), REFUSED, ids=[case.name for case, _ in REFUSED])
def test_refused_with_its_reason(case: Case, words: str) -> None:
    model = case.model()
    assert words in str(refusal(model))


def test_loop_is_refused_even_where_its_length_is_known() -> None:
    make, info = helper.make_node, helper.make_tensor_value_info
    body = helper.make_graph(
        [make("Identity", ["going"], ["goes"]), make("Relu", ["carried"], ["total"])],
        "body",
        [info("step", 7, []), info("going", 9, []), info("carried", 1, None)],
        [info("goes", 9, []), info("total", 1, None)],
    )
    loop = make("Loop", ["n", "go", "x"], ["y"], name="l", body=body)
    text = str(refusal(graph(loop, n=np.asarray(2, np.int64), go=np.asarray(True))))
    assert "1 node, first l: loops are not supported; unroll it before exporting the network" in text


def test_unknown_attribute_is_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="r")
    node.attribute.append(helper.make_attribute("slope", 0.5))
    model = graph(helper.make_node("Relu", ["x"], ["y"], name="r"))
    model.graph.node[0].CopyFrom(node)
    assert "unknown attribute slope" in str(refusal(model))


def test_other_domains_are_refused_by_their_full_name() -> None:
    model = graph(helper.make_node("Relu", ["x"], ["y"], name="r"))
    model.graph.node[0].domain = "com.example"
    assert "com.example.Relu  1 node, first r: a custom operator; add its body" in str(refusal(model))


def test_computed_condition_is_refused() -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)]
    )
    node = helper.make_node("If", ["c"], ["y"], name="/if", then_branch=branch, else_branch=branch)
    model = graph(node, feeds={**X, "c": np.asarray(True)})
    assert "its condition is computed by the model" in str(refusal(model))


def test_dynamic_inputs_name_the_option() -> None:
    model = graph(helper.make_node("Relu", ["x"], ["y"]))
    for axis, name in ((0, "batch"), (2, "height")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    error = refusal(model)
    assert error.code == "unsupported-onnx-input"
    assert error.context == ("x: its shape (batch, 4, height, 6) is not fixed",)
    assert "`size=HxW`" in error.hint


@pytest.mark.parametrize(("dtype", "name"), [(np.float64, "double"), (np.uint8, "uint8"), (np.int16, "int16")])
def test_inputs_of_other_types(dtype: type, name: str) -> None:
    model = graph(helper.make_node("Identity", ["x"], ["y"]), feeds={"x": np.zeros(3, dtype)})
    assert refusal(model).context == (f"x: its type is {name}",)


def test_newer_opset_than_known() -> None:
    model = graph(helper.make_node("Relu", ["x"], ["y"]))
    model.opset_import[0].version = 99
    error = refusal(model)
    assert error.code == "unsupported-opset"
    assert error.message == "modnet.onnx uses opset 99; opsets 1 to 28 are supported."


def test_unknown_target_and_output() -> None:
    model = graph(helper.make_node("Relu", ["x"], ["y"]))
    with pytest.raises(UsageError, match="iOS15"):
        lower(model, target="iOS15")
    assert "has no output 'z'" in refusal(model, outputs=["z"]).message


def test_nodes_after_a_refused_one_are_checked() -> None:
    make = helper.make_node
    model = graph(make("Det", ["x"], ["d"], name="/det"), make("NonZero", ["d"], ["y"], name="/zero"))
    assert [line.split()[0] for line in refusal(model).context] == ["Det", "NonZero"]


def test_a_refused_attribute_after_an_operator_without_lowering_is_found() -> None:
    make = helper.make_node
    model = graph(
        make("NonMaxSuppression", ["b", "s"], ["i"], name="/nms"),
        make("Det", ["x"], ["d"], name="/det"),
        make("Cast", ["d"], ["y"], name="/cast", to=11),
        feeds={**X, "b": values(1, 3, 4), "s": values(1, 1, 3)},
    )
    model.graph.output.append(helper.make_tensor_value_info("i", 7, None))
    assert [line.split()[0] for line in refusal(model).context] == ["Cast", "Det", "NonMaxSuppression"]


def test_unselected_outputs_need_no_lowering() -> None:
    make = helper.make_node
    model = graph(make("Det", ["x"], ["d"], name="/det"), make("Relu", ["x"], ["y"]))
    model.graph.output.append(helper.make_tensor_value_info("d", 1, None))
    lowered = lower(model, outputs=["y"])
    assert [feature.name for feature in lowered.outputs] == ["y"]


def test_an_input_that_no_node_computes() -> None:
    model = graph(helper.make_node("Relu", ["x"], ["y"], name="/relu"))
    model.graph.node[0].input[0] = "ghost"
    assert "Relu       1 node, first /relu: no earlier node computes its input 'ghost'" in str(refusal(model))


def test_attributes_that_do_not_fit_are_refused() -> None:
    model = graph(helper.make_node("Transpose", ["x"], ["y"], name="/t", perm=[0, 2, 3, 1]))
    model.graph.node[0].attribute[0].ints[:] = [0, 9, 1, 2]
    assert "Transpose" in str(refusal(model))


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("a.b", "a_b", "input 'a.b' and output 'a_b' are both 'a_b'"),
        ("x", "x", "input 'x' and output 'x' are both 'x'"),
    ],
)
def test_names_that_are_the_same_in_core_ml(source: str, target: str, words: str) -> None:
    model = model_of([helper.make_node("Relu", [source], ["y"])], {source: values(2)}, {}, ["y"])
    model.graph.output[0].name = target
    if source != target:
        model.graph.node[0].output[0] = target
    error = refusal(model)
    assert error.code == "clashing-names"
    assert error.context == (words,)


def test_the_hint_names_no_file_where_there_is_none_to_inspect() -> None:
    model = graph(helper.make_node("Det", ["x"], ["y"], name="/det"))
    with pytest.raises(LoweringError) as caught:
        lower(model, source="net")
    assert "inspect net" not in str(caught.value)
    assert "`portrait-export onnx` and then `inspect` of its file list every operator" in str(caught.value)
