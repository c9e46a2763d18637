"""simplify as a whole: every registered model keeps its numbers and gets cheaper; and its other promises hold."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch

from portrait_export.capture.export import example_inputs, export_onnx, spec_of
from portrait_export.capture.onnx.check import make_session, relative_error, run_session
from portrait_export.capture.onnx.cost import layout_cost
from portrait_export.capture.onnx.stored import StoredModel
from portrait_export.capture.simplify import RULES, Graph, Rule, apply_rules, simplify
from portrait_export.capture.simplify.folding import fold_constants
from portrait_export.capture.simplify.rule import at_each
from portrait_export.errors import CaptureError
from portrait_export.models.initialise import randomize_
from portrait_export.models.registry import create_model, list_models, model_spec

from .build import ints, model, normal

SIZE = 64
LOGITS_TOLERANCE = 1e-4  # relative; the largest of the registered models is 4e-6


@pytest.fixture(scope="module")
def captured():
    """Name → (network, spec, exported model, simplified model, report), each made once."""
    made = {}

    def get(name):
        if name not in made:
            spec = model_spec(name).portrait_spec().with_size(SIZE, SIZE)
            net = randomize_(create_model(name)).eval()
            exported = export_onnx(net, spec=spec, check=False)
            made[name] = (net, spec, exported, *simplify(exported))
        return made[name]

    return get


@pytest.mark.parametrize("name", list_models())
def test_registered_models_keep_their_numbers_and_interface(name, captured):
    net, spec, _, simplified, report = captured(name)
    inputs = example_inputs(spec)
    with torch.no_grad():
        logits = net(*inputs).numpy() * (1 if spec.positive == "person" else -1)
    found = run_session(make_session(simplified), dict(zip(spec.inputs, (x.numpy() for x in inputs), strict=True)))
    assert relative_error(logits, found["logits"]) < LOGITS_TOLERANCE
    assert [value.name for value in simplified.graph.output] == ["logits", "mask"]
    assert report.error < LOGITS_TOLERANCE
    assert report.notes == ()
    assert report.after.total_macs <= report.before.total_macs
    assert layout_cost(Graph(simplified)) <= 32  # query, key, value and output of eight attentions
    assert spec_of(simplified) == spec


def test_segformers_arithmetic_at_512_is_what_the_algebra_says(captured):
    net, spec, *_ = captured("segformer_b0")
    exported = export_onnx(net, spec=spec.with_size(512, 512), check=False)
    folded = Graph(exported)
    rewritten, _, _ = apply_rules(onnx_folded(exported))
    before, after = (cost(graph) for graph in (folded, Graph(rewritten)))
    assert before.weight_macs / 1e9 == pytest.approx(6.73, abs=0.01)
    assert after.weight_macs / 1e9 == pytest.approx(2.43, abs=0.01)
    assert after.macs["matmul"] == before.macs["matmul"]  # attention itself is untouched
    assert after.peak_activation_bytes < before.peak_activation_bytes


def onnx_folded(exported):
    folded, note = fold_constants(StoredModel(exported))
    assert not note
    return onnx.version_converter.convert_version(folded.whole(), 20)


def cost(graph):
    from portrait_export.capture.onnx.cost import cost_of_graph

    return cost_of_graph(graph)


def test_the_same_input_gives_the_same_bytes_and_stays_as_it_is(captured):
    _, _, exported, simplified, _ = captured("segformer_b0")
    before = exported.SerializeToString()
    assert simplify(exported)[0].SerializeToString() == simplified.SerializeToString()
    assert exported.SerializeToString() == before


def test_every_node_has_a_name_of_its_own(captured):
    names = [node.name for node in captured("segformer_b0")[3].graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_weights_are_named_after_the_modules_that_they_came_from(captured):
    net, _, _, simplified, _ = captured("segformer_b0")
    keys = set(net.state_dict())
    names = {tensor.name for tensor in simplified.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    assert {name for name in names - keys if ".linear_fuse." not in name} == set()


def test_the_report_is_plain_json(captured):
    report = captured("segformer_b0")[4]
    assert json.loads(json.dumps(report.to_dict()))["fired"]["channels-first"] == 1


GELU = "(float[2,8] x) => (float y) { d = Div(x, r) e = Erf(d) s = Add(e, o) m = Mul(x, s) y = Mul(m, h) }"
GELU_CONSTANTS = {"r": np.float32(2**0.5), "o": np.float32(1), "h": np.float32(0.5)}


def test_the_opset_is_raised_for_a_rule_that_needs_a_newer_one():
    result, report = simplify(model(GELU, opset=17, **GELU_CONSTANTS))
    assert [entry.version for entry in result.opset_import] == [20]
    assert report.counts() == {"gelu": 1}


def test_the_opset_stays_where_asked_and_says_what_that_costs():
    result, report = simplify(model(GELU, opset=17, **GELU_CONSTANTS), keep_opset=True)
    assert [entry.version for entry in result.opset_import] == [17]
    assert [(entry.rule, entry.reason) for entry in report.refused] == [("gelu", "needs opset 20, the model has 17")]


WRONG = Rule(
    name="wrong",
    pattern=at_each("Relu", lambda graph, node: True),
    check=lambda graph, match: "" if match.anchor.op == "Relu" else "done",
    rewrite=lambda graph, match: setattr(match.anchor, "op", "Neg"),
)
ENDLESS = dataclasses.replace(WRONG, name="endless", rewrite=lambda graph, match: None)
CONV_RELU_NEG = "(float[1,4,5,5] x) => (float y) { c = Conv(x, w) r = Relu(c) y = Neg(r) }"


def test_a_rule_that_changes_numbers_is_left_out_and_reported():
    source = model("(float[1,4,5,5] x) => (float y) { c = Conv(x, w) n = Neg(c) y = Relu(n) }", w=normal(4, 4, 1, 1))
    result, report = simplify(source, rules=(*RULES, WRONG))
    assert [node.op_type for node in result.graph.node] == ["Conv", "Relu"]
    assert [entry.rule for entry in report.refused] == ["wrong"]
    assert "the numbers would change by" in report.refused[0].reason
    assert report.error < LOGITS_TOLERANCE


def test_rules_that_never_end_are_an_error():
    source = model("(float[1,4,5,5] x) => (float y) { y = Relu(x) }")
    with pytest.raises(CaptureError, match="did not terminate within 50 rounds"):
        apply_rules(source, (ENDLESS,))


def test_a_dynamic_model_is_refused_by_name():
    source = model("(float[1,N,5,5] x) => (float y) { y = Relu(x) }")
    with pytest.raises(CaptureError, match="Input 'x' has no static shape"):
        simplify(source)


def test_dead_branches_and_unused_weights_are_dropped():
    source = model(
        "(float[1,4,5,5] x) => (float y) { a, b = Split<axis=1, num_outputs=2>(x) d = Conv(b, w) y = Relu(a) }",
        w=normal(4, 2, 1, 1), unused=normal(3),
    )  # fmt: skip
    result, _ = simplify(source)
    assert not result.graph.initializer or all("w" not in tensor.name for tensor in result.graph.initializer)
    assert "Conv" not in [node.op_type for node in result.graph.node]


def test_an_output_that_is_also_an_inner_value_keeps_its_name():
    source = model(
        "(float[1,4,5,5] x) => (float y, float c) { c = Conv(x, w) m = Mul(c, s) y = Neg(m) }",
        w=normal(4, 4, 1, 1), s=np.float32(2),
    )  # fmt: skip
    result, _ = simplify(source)
    feeds = {"x": normal(1, 4, 5, 5)}
    expected, found = (run_session(make_session(m), feeds) for m in (source, result))
    for name in ("y", "c"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_values_read_inside_control_flow_are_protected():
    then, other = (
        onnx.parser.parse_graph(f"{name} () => (float[1,4,5,5] {name}_y) {{ {name}_y = {op}(c) }}")
        for name, op in (("then", "Relu"), ("other", "Abs"))
    )
    source = model(
        "(float[1,4,5,5] x, bool flag) => (float z) { c = Conv(x, w) m = Mul(c, s) z = Neg(m) }",
        w=normal(4, 4, 1, 1), s=np.float32(2),
    )  # fmt: skip
    node = onnx.helper.make_node("If", ["flag"], ["y"], name="/If", then_branch=then, else_branch=other)
    source.graph.node.append(node)
    source.graph.output.append(onnx.helper.make_tensor_value_info("y", 1, [1, 4, 5, 5]))
    onnx.checker.check_model(source, full_check=True)
    result, _, refused = apply_rules(source)
    assert "the convolution's output is also read as it is" in [entry.reason for entry in refused]
    for flag in (True, False):
        feeds = {"x": normal(1, 4, 5, 5), "flag": np.asarray(flag)}
        expected, found = (run_session(make_session(m), feeds) for m in (source, result))
        np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-5)
        np.testing.assert_allclose(found["z"], expected["z"], rtol=1e-5)


def test_a_name_that_is_an_input_and_an_initializer_becomes_a_constant():
    source = model("(float[1,4,5,5] x) => (float y) { y = Conv(x, w) }", w=normal(4, 4, 1, 1))
    source.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [4, 4, 1, 1]))
    result, _, _ = apply_rules(source)
    assert [value.name for value in result.graph.input] == ["x"]


def test_everything_but_nodes_and_weights_is_kept():
    source = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 18, "mine" : 2], producer_name: "them", model_version: 3,
            doc_string: "why", metadata_props: ["a": "1", "b": "2"]>
        net (float[2] x) => (float[2] y) { y = mine.twice(x) }
        <domain: "mine", opset_import: ["" : 18]> twice (a) => (b) { b = Add(a, a) }"""
    )
    source.graph.doc_string = "a graph"
    source.graph.quantization_annotation.add(tensor_name="y").quant_parameter_tensor_names.add(key="SCALE", value="s")
    source.training_info.add().initialization.name = "start"
    before, after = onnx.ModelProto(), Graph(source).to_model()
    before.CopyFrom(source)
    for each in (before, after):
        del each.graph.node[:], each.graph.value_info[:]
    assert after == before


