"""Run the onnx project's own tests, with a verdict for each: passed, wrong, refused or crashed.

`python -m tests.frontend.node_suite [FOLDER …]` prints the table per operator, for the node tests of the installed onnx
or for folders of tests: `node`, `simple`, `pytorch-operator`, `pytorch-converted` and `light` in the
`onnx/backend/test/data` of any onnx wheel (they are data: a wheel for another platform, unzipped, does as well).
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from portrait_export.errors import LoweringError, PortraitError
from portrait_export.frontend.convert import lower

from .harness import Trial, mismatch, run

TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
BATCH = 40  # models per package

# Inputs that are parameters in real models: shapes, axes, bounds, weights. They become initializers.
PARAMETERS: dict[str, set[int]] = {
    "AffineGrid": {1},
    "BatchNormalization": {1, 2, 3, 4},
    "BlackmanWindow": {0},
    "CenterCropPad": {1},
    "Col2Im": {1, 2},
    "Compress": {1},
    "ConstantOfShape": {0},
    "Conv": {1, 2},
    "ConvTranspose": {1, 2},
    "CumProd": {1},
    "CumSum": {1},
    "DFT": {1, 2},
    "DeformConv": {1, 3},
    "DequantizeLinear": {1, 2},
    "Dropout": {1, 2},
    "Expand": {1},
    "GRU": {1, 2, 3, 4},
    "GroupNormalization": {1, 2},
    "HammingWindow": {0},
    "HannWindow": {0},
    "If": {0},
    "InstanceNormalization": {1, 2},
    "LSTM": {1, 2, 3, 4, 7},
    "LayerNormalization": {1, 2},
    "Loop": {0, 1},
    "MaxUnpool": {2},
    "MelWeightMatrix": {0, 1, 2, 3, 4},
    "OneHot": {1, 2},
    "PRelu": {1},
    "Pad": {1, 2, 3},
    "QuantizeLinear": {1, 2},
    "RNN": {1, 2, 3, 4},
    "Range": {0, 1, 2},
    "Reshape": {1},
    "Resize": {1, 2, 3},
    "STFT": {1, 2, 3},
    "Slice": {1, 2, 3, 4},
    "Split": {1},
    "Squeeze": {1},
    "Tile": {1},
    "TopK": {1},
    "Trilu": {1},
    "Unsqueeze": {1},
    "Upsample": {1},
    **{f"Reduce{kind}": {1} for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod")},
    **{f"Reduce{kind}": {1} for kind in ("Sum", "SumSquare")},
}


@dataclass(frozen=True)
class NodeTest:
    """One of onnx's node tests.

    Attributes:
        name: such as `test_relu`.
        model: its graph, parameters already made constant.
        feeds: the other inputs.
        expected: the outputs.
    """

    name: str
    model: onnx.ModelProto
    feeds: dict[str, np.ndarray]
    expected: list[np.ndarray]


@dataclass(frozen=True)
class Verdict:
    """What came of a test: `passed`, `wrong`, `refused` or `crashed`, and why."""

    test: NodeTest
    kind: str
    reason: str = ""


def installed() -> Iterator[NodeTest]:
    """The tests that the installed onnx generates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    for case in cases:
        if case.data_sets and _is_static(case.model):
            inputs, outputs = case.data_sets[0]
            yield _prepared(case.name, case.model, inputs, outputs)


def in_folder(folder: Path) -> Iterator[NodeTest]:
    """The tests in a folder: of folders with model.onnx and test_data_set_0, or of light models with their output."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".onnx":
            yield _light(path)
        elif path.is_dir():
            model = onnx.load(path / "model.onnx")
            if _is_static(model):
                data = path / "test_data_set_0"
                inputs = [_tensor(data / f"input_{index}.pb") for index in range(len(_fed(model.graph)))]
                outputs = [_tensor(data / f"output_{index}.pb") for index in range(len(model.graph.output))]
                yield _prepared(path.name, model, inputs, outputs)


def _light(path: Path) -> NodeTest:
    """A network whose weights are constants of one value each; its inputs rise from 0 to 1, as in onnx's own runner."""
    model = onnx.load(path)
    inputs = []
    for value in _fed(model.graph):
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        count = int(np.prod(shape))
        inputs.append((np.arange(count).reshape(shape) / count).astype(np.float32))
    return _prepared(path.stem, model, inputs, [_tensor(path.with_name(f"{path.stem}_output_0.pb"))])


def _tensor(path: Path) -> np.ndarray:
    return numpy_helper.to_array(onnx.load_tensor(path))


