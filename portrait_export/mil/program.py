"""Read a saved .mlpackage into a neutral, read-only view of its ML Program.

`read_program(path)` reads the manifest and the weight file (`mil/folder.py`) and the specification (with the protobuf
classes of `mil/coreml.py`). Inspection, audits and the runtime use this view, which depends neither on torch nor on
execution. Constants are decoded on demand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import PackageError
from .constants import Constant, read_constant
from .features import Feature, read_feature
from .folder import WeightFiles, locate_specification, specification_bytes
from .types import TensorType, ValueType, value_type

SPECIFICATIONS = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}  # version → the oldest system


@dataclass(frozen=True)
class Reference:
    """A value used by its name."""

    name: str


Argument: TypeAlias = Reference | Constant


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        type: the operator, such as `conv`.
        name: its name, or the first output's name if it has none.
        inputs: values by parameter: one, or several for variadic parameters such as `values` of concat.
        attributes: other literals, such as `val` of a const.
        outputs: (name, type) of each result.
        blocks: nested blocks of control flow.
    """

    type: str
    name: str
    inputs: Mapping[str, tuple[Argument, ...]]
    attributes: Mapping[str, Constant]
    outputs: tuple[tuple[str, ValueType], ...]
    blocks: tuple[Block, ...] = ()

    @property
    def references(self) -> Iterator[str]:
        """Names of the values that it reads, not counting those that its nested blocks read."""
        for values in self.inputs.values():
            for value in values:
                if isinstance(value, Reference):
                    yield value.name


