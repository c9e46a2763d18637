"""Build models from ONNX text and arrays, apply rules to them, and compare the results."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from portrait_export.capture.onnx.check import check_model, make_session, random_feeds, relative_error, run_session
from portrait_export.capture.onnx.cost import Cost, cost_of
from portrait_export.capture.simplify import RULES, apply_rules

# Largest relative error over these tests: 1.3e-6 (merged convolutions); a wrong identity is off by 1e-2 and more.
TOLERANCE = 1e-5


def model(text, *, opset=20, **weights):
    """A model from ONNX's text form, `(inputs) => (outputs) { nodes }`, with arrays as initializers."""
    graph = onnx.parser.parse_graph(f"g {text}")
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items())
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")  # "float y" is read as a scalar; the shape is inferred
    for index, node in enumerate(graph.node):
        node.name = node.name or f"/{node.op_type}_{index}"
    built = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    built = onnx.shape_inference.infer_shapes(built, data_prop=True)
    check_model(built)
    return built


def normal(*shape, seed=0):
    """Seeded float32 numbers of unit variance."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.asarray(values, np.int64)


@dataclass(frozen=True)
class Outcome:
    """What rules made of a model.

    Attributes:
        ops: operator types of the result, counted.
        fired: rule names, counted.
        refused: rule name → reasons.
        before, after: costs.
        model: the result.
    """

    ops: Counter
    fired: Counter
    refused: dict
    before: Cost
    after: Cost
    model: onnx.ModelProto


def outcome(source, *names):
    """Apply the named rules (all without names) and require the same numbers, interface and a valid model."""
    rules = tuple(rule for rule in RULES if not names or rule.name in names)
    assert not names or len(rules) == len(names)
    result, fired, refused = apply_rules(source, rules)
    check_model(result)
    for side in ("input", "output"):
        assert [v.name for v in getattr(result.graph, side)] == [v.name for v in getattr(source.graph, side)]
    feeds = random_feeds(source)
    expected = run_session(make_session(source, optimize=False), feeds)
    found = run_session(make_session(result, optimize=False), feeds)
    for name, array in expected.items():
        assert relative_error(array, found[name]) < TOLERANCE, name
        assert np.abs(array).max() > 1e-3, f"{name} is zero: the comparison would prove nothing"
    reasons: dict = {}
    for entry in refused:
        reasons.setdefault(entry.rule, []).append(entry.reason)
    return Outcome(
        Counter(node.op_type for node in result.graph.node),
        Counter(entry.rule for entry in fired),
        reasons,
        cost_of(source),
        cost_of(result),
        result,
    )