def _fed(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs without an initializer; before IR version 4 every initializer is listed as an input, too."""
    constant = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constant]


def _is_static(model: onnx.ModelProto) -> bool:
    """Whether all inputs and outputs are tensors of known shape, in types that MIL has."""
    values = [*_fed(model.graph), *model.graph.output]
    return all(value.type.HasField("tensor_type") for value in values) and all(
        value.type.tensor_type.elem_type in TYPES
        and all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
        for value in values
    )


def _prepared(
    name: str, model: onnx.ModelProto, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> NodeTest:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    parameters, feeds, kept = _parameter_names(model.graph), {}, []
    for value, array in zip(_fed(model.graph), inputs, strict=True):
        if value.name in parameters:
            copy.graph.initializer.append(numpy_helper.from_array(_array(array), value.name))
        else:
            kept.append(value)
            feeds[value.name] = _array(array)
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return NodeTest(name, copy, feeds, [_array(output) for output in outputs])


def _array(value: object) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _parameter_names(graph: onnx.GraphProto) -> set[str]:
    """Values that a parameter is computed from; what only gives its shape to one is not."""
    nodes = list(_nodes(graph))
    makers = {name: node for node in nodes for name in node.output if name}
    todo = [
        node.input[index] for node in nodes for index in PARAMETERS.get(node.op_type, ()) if index < len(node.input)
    ]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        maker = makers.get(name)
        if maker is not None and maker.op_type not in ("Shape", "Size"):
            todo += list(maker.input)
            todo += [value.name for attribute in maker.attribute for value in attribute.g.output]
    return found


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def judge(tests: Iterable[NodeTest]) -> list[Verdict]:
    """Lower each test alone; run those that can be lowered, many to a package."""
    verdicts, groups = [], defaultdict(list)
    for test in tests:
        refusal = _refusal(test)
        if refusal is not None:
            verdicts.append(refusal)
        else:
            groups[_mergeable(test)].append(test)
    for group in groups.values():
        for start in range(0, len(group), BATCH):
            verdicts += _judge_batch(group[start : start + BATCH])
    return verdicts


def _mergeable(test: NodeTest) -> object:
    """Tests with the same key can share a package: the same opsets, and no subgraph that sees names around it."""
    if any(attribute.HasField("g") for node in test.model.graph.node for attribute in node.attribute):
        return test.name
    return tuple(sorted((entry.domain, entry.version) for entry in test.model.opset_import))


def _refusal(test: NodeTest) -> Verdict | None:
    try:
        lower(test.model)
    except LoweringError as error:
        return Verdict(test, "refused", str(error))
    except Exception as error:  # whatever it is, it is what this suite looks for
        return Verdict(test, "crashed", f"{type(error).__name__}: {error}")
    return None


def _judge_batch(tests: Sequence[NodeTest]) -> list[Verdict]:
    """Verdicts of tests in one package; if the package fails, halves of it, down to the test that is to blame."""
    try:
        results = run([Trial(test.name, test.model, test.feeds) for test in tests])
    except Exception as error:
        if len(tests) > 1:
            half = len(tests) // 2
            return _judge_batch(tests[:half]) + _judge_batch(tests[half:])
        text = str(error) if isinstance(error, PortraitError) else f"{type(error).__name__}: {error}"
        return [Verdict(tests[0], "crashed", text)]
    return [_compared(test, outputs) for test, outputs in zip(tests, results, strict=True)]


def _compared(test: NodeTest, outputs: Sequence[np.ndarray]) -> Verdict:
    for expected, actual in zip(test.expected, outputs, strict=True):
        difference = mismatch(expected, actual)
        if difference:
            return Verdict(test, "wrong", difference)
    return Verdict(test, "passed")


def table(verdicts: Sequence[Verdict]) -> str:
    """Counts per operator under test, totals last."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in verdicts:
        rows[verdict.test.model.graph.node[0].op_type if len(verdict.test.model.graph.node) == 1 else "(several)"][
            verdict.kind
        ] += 1
    kinds = ("passed", "refused", "wrong", "crashed")
    total = Counter(verdict.kind for verdict in verdicts)
    lines = [f"{'operator':<28}" + "".join(f"{kind:>9}" for kind in kinds)]
    for name, counts in [*sorted(rows.items()), ("all", total)]:
        lines.append(f"{name:<28}" + "".join(f"{counts[kind]:>9}" for kind in kinds))
    return "\n".join(lines)


def main() -> None:
    """Print the table, then every test that is not passed."""
    tests = [test for name in sys.argv[1:] for test in in_folder(Path(name))] if len(sys.argv) > 1 else installed()
    verdicts = judge(tests)
    for verdict in sorted(verdicts, key=lambda v: (v.kind, v.test.name)):
        if verdict.kind != "passed":
            print(f"{verdict.kind:8} {verdict.test.name}: {' | '.join(verdict.reason.splitlines()[-2:])}"[:300])
    print(table(verdicts))


if __name__ == "__main__":
    main()