@dataclass(frozen=True)
class Block:
    """Operations in order, with input values and the names of output values."""

    inputs: tuple[tuple[str, ValueType], ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def walk(self) -> Iterator[Operation]:
        """All operations, each followed by those of its nested blocks."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.walk()


@dataclass(frozen=True)
class Function:
    """One entry point of a program.

    Attributes:
        inputs: (name, type) of the block's inputs, states included.
        opset: the operator set, such as `CoreML7` (iOS17).
        block: its operations.
        features_in, features_out, states: the same values as an app sees them.
    """

    name: str
    inputs: tuple[tuple[str, ValueType], ...]
    opset: str
    block: Block
    features_in: tuple[Feature, ...] = ()
    features_out: tuple[Feature, ...] = ()
    states: tuple[Feature, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """The exporter's description of the model."""

    author: str = ""
    license: str = ""
    version: str = ""
    description: str = ""
    user_defined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A saved ML Program.

    Attributes:
        path: of the package.
        specification: path of the specification file in it.
        spec_version: one of SPECIFICATIONS.
        functions: by name.
        default_function: the one that runs if none is named.
        predicted_class, predicted_probabilities: a classifier's output names, else empty.
    """

    path: Path
    specification: Path
    spec_version: int
    functions: Mapping[str, Function]
    default_function: str
    metadata: Metadata
    weights: WeightFiles = field(repr=False)
    predicted_class: str = ""
    predicted_probabilities: str = ""

    @property
    def main(self) -> Function:
        """The function that runs if none is named."""
        return self.functions[self.default_function]

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """The default function's inputs."""
        return self.main.features_in

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """The default function's outputs."""
        return self.main.features_out

    @property
    def deployment_target(self) -> str:
        """The oldest iOS that runs this specification version."""
        return SPECIFICATIONS[self.spec_version]

    def constants(self) -> Iterator[tuple[Operation, str, Constant]]:
        """Every literal tensor: its operation, its parameter, and the value. Names are skipped."""
        for function in self.functions.values():
            for operation in function.block.walk():
                for name, value in operation.attributes.items():
                    if name != "name":
                        yield operation, name, value
                for name, values in operation.inputs.items():
                    for argument in values:
                        if isinstance(argument, Constant):
                            yield operation, name, argument


def read_program(path: Path | str) -> Program:
    """Open a saved ML Program.

    Args:
        path: a .mlpackage folder, or a bare .mlmodel file that holds an ML Program.
    Raises:
        PackageError: it is missing or damaged, refers to files outside itself, or contains no ML Program.
    """
    from .coreml import spec_message

    path = Path(path)
    specification = locate_specification(path)
    root = path if path.is_dir() else path.parent
    message = spec_message(specification_bytes(specification), specification)
    kind = message.WhichOneof("Type")
    if kind != "mlProgram":
        raise PackageError(
            f"{path.name} contains a Core ML {kind or 'model of unknown kind'}, which is not an ML Program.",
            code="not-an-ml-program",
            hint="convert it for iOS15 or later (coremltools: `convert_to='mlprogram'`); only ML Programs can be read.",
        )
    if message.specificationVersion not in SPECIFICATIONS:
        known = ", ".join(f"{version} ({target})" for version, target in SPECIFICATIONS.items())
        raise PackageError(
            f"{path.name} has specification version {message.specificationVersion}, whose operators are not known.",
            code="unknown-specification",
            hint=f"the versions of ML Programs are: {known}.",
        )
    weights = WeightFiles(root, specification.parent, name=path.name)
    try:
        return _program(path, specification, message, weights)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise PackageError(f"{path.name} is damaged: {error}.") from error


def _program(path: Path, specification: Path, message: Any, weights: WeightFiles) -> Program:
    description, program = message.description, message.mlProgram
    described = {function.name: function for function in description.functions}
    default = description.defaultFunctionName or "main"
    functions = {}
    for name in sorted(program.functions):
        source = described.get(name, description)
        functions[name] = _function(name, program.functions[name], source, weights)
    if not functions:
        raise PackageError(f"{path.name} contains a program without functions.")
    if default not in functions:
        if len(functions) > 1:
            raise PackageError(f"{path.name} has no function {default!r}; it has {', '.join(functions)}.")
        default = next(iter(functions))
    meta = description.metadata
    default_description = described.get(default, description)
    return Program(
        path=path,
        specification=specification,
        spec_version=message.specificationVersion,
        functions=functions,
        default_function=default,
        metadata=Metadata(
            meta.author, meta.license, meta.versionString, meta.shortDescription, dict(sorted(meta.userDefined.items()))
        ),
        weights=weights,
        predicted_class=default_description.predictedFeatureName,
        predicted_probabilities=default_description.predictedProbabilitiesName,
    )


def _function(name: str, message: Any, description: Any, weights: WeightFiles) -> Function:
    if message.opset not in message.block_specializations:
        found = ", ".join(sorted(message.block_specializations)) or "none"
        raise PackageError(f"Function {name!r} needs opset {message.opset!r}; the program has blocks for {found}.")
    return Function(
        name=name,
        inputs=tuple((value.name, value_type(value.type)) for value in message.inputs),
        opset=message.opset,
        block=_block(message.block_specializations[message.opset], weights),
        features_in=tuple(read_feature(feature) for feature in description.input),
        features_out=tuple(read_feature(feature) for feature in description.output),
        states=tuple(read_feature(feature) for feature in description.state),
    )


def _block(message: Any, weights: WeightFiles) -> Block:
    return Block(
        inputs=tuple((value.name, value_type(value.type)) for value in message.inputs),
        operations=tuple(_operation(operation, weights) for operation in message.operations),
        outputs=tuple(message.outputs),
    )


def _operation(message: Any, weights: WeightFiles) -> Operation:
    outputs = tuple((value.name, value_type(value.type)) for value in message.outputs)
    name = outputs[0][0] if outputs else message.type
    attributes = {key: read_constant(value, f"{name} ({key})", weights) for key, value in message.attributes.items()}
    own = attributes.get("name")
    inputs = {
        key: tuple(
            Reference(binding.name)
            if binding.WhichOneof("binding") == "name"
            else read_constant(binding.value, f"{name} ({key})", weights)
            for binding in argument.arguments
        )
        for key, argument in sorted(message.inputs.items())
    }
    if own is not None and isinstance(own.type, TensorType) and own.type.dtype == "string":
        name = str(own.python())
    blocks = tuple(_block(block, weights) for block in message.blocks)
    return Operation(message.type, name, inputs, dict(sorted(attributes.items())), outputs, blocks)