def test_shape_constants_are_stored_once():
    source = model(
        "(float[1,4,2,2] x) => (float y) { a = Reshape(x, s) b = Softmax(a) c = Add(a, b) y = Neg(c) }", s=ints(1, 4, 4)
    )
    result, _ = simplify(source)
    assert len(result.graph.initializer) == 1


def test_a_graph_that_crashes_onnxsim_is_left_unfolded_with_a_note():
    # onnxsim 0.7.3 dies of a segmentation fault on a product of two vectors.
    source = model("(float[3] a, float[3] b) => (float y) { r = Relu(a) y = MatMul(r, b) }")
    result, report = simplify(source)
    assert [node.op_type for node in result.graph.node] == ["Relu", "MatMul"]
    assert report.error == 0
    assert all(note.startswith("onnxsim left the model as it was: it crashed") for note in report.notes)


def test_a_failing_onnxsim_is_a_note(monkeypatch):
    def fail(model):
        raise RuntimeError("no such operator\nmore")

    monkeypatch.setattr("portrait_export.capture.simplify.folding._run_apart", fail)
    _, report = simplify(model("(float[1,4,5,5] x) => (float y) { y = Relu(x) }"))
    assert report.notes == ("onnxsim left the model as it was: no such operator",)


def test_nothing_is_printed(capfd):
    source = model("(float[2] x) => (bfloat16 y) { c = Cast<to=16>(k) z = Cast<to=16>(x) y = Add(z, c) }", k=normal(2))
    source.producer_name = "portrait-export"
    fold_constants(StoredModel(source))  # onnxsim cannot fold bfloat16, and says so past Python's streams
    assert "".join(capfd.readouterr()) == ""


def test_a_graph_whose_outputs_have_no_shapes_is_folded():
    """As one that was exported with open sizes and pinned to one: its reshapes compute their shapes."""
    nodes = [
        onnx.helper.make_node("Shape", ["x"], ["sizes"]),
        onnx.helper.make_node("Reshape", ["x", "list"], ["rows"]),
        onnx.helper.make_node("Reshape", ["rows", "sizes"], ["y"]),
    ]
    source = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            "open",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
            [onnx.ValueInfoProto(name="y", type=onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None))],
            [onnx.numpy_helper.from_array(np.array([1, -1]), "list")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    folded, note = fold_constants(StoredModel(source))
    assert note == ""
    assert "Shape" not in {node.op_type for node in folded.outline.graph.node}
    assert not source.graph.output[0].type.tensor_type.HasField("shape")
