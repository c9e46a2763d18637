"""Lower an ONNX model to a MIL program: static shapes in, every refusal in one error."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifacts import ArrayFeature, Feature, ImageFeature, Lowered
from ..errors import LoweringError, UsageError, nearest
from ..mil import coreml
from . import registry
from .context import (
    MAX_RANK,
    MIL_TYPES,
    Emitter,
    MissingOperator,
    Node,
    TensorSequence,
    UnknownAttribute,
    Unsupported,
    View,
    check_shape,
    identifier,
    narrow,
    shape_of,
)
from .fold import can_fold, fold
from .functions import body_of, bound_nodes, has_body
from .graph import (
    DEFAULT_DOMAINS,
    Inferred,
    all_nodes,
    dense_initializers,
    folds_std,
    label_of,
    needed_nodes,
    opset_of,
    plain_attribute,
    qualified,
    tensor_type,
    with_std_in_weight,
)
from .refusals import CODE, Problem, refusal

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

    from ..preprocessing import PortraitSpec

MAX_OPSET = 28  # newest operator set whose changes the lowerings know
DEPTH_INPUT = (
    "A depth map of the photograph, relative inverse depth in 0..1, larger is nearer: as it was in training, for"
    " MiDaS v2.1 small its numbers divided by 1000."
)

_POISON = object()  # the value of a node that was refused, where not even its shape is known


def lower(
    model: ModelProto,
    *,
    spec: PortraitSpec | None = None,
    target: str = "iOS17",
    outputs: Sequence[str] | None = None,
    extra: Sequence[str] = (),
    source: str = "the model",
) -> Lowered:
    """Lower a model for a deployment target.

    Args:
        model: ONNX with static shapes, opset 28 or older.
        spec: how pixels become the input `image` and what becomes of the output `mask`. None keeps every input and
            output a plain tensor.
        target: iOS16, iOS17 or iOS18.
        outputs: the ONNX outputs to keep, as they are. None keeps what the spec asks for, or without a spec all.
        extra: further ONNX outputs to keep beside those, as they are.
        source: what to call the model in messages.
    Returns:
        The program. Each of its values has the name of the ONNX value that it is (as a MIL identifier).
    Raises:
        LoweringError: with every node, attribute and type that has no faithful MIL expression.
    """
    if target not in coreml.TARGETS:
        raise UsageError(f"There is no target {target!r}.", hint=nearest(target, coreml.TARGETS, what="target"))
    model = _inlined(model)
    wanted = _wanted_outputs(model.graph, spec, outputs, extra)
    return _Conversion(model, spec=spec, target=target, wanted=wanted, finish=outputs is None, source=source).run()


def _inlined(model: ModelProto) -> ModelProto:
    """The model without functions of its own."""
    if not model.functions:
        return model
    from onnx import inliner

    return inliner.inline_local_functions(model)


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


class _Conversion:
    """One run of `lower`."""

    def __init__(
        self,
        model: ModelProto,
        *,
        spec: PortraitSpec | None,
        target: str,
        wanted: list[str],
        finish: bool,
        source: str,
    ):
        self.model = model
        self.spec = spec
        self.target = target
        self.wanted = wanted
        self.finish = finish
        self.source = source
        self.opset = opset_of(model)
        self.emitter = Emitter(builder=coreml.builder(), types=coreml.types(), target=target)
        self.problems: list[Problem] = []
        self.named: set[int] = set()  # ids of the Vars that already carry an ONNX name
        self.nodes = needed_nodes(model.graph, wanted)
        self.inferred = Inferred(model)

    def run(self) -> Lowered:
        """Lower inputs, nodes and outputs, in this order."""
        if self.opset > MAX_OPSET:
            raise LoweringError(
                f"{self.source} uses opset {self.opset}; the newest that is understood is {MAX_OPSET}.",
                code="unsupported-opset",
                hint="convert it with onnx.version_converter, or export it with an older opset.",
            )
        mil = coreml.mil()
        inputs = self._input_features()
        self._check_names(inputs)
        program = mil.Program()
        placeholders = {feature.name: self._placeholder(feature) for feature in inputs}
        with mil.Function(placeholders, opset_version=coreml.target(self.target)) as function:
            for name in (*placeholders, *self.wanted):
                self.emitter.taken.add(identifier(name))
            scope: dict[str, Any] = self._initial_values(function.inputs)
            nodes = self._fold_std(self.nodes, scope)
            self.lower_nodes(nodes, scope, opset=self.opset, prefix="")
            self._raise_problems()
            finished = [self._finish_output(name, scope[name]) for name in self.wanted]
            if self.spec is not None and self.finish and self.spec.output == "multiarray":
                finished.append(self._class_map(finished[0][0], self.spec))
            function.set_outputs([var for var, _ in finished])
        program.add_function("main", function)
        return Lowered(
            program=program, inputs=inputs, outputs=tuple(feature for _, feature in finished), target=self.target
        )

    # inputs

    def _check_names(self, inputs: Sequence[Feature]) -> None:
        """Raise LoweringError if two inputs or outputs cannot be told apart in a package."""
        owners: dict[str, list[str]] = {}
        for value in self.model.graph.input:
            if identifier(value.name) in {feature.name for feature in inputs}:
                owners.setdefault(identifier(value.name), []).append(f"input {value.name!r}")
        for name in self.wanted:
            owners.setdefault(identifier(name), []).append(f"output {name!r}")
        clashes = [f"{' and '.join(group)} are both {name!r}" for name, group in owners.items() if len(group) > 1]
        if clashes:
            raise LoweringError(
                f"Inputs and outputs of {self.source} need names of their own in Core ML.",
                code="clashing-names",
                context=clashes,
                hint="rename them in the ONNX model; letters, digits and underscores are what Core ML tells apart.",
            )

    def _input_features(self) -> tuple[Feature, ...]:
        known = {tensor.name for tensor in self.model.graph.initializer}
        features, problems = [], []
        for value in self.model.graph.input:
            if value.name in known:
                continue
            try:
                features.append(self._input_feature(value))
            except Unsupported as error:
                problems.append(f"{value.name}: {error}")
        if problems:
            raise LoweringError(
                f"Core ML cannot take {len(problems)} of the inputs of {self.source}.",
                code="unsupported-onnx-input",
                context=problems,
                hint="give a fixed size with --size HxW; inputs are float32, float16, int32, int64 or bool tensors.",
            )
        return tuple(features)

    def _input_feature(self, value: Any) -> Feature:
        shape, dtype = tensor_type(value)
        if self.spec is not None and value.name == "image":
            if shape != (1, 3, self.spec.height, self.spec.width):
                raise Unsupported(f"shape {shape}; the spec says (1, 3, {self.spec.height}, {self.spec.width})")
            return ImageFeature(
                name="image",
                height=self.spec.height,
                width=self.spec.width,
                color=self.spec.color,
                scale=self.spec.scale,
                bias=(-self.spec.mean[0], -self.spec.mean[1], -self.spec.mean[2]),
                description=f"A photograph, {self.spec.width}×{self.spec.height} pixels.",
            )
        mil_type = MIL_TYPES[dtype]
        reads_depth = self.spec is not None and value.name == "depth" and "depth" in self.spec.inputs
        return ArrayFeature(
            name=identifier(value.name),
            shape=shape or (1,),
            dtype="int32" if mil_type == "bool" else mil_type,
            description=DEPTH_INPUT if reads_depth else "",
        )

    def _placeholder(self, feature: Feature) -> Any:
        shape = (1, 3, feature.height, feature.width) if isinstance(feature, ImageFeature) else feature.shape
        mil_type = "fp32" if isinstance(feature, ImageFeature) else feature.dtype
        return self.emitter.builder.placeholder(shape=shape, dtype=getattr(self.emitter.types, mil_type))

    def _initial_values(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Initializers as arrays, inputs as Vars of the shape and type that the graph means."""
        from onnx import numpy_helper

        used = {name for node in all_nodes(self.nodes) for name in node.input} | set(self.wanted)
        scope: dict[str, Any] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer if tensor.name in used
        }
        scope.update(dense_initializers(self.model.graph))
        for value in self.model.graph.input:
            if value.name in scope or identifier(value.name) not in variables:
                continue
            shape, dtype = tensor_type(value)
            var = variables[identifier(value.name)]
            self.named.add(id(var))
            if dtype == "bool":
                var = self.emitter.emit("cast", f"{identifier(value.name)}_bool", x=var, dtype="bool")
            if shape == () and value.name in used:
                var = self.emitter.emit("squeeze", f"{identifier(value.name)}_scalar", x=var, axes=[0])
            scope[value.name] = var
        return scope

    def _fold_std(self, nodes: list[Any], scope: MutableMapping[str, Any]) -> list[Any]:
        """Divide by the spec's std: in the first convolutions' weights, or as a multiplication of its own.

        conv(x / s, W) = conv(x, W / s) with s per input channel, borders included because a padded 0 is 0 / s.
        """
        if self.spec is None or "image" not in scope or self.spec.std == (1.0, 1.0, 1.0):
            return nodes
        std = np.asarray(self.spec.std, np.float64)
        users = [node for node in all_nodes(nodes) if "image" in node.input]
        if users and "image" not in self.wanted and all(folds_std(node, scope) for node in users):
            return [with_std_in_weight(node, scope, std) if node in users else node for node in nodes]
        inverse = (1.0 / std).astype(np.float32).reshape(1, 3, 1, 1)
        scope["image"] = self.emitter.emit("mul", "image_over_std", x=scope["image"], y=inverse)
        return nodes

    # nodes

    def lower_nodes(
        self, nodes: Iterable[NodeProto], scope: MutableMapping[str, Any], *, opset: int, prefix: str
    ) -> None:
        """Lower nodes in order, into and out of `scope` (name → value). Refusals are noted, not raised."""
        for node in nodes:
            try:
                values = self._lower_node(node, scope, opset=opset, prefix=prefix)
            except Unsupported as error:
                reason = "" if isinstance(error, MissingOperator) else str(error)
                self.problems.append(Problem(qualified(node), label_of(node, prefix), reason))
                values = [self._stand_in(name) for name in node.output]
            scope.update({name: value for name, value in zip(node.output, values, strict=False) if name})

    def _lower_node(
        self, node: NodeProto, scope: MutableMapping[str, Any], *, opset: int, prefix: str
    ) -> Sequence[Any]:
        unmade = [name for name in node.input if name and name not in scope]
        if unmade:
            raise Unsupported(f"its input {', '.join(map(repr, unmade))} comes from no node before it")
        inputs = [scope[name] if name else None for name in node.input]
        default = node.domain in DEFAULT_DOMAINS
        entry = registry.find(node.op_type, opset) if default else None
        if any(value is _POISON for value in inputs):
            if entry is None and not has_body(node, opset):
                raise MissingOperator
            return [_POISON] * len(node.output)
        if default and can_fold(node.op_type, inputs):
            return fold(node, inputs, opset)
        if entry is None:
            return self._expand(node, inputs, opset=opset, prefix=prefix)
        mark = len(self.problems)
        try:
            return self._apply(entry, node, inputs, scope, opset=opset, prefix=prefix)
        except Unsupported as refusal:
            final = isinstance(refusal, (MissingOperator, UnknownAttribute))
            if final or not has_body(node, opset):
                raise
            try:
                values = self._expand(node, inputs, opset=opset, prefix=prefix)
            except Unsupported:
                raise refusal from None
            if len(self.problems) > mark:
                del self.problems[mark:]
                raise
            return values

    def _apply(
        self,
        entry: registry.Entry,
        proto: NodeProto,
        inputs: list[Any],
        scope: MutableMapping[str, Any],
        *,
        opset: int,
        prefix: str,
    ) -> list[Any]:
        from onnx import helper

        node = Node(
            op_type=proto.op_type,
            name=label_of(proto, prefix),
            opset=opset,
            inputs=inputs,
            outputs=[f"{prefix}{name}" if name else "" for name in proto.output],
            attributes={a.name: plain_attribute(helper.get_attribute_value(a)) for a in proto.attribute},
            emitter=self.emitter,
            converter=_Inner(self, scope, opset, prefix),
            input_names=list(proto.input),
        )
        try:
            result = entry.lower(node)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # inputs and attributes that do not fit together; the ONNX checker does not look at values
            raise Unsupported(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}") from error
        if node.unread():
            raise UnknownAttribute(f"attribute {', '.join(node.unread())} is not understood")
        values = list(result) if isinstance(result, (tuple, list)) else [result]
        if len(values) < sum(1 for name in proto.output if name):
            raise Unsupported(f"only its first {len(values)} outputs can be computed; {len(proto.output)} are used")
        if any(value is _POISON for value in values):
            return values
        for name, value in zip(node.outputs, values, strict=False):
            self._name(value, name)
        return values

    def _name(self, value: Any, name: str) -> None:
        if (
            name
            and value is not None
            and not isinstance(value, np.ndarray | np.generic | View | TensorSequence)
            and id(value) not in self.named
        ):
            wanted = identifier(name)
            if name in self.wanted:  # reserved for this very value; a finished output takes it over again
                self.emitter.taken.discard(wanted)
            self.emitter.rename(value, wanted)
            self.named.add(id(value))

    def _expand(self, node: NodeProto, inputs: list[Any], *, opset: int, prefix: str) -> list[Any]:
        """Lower an operator through the function body that the ONNX standard gives it."""
        body = body_of(node, inputs, opset)
        if body is None:
            raise MissingOperator
        scope: dict[str, Any] = dict.fromkeys(body.input)
        scope.update(zip(body.input, inputs, strict=False))
        scope.update({"": None})
        inner = f"{label_of(node, prefix)}_"
        version = max((e.version for e in body.opset_import if e.domain in DEFAULT_DOMAINS), default=opset)
        mark = len(self.problems)
        self.lower_nodes(bound_nodes(body, node), scope, opset=version, prefix=inner)
        found = self.problems[mark:]
        if found:
            del self.problems[mark:]
            causes = sorted({f"{p.op_type}{f' ({p.reason})' if p.reason else ''}" for p in found})
            raise Unsupported(f"its function body needs {', '.join(causes)}")
        # an output that the caller leaves out may have no node in the body
        return [scope[name] if wanted else None for name, wanted in zip(body.output, node.output, strict=False)]

    def _stand_in(self, name: str) -> Any:
        """A value of the right shape for what could not be lowered, so that the nodes after it are looked at, too."""
        known = self.inferred.get(name)
        if known is None or 0 in known[0] or len(known[0]) > MAX_RANK or known[1] not in MIL_TYPES:
            return _POISON
        shape, dtype = known
        emit = self.emitter.emit
        try:
            var = emit("random_uniform", "stand_in", shape=np.asarray(shape or (1,), np.int32))
            if dtype != "float32":
                var = emit("cast", "stand_in_cast", x=var, dtype=MIL_TYPES[dtype])
            return var if shape else emit("squeeze", "stand_in_scalar", x=var, axes=[0])
        except Unsupported:
            return _POISON

    # outputs

    def _finish_output(self, name: str, value: Any) -> tuple[Any, Feature]:
        """An ONNX output as the app gets it."""
        if self.spec is not None and self.finish and name == "mask" and self.spec.output == "mask":
            return self._mask_image(value)
        var, emit, clean = value, self.emitter.emit, identifier(name)
        if isinstance(var, TensorSequence):
            raise LoweringError(f"The output {name!r} of {self.source} is a sequence.", code=CODE)
        if isinstance(var, View):
            raise LoweringError(
                f"The output {name!r} of {self.source} has rank {len(var.shape)}; Core ML stops at {MAX_RANK}.",
                code=CODE,
            )
        if isinstance(var, np.ndarray | np.generic):
            try:
                constant = narrow(np.asarray(var))
                check_shape(constant.shape)
            except Unsupported as error:
                raise LoweringError(f"The output {name!r} of {self.source} is {error}.", code=CODE) from error
            var = emit("const", f"{clean}_const", val=constant.astype(np.int32) if constant.dtype == bool else constant)
        if self.emitter.np_type(var) == np.bool_:
            var = emit("cast", f"{clean}_int32", x=var, dtype="int32")
        if len(var.shape) == 0:
            var = emit("expand_dims", f"{clean}_vector", x=var, axes=[0])
        if var.name != clean:
            if id(var) in self.named or var.op is None or var.op.op_type == "const":
                var = emit("identity", f"{clean}_identity", x=var)
            self._take_output_name(var, clean)
        dtype = MIL_TYPES.get(self.emitter.np_type(var).name)
        if dtype is None:
            raise LoweringError(f"The output {name!r} of {self.source} is {self.emitter.np_type(var).name}.", code=CODE)
        text = "P(person) of each pixel, 0..1." if self.spec is not None and name == "mask" else ""
        if self.spec is not None and name == "logits":
            text = "The person's logits at the network's own resolution."
        return var, ArrayFeature(name=clean, shape=shape_of(var), dtype=dtype, description=text)

    def _take_output_name(self, var: Any, clean: str) -> None:
        """Name an output as the app knows it, whoever carried that name before."""
        self.emitter.taken.discard(clean)
        self.emitter.rename(var, clean)

    def _mask_image(self, probability: Any) -> tuple[Any, Feature]:
        """P(person) as an 8-bit picture: round(255 · P)."""
        assert self.spec is not None
        shape = shape_of(probability)
        if shape != (1, 1, self.spec.height, self.spec.width):
            raise LoweringError(
                f"The output 'mask' is {shape}; an image output needs (1, 1, {self.spec.height}, {self.spec.width})."
            )
        self.emitter.rename(probability, "probability")
        scaled = self.emitter.emit("mul", "mask_scaled", x=probability, y=np.float32(255))
        var = self.emitter.emit("round", "mask_round", x=scaled)
        self._take_output_name(var, "mask")
        return var, ImageFeature(
            name="mask",
            height=self.spec.height,
            width=self.spec.width,
            color="grayscale",
            description="The person: 255 where certain, 0 where there is none.",
        )

    def _class_map(self, probability: Any, spec: PortraitSpec) -> tuple[Any, Feature]:
        """The class of each pixel, (H, W), as Apple's DeepLabV3 gives it: what Xcode's segmentation preview draws."""
        emit = self.emitter.emit
        person = emit("greater_equal", "classes_person", x=probability, y=np.float32(spec.threshold))
        numbers = emit("cast", "classes_int32", x=person, dtype="int32")
        var = emit("squeeze", "classes_map", x=numbers, axes=[0, 1])
        self._take_output_name(var, "classes")
        text = f"1 where P(person) is at least {spec.threshold:g}, else 0."
        return var, ArrayFeature(name="classes", shape=shape_of(var), dtype="int32", description=text)

    # refusals

    def _raise_problems(self) -> None:
        if self.problems:
            op_types = len({qualified(node) for node in self.nodes})
            raise refusal(self.problems, source=self.source, opset=self.opset, op_types=op_types)


class _Inner:
    """What the lowering of a control-flow node needs: to lower a graph of its own in the same program."""

    def __init__(self, conversion: _Conversion, scope: MutableMapping[str, Any], opset: int, prefix: str):
        self._conversion, self._scope, self._opset, self._prefix = conversion, scope, opset, prefix

    def lower_graph(self, graph: GraphProto, label: str) -> list[Any]:
        """The values of a subgraph's outputs. Raises Unsupported with the causes if something in it is refused."""
        from onnx import numpy_helper

        conversion = self._conversion
        inner: ChainMap[str, Any] = ChainMap({}, self._scope)
        for tensor in graph.initializer:
            inner[tensor.name] = numpy_helper.to_array(tensor)
        mark = len(conversion.problems)
        conversion.lower_nodes(graph.node, inner, opset=self._opset, prefix=f"{self._prefix}{label}_")
        found = conversion.problems[mark:]
        if found:
            del conversion.problems[mark:]
            raise Unsupported(f"its branch needs {', '.join(sorted({p.op_type for p in found}))}")
        return [inner[value.name] for value in graph.output]
