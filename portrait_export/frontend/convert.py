"""Lower an ONNX model with static shapes to a MIL program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..artifacts import READABLE_OPSETS, Feature, Lowered
from ..errors import LoweringError, UsageError, nearest
from ..mil import coreml
from . import states as stateful
from .emitter import Emitter
from .graph import Inferred, all_nodes, needed_nodes, opset_of, qualified
from .inputs import fold_std, initial_values, input_features, placeholder
from .names import identifier
from .nodes import NodeLowering, Scope
from .outputs import Outputs
from .refusals import refusal

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

    from ..preprocessing import PortraitSpec


def lower(
    model: ModelProto,
    *,
    spec: PortraitSpec | None = None,
    target: str = "iOS17",
    outputs: Sequence[str] | None = None,
    extra: Sequence[str] = (),
    states: Mapping[str, str] | None = None,
    source: str = "the model",
    file: str = "",
) -> Lowered:
    """Lower a model for a deployment target.

    Args:
        model: ONNX with static shapes, of an operator set in READABLE_OPSETS.
        spec: how pixels become the input `image`, and what the output `mask` becomes. None keeps every input and
            output a plain tensor.
        target: iOS16, iOS17, iOS18 or iOS26.
        outputs: the ONNX outputs to keep, unchanged. None keeps those that the spec asks for, or all without a spec.
        extra: further ONNX outputs to keep, unchanged.
        states: ONNX inputs that become states → the ONNX outputs that they take after each run. From iOS18 on.
        source: what to call the model in messages.
        file: the ONNX file that the model was read from, for hints; empty if there is none.
    Returns:
        The program. Each value that is an ONNX value has its name (as a MIL identifier).
    Raises:
        LoweringError: with every node, attribute and type that has no faithful MIL expression.
    """
    if target not in coreml.TARGETS:
        raise UsageError(f"There is no target {target!r}.", hint=nearest(target, coreml.TARGETS, what="target"))
    if states:
        stateful.require_target(target)
    states = states or {}
    model = _inlined(model)
    wanted = _wanted_outputs(model.graph, spec, outputs, extra)
    opset = _supported_opset(model, source=source)
    features = input_features(model.graph, spec, target=target, source=source)
    _require_own_names(model.graph, features, wanted, source=source)
    stored = stateful.state_features(features, [identifier(name) for name in states])
    features = tuple(feature for feature in features if feature.name not in {state.name for state in stored})
    needed = [*wanted, *states.values()]
    nodes = needed_nodes(model.graph, needed)
    used = {name for node in all_nodes(nodes) for name in node.input} | set(needed)
    emitter = Emitter(builder=coreml.builder(), types=coreml.types(), target=target)
    mil = coreml.mil()
    program = mil.Program()
    placeholders = {feature.name: placeholder(feature, emitter) for feature in features}
    placeholders |= {state.name: stateful.placeholder(state, emitter) for state in stored}
    with mil.Function(placeholders, opset_version=coreml.target(target)) as function:
        emitter.names.taken.update(identifier(name) for name in (*placeholders, *wanted))
        read = {state.name: stateful.read(state, function.inputs[state.name], emitter) for state in stored}
        variables = {**function.inputs, **read}
        initial = initial_values(model.graph, variables, emitter, used=used)
        if spec is not None:
            nodes = fold_std(nodes, initial, spec, emitter, wanted=needed)
        scope: Scope = {**initial}
        named = {id(var) for var in variables.values()}
        lowering = NodeLowering(emitter, Inferred(model), wanted=needed, named=named)
        lowering.lower_nodes(nodes, scope, opset=opset, prefix="")
        if lowering.problems:
            op_types = len({qualified(node) for node in nodes})
            raise refusal(lowering.problems, source=source, opset=opset, op_types=op_types, file=file)
        results = Outputs(emitter, spec, finish=outputs is None, named=named, source=source)
        after = {identifier(name): output for name, output in states.items()}
        stateful.update(stored, after, function.inputs, lambda name: results.tensor(name, scope[name]), emitter)
        finished = results.all(wanted, scope)
        function.set_outputs([var for var, _ in finished])
    program.add_function("main", function)
    return Lowered(
        program=program,
        inputs=features,
        outputs=tuple(feature for _, feature in finished),
        target=target,
        states=stored,
    )


def _inlined(model: ModelProto) -> ModelProto:
    """The model with its local functions inlined."""
    if not model.functions:
        return model
    from onnx import inliner

    return inliner.inline_local_functions(model)


def _supported_opset(model: ModelProto, *, source: str) -> int:
    """The version of the model's operator set. Raises LoweringError if it is not supported."""
    opset = opset_of(model)
    if opset not in READABLE_OPSETS:
        raise LoweringError(
            f"{source} uses opset {opset}; opsets {READABLE_OPSETS[0]} to {READABLE_OPSETS[-1]} are supported.",
            code="unsupported-opset",
            hint="convert it with onnx.version_converter, or export it with another opset.",
        )
    return opset


def _wanted_outputs(
    graph: GraphProto, spec: PortraitSpec | None, outputs: Sequence[str] | None, extra: Sequence[str]
) -> list[str]:
    available = [value.name for value in graph.output]
    if outputs is not None:
        wanted = list(outputs)
    elif spec is not None:
        wanted = ["logits" if spec.output == "logits" else "mask"]
    else:
        wanted = available
    wanted = list(dict.fromkeys([*wanted, *extra]))
    for name in wanted:
        if name not in available:
            raise LoweringError(f"The model has no output {name!r}.", hint=nearest(name, available, what="output"))
    return wanted


def _require_own_names(graph: GraphProto, inputs: Sequence[Feature], wanted: Sequence[str], *, source: str) -> None:
    """Raise LoweringError if two inputs or outputs would have the same name in a package."""
    owners: dict[str, list[str]] = {}
    for value in graph.input:
        if identifier(value.name) in {feature.name for feature in inputs}:
            owners.setdefault(identifier(value.name), []).append(f"input {value.name!r}")
    for name in wanted:
        owners.setdefault(identifier(name), []).append(f"output {name!r}")
    clashes = [f"{' and '.join(group)} are both {name!r}" for name, group in owners.items() if len(group) > 1]
    if clashes:
        raise LoweringError(
            f"Some inputs or outputs of {source} would have the same name in Core ML.",
            code="clashing-names",
            context=clashes,
            hint="rename them in the ONNX model; Core ML distinguishes only letters, digits and underscores.",
        )
