"""A saved .mlpackage in; a neutral, read-only view of its ML Program out. Knows nothing of torch or of execution.

`read_program(path)` opens what is on disk: the manifest, the specification (its protobuf comes through the one door,
`mil/coreml.py`) and the weight file (through the bounds-checked reader, `mil/weights.py`). Inspection, audits, the text
dump and the runtime all stand on this view. Constants are decoded when they are asked for, and not before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from ..errors import PackageError
from .weights import BITS, NUMPY_DTYPES, Blob, WeightFile, decode, size_in_bytes

MAX_SPECIFICATION_BYTES = 2**31  # protobuf's own limit
MAX_MANIFEST_BYTES = 2**20
MAX_DIMENSION = 2**31 - 1
MODEL_PATH = "@model_path/"  # how a program writes "next to the specification file"

DTYPE_CODES = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    12: "fp64",
    13: "bf16",
    21: "int8",
    22: "int16",
    23: "int32",
    24: "int64",
    25: "int4",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
    40: "fp8e4m3fn",
    41: "fp8e5m2",
}

ARRAY_DTYPES = {65552: "fp16", 65568: "fp32", 65600: "fp64", 131080: "int8", 131104: "int32"}
COLOR_SPACES = {10: "grayscale", 20: "rgb", 30: "bgr", 40: "grayscale_fp16"}

# ---------------------------------------------------------------------------------------------------------------------
# Types


@dataclass(frozen=True)
class TensorType:
    """A tensor's element type and shape; None is a dimension known only when it runs. Rank 0 is a scalar.

    `ranked` is False where even the number of dimensions is unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] = ()
    ranked: bool = True

    @property
    def count(self) -> int | None:
        """Number of elements, or None if a dimension is unknown."""
        return math.prod(d for d in self.shape if d is not None) if self.static else None

    @property
    def static(self) -> bool:
        """Whether every dimension is known."""
        return self.ranked and None not in self.shape

    def __str__(self) -> str:
        sizes = ", ".join("?" if d is None else str(d) for d in self.shape) if self.ranked else "…"
        return f"tensor<{self.dtype}, [{sizes}]>" if self.shape or not self.ranked else self.dtype


@dataclass(frozen=True)
class ListType:
    """A list of values of one type; `length` is None where it is not fixed."""

    element: ValueType
    length: int | None = None

    def __str__(self) -> str:
        return f"list<{self.element}, {'?' if self.length is None else self.length}>"


@dataclass(frozen=True)
class StateType:
    """A value that lives between calls (iOS18)."""

    wrapped: ValueType

    def __str__(self) -> str:
        return f"state<{self.wrapped}>"


@dataclass(frozen=True)
class DictionaryType:
    """A dictionary, such as a classifier's probabilities by label."""

    key: ValueType
    value: ValueType

    def __str__(self) -> str:
        return f"dict<{self.key}, {self.value}>"


@dataclass(frozen=True)
class TupleType:
    """A fixed sequence of values of any types."""

    elements: tuple[ValueType, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.elements))}>"


ValueType: TypeAlias = TensorType | ListType | StateType | DictionaryType | TupleType

# ---------------------------------------------------------------------------------------------------------------------
# Values


@dataclass(frozen=True)
class Reference:
    """The use of a value by its name."""

    name: str


@dataclass(frozen=True, eq=False)
class Constant:
    """A literal value of the program: in the specification itself, or in the weight file.

    Attributes:
        type: what the program says it is.
        owner: where it stands, for errors: `weight_3 (val)`.
    """

    type: ValueType
    owner: str
    _message: Any = field(repr=False)
    _weights: WeightFiles = field(repr=False)

    @property
    def stored(self) -> Blob | None:
        """Where the weight file holds it, or None if it stands in the specification. Raises PackageError if damaged."""
        if self._message.WhichOneof("value") != "blobFileValue":
            return None
        blob = self._message.blobFileValue
        return self._weights.open(blob.fileName, self.owner).blob(blob.offset, self.owner)

    @property
    def offset(self) -> int | None:
        """Offset of its metadata in the weight file, unchecked; None if it stands in the specification."""
        in_file = self._message.WhichOneof("value") == "blobFileValue"
        return int(self._message.blobFileValue.offset) if in_file else None

    @property
    def size_bytes(self) -> int:
        """Bytes that its elements take as stored. Strings count 0."""
        if not isinstance(self.type, TensorType) or self.type.dtype not in BITS:
            return 0
        return size_in_bytes(self.type.dtype, self.type.count or 0)

    def numpy(self) -> np.ndarray:
        """The decoded value.

        Returns:
            An array of the declared shape (rank 0 for scalars): NUMPY_DTYPES of the declared type, or object for
            strings. A read-only view of the mapped file where no decoding is needed.
        Raises:
            PackageError: if it is damaged, or holds another number or type of elements than declared.
        """
        if not isinstance(self.type, TensorType) or not self.type.static:
            raise PackageError(f"{self.owner} is a {self.type}; it has no value as an array.")
        shape = tuple(d for d in self.type.shape if d is not None)
        count = math.prod(shape)
        if self._message.WhichOneof("value") == "blobFileValue":
            if self.type.dtype not in BITS:
                raise PackageError(f"{self.owner} is a {self.type}, which cannot be in a weight file.")
            blob = self._message.blobFileValue
            raw = self._weights.open(blob.fileName, self.owner).raw(blob.offset, self.type.dtype, count, self.owner)
            return decode(raw, self.type.dtype, count).reshape(shape)
        return _immediate(self._message.immediateValue, self.type.dtype, count, self.owner).reshape(shape)

    def python(self) -> Any:
        """The value as Python's own: int, float, bool, str, nested lists of them, or a dict."""
        if isinstance(self.type, (ListType, TupleType)):
            values = self._message.immediateValue
            items = values.list.values if isinstance(self.type, ListType) else values.tuple.values
            return [_constant(item, self.owner, self._weights).python() for item in items]
        if isinstance(self.type, DictionaryType):
            pairs = self._message.immediateValue.dictionary.values
            read = [(_constant(p.key, self.owner, self._weights), p.value) for p in pairs]
            return {key.python(): _constant(value, self.owner, self._weights).python() for key, value in read}
        return self.numpy().tolist()


Argument: TypeAlias = Reference | Constant

# ---------------------------------------------------------------------------------------------------------------------
# Program


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        type: the operator, such as `conv`.
        name: its name; the first output's name where it has none of its own.
        inputs: parameter → its values: one, or several for variadic parameters such as `values` of concat.
        attributes: further literals, such as `val` of a const.
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
        """Names of the values that it takes, not counting what its nested blocks take."""
        for values in self.inputs.values():
            for value in values:
                if isinstance(value, Reference):
                    yield value.name


@dataclass(frozen=True)
class Block:
    """Operations in order, the values they start from, and the names of those they end with."""

    inputs: tuple[tuple[str, ValueType], ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def walk(self) -> Iterator[Operation]:
        """All operations, those of nested blocks after the one that holds them."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.walk()


@dataclass(frozen=True)
class Feature:
    """An input or output as an app sees it.

    Attributes:
        kind: `image`, `array`, `state`, `dictionary`, `sequence`, `string`, `int64` or `double`.
        shape: of an array; (height, width) of an image. The default one if it is flexible.
        dtype: of an array or state: fp16, fp32, fp64, int8 or int32. Empty for other kinds.
        color: of an image: `rgb`, `bgr`, `grayscale` or `grayscale_fp16`. Empty for other kinds.
        enumerated: the shapes allowed, where they are listed.
        ranges: (smallest, largest or None) per dimension, where the shape may vary.
        optional: whether it may be left out.
        default: the value that every element takes if it is left out.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    color: str = ""
    enumerated: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    optional: bool = False
    default: float | int | None = None
    description: str = ""

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Whether a value of this shape may be given."""
        if self.enumerated:
            return shape in self.enumerated
        if self.ranges:
            return len(shape) == len(self.ranges) and all(
                lo <= size and (hi is None or size <= hi) for size, (lo, hi) in zip(shape, self.ranges, strict=True)
            )
        return shape == self.shape or not self.shape

    @property
    def allowed(self) -> str:
        """The shapes allowed, in words."""
        if self.enumerated:
            return " or ".join("×".join(map(str, shape)) for shape in self.enumerated)
        if self.ranges:
            return " × ".join(str(lo) if lo == hi else f"{lo}..{hi or ''}" for lo, hi in self.ranges)
        return "×".join(map(str, self.shape)) or "any shape"


@dataclass(frozen=True)
class Function:
    """One entry point of a program.

    Attributes:
        inputs: (name, type) of what the block takes, states included.
        opset: the operator set, such as `CoreML7` (iOS17).
        block: what it does.
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
    """What the exporter wrote about the model."""

    author: str = ""
    license: str = ""
    version: str = ""
    description: str = ""
    user_defined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A saved ML Program.

    Attributes:
        path: what was opened.
        specification: path of the specification file inside.
        spec_version: 6 is iOS15, 7 iOS16, 8 iOS17, 9 iOS18.
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
        """The oldest system that this specification version runs on."""
        return {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}.get(self.spec_version, "unknown")

    def constants(self) -> Iterator[tuple[Operation, str, Constant]]:
        """Every literal tensor: the operation it belongs to, the parameter, and the value. Names are left out."""
        for function in self.functions.values():
            for operation in function.block.walk():
                for name, value in operation.attributes.items():
                    if name != "name":
                        yield operation, name, value
                for name, values in operation.inputs.items():
                    for argument in values:
                        if isinstance(argument, Constant):
                            yield operation, name, argument


class WeightFiles:
    """The weight files of one package, each opened once, none outside the package."""

    def __init__(self, root: Path, model_folder: Path):
        self.root = root
        self.model_folder = model_folder
        self._opened: dict[str, WeightFile] = {}

    def open(self, name: str, owner: str) -> WeightFile:
        """The file that a program calls `@model_path/weights/weight.bin`."""
        if name not in self._opened:
            relative = name.removeprefix(MODEL_PATH)
            path = _inside(self.root, self.model_folder, relative, f"the weight file of {owner}")
            self._opened[name] = WeightFile(path)
        return self._opened[name]

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Every file in the package's weight folder."""
        folder = self.model_folder / "weights"
        return tuple(sorted(p for p in folder.iterdir() if p.is_file())) if folder.is_dir() else ()


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_program(path: Path | str) -> Program:
    """Open a saved ML Program.

    Args:
        path: a .mlpackage folder, or a bare .mlmodel file that holds an ML Program.
    Raises:
        PackageError: if it is missing, damaged, reaches outside itself, or holds no ML Program.
    """
    from .coreml import spec_message

    path = Path(path)
    specification = locate_specification(path)
    root = path if path.is_dir() else path.parent
    message = spec_message(_read_bytes(specification, MAX_SPECIFICATION_BYTES))
    kind = message.WhichOneof("Type")
    if kind != "mlProgram":
        raise PackageError(
            f"{path.name} holds a Core ML {kind or 'model of unknown kind'}, which is not an ML Program.",
            code="not-an-ml-program",
            hint="convert it for iOS15 or later (coremltools: `convert_to='mlprogram'`); this reads ML Programs only.",
        )
    weights = WeightFiles(root, specification.parent)
    try:
        return _program(path, specification, message, weights)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise PackageError(f"{path.name} is damaged: {error}.") from error


def locate_specification(path: Path) -> Path:
    """Find the specification file of a package, following its manifest. Raises PackageError."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise PackageError(f"There is no package at {path}.")
    if path.suffix == ".mlmodelc" or (path / "coremldata.bin").exists():
        raise PackageError(
            f"{path.name} is a compiled model.", code="not-an-ml-program", hint="open the .mlpackage it was made from."
        )
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise PackageError(f"{path.name} has no Manifest.json, so it is not a .mlpackage (or only part of one).")
    try:
        data = json.loads(_read_bytes(manifest, MAX_MANIFEST_BYTES))
        item = data["itemInfoEntries"][data["rootModelIdentifier"]]["path"]
        if not isinstance(item, str):
            raise TypeError("the model's path is not a text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackageError(
            f"Manifest.json of {path.name} does not say where the model is ({type(error).__name__}: {error})."
        ) from error
    return _inside(path, path / "Data", item, "the model that Manifest.json names")


def _inside(root: Path, folder: Path, relative: str, what: str) -> Path:
    """A path below `folder`, refused unless it is a file inside `root` even after following links."""
    parts = PurePosixPath(relative)
    if not relative or "\x00" in relative or parts.is_absolute() or ".." in parts.parts:
        raise PackageError(f"The path of {what}, {relative!r}, is not inside the package.", code="unsafe-path")
    path = folder.joinpath(*parts.parts)
    try:
        inside = path.resolve().is_relative_to(root.resolve())
        exists = path.is_file()
    except OSError as error:
        raise PackageError(f"The path of {what}, {relative!r}, cannot be read: {error.strerror or error}.") from error
    if not inside:
        raise PackageError(f"The path of {what}, {relative!r}, leaves the package.", code="unsafe-path")
    if not exists:
        raise PackageError(f"{root.name} lacks {what}: {relative}.")
    return path


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise PackageError(f"{path.name} has {size:,} bytes; at most {limit:,} are read.")
        return path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _program(path: Path, specification: Path, message: Any, weights: WeightFiles) -> Program:
    description, program = message.description, message.mlProgram
    described = {function.name: function for function in description.functions}
    default = description.defaultFunctionName or "main"
    functions = {}
    for name in sorted(program.functions):
        source = described.get(name, description)
        functions[name] = _function(name, program.functions[name], source, weights)
    if not functions:
        raise PackageError(f"{path.name} holds a program without functions.")
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
        raise PackageError(f"Function {name!r} asks for opset {message.opset!r}; the program holds blocks for {found}.")
    return Function(
        name=name,
        inputs=tuple((value.name, value_type(value.type)) for value in message.inputs),
        opset=message.opset,
        block=_block(message.block_specializations[message.opset], weights),
        features_in=tuple(_feature(feature) for feature in description.input),
        features_out=tuple(_feature(feature) for feature in description.output),
        states=tuple(_feature(feature) for feature in description.state),
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
    attributes = {key: _constant(value, f"{name} ({key})", weights) for key, value in message.attributes.items()}
    own = attributes.get("name")
    inputs = {
        key: tuple(
            Reference(binding.name)
            if binding.WhichOneof("binding") == "name"
            else _constant(binding.value, f"{name} ({key})", weights)
            for binding in argument.arguments
        )
        for key, argument in sorted(message.inputs.items())
    }
    if own is not None and isinstance(own.type, TensorType) and own.type.dtype == "string":
        name = str(own.python())
    blocks = tuple(_block(block, weights) for block in message.blocks)
    return Operation(message.type, name, inputs, dict(sorted(attributes.items())), outputs, blocks)


def _constant(message: Any, owner: str, weights: WeightFiles) -> Constant:
    return Constant(value_type(message.type), owner, message, weights)


def value_type(message: Any) -> ValueType:
    """A type message as a type of ours. Raises ValueError for one that names no known type."""
    kind = message.WhichOneof("type")
    if kind == "tensorType":
        return _tensor_type(message.tensorType)
    if kind == "listType":
        return ListType(value_type(message.listType.type), _dimension(message.listType.length))
    if kind == "stateType":
        return StateType(value_type(message.stateType.wrappedType))
    if kind == "dictionaryType":
        return DictionaryType(value_type(message.dictionaryType.keyType), value_type(message.dictionaryType.valueType))
    if kind == "tupleType":
        return TupleType(tuple(value_type(element) for element in message.tupleType.types))
    raise ValueError("a value has no type")


def _tensor_type(message: Any) -> TensorType:
    if message.dataType not in DTYPE_CODES:
        raise ValueError(f"data type {message.dataType} is unknown")
    dtype = DTYPE_CODES[message.dataType]
    if message.rank < 0 or any(d.unknown.variadic for d in message.dimensions):
        return TensorType(dtype, (), ranked=False)
    if message.rank != len(message.dimensions):
        raise ValueError(f"a tensor of rank {message.rank} has {len(message.dimensions)} dimensions")
    return TensorType(dtype, tuple(_dimension(d) for d in message.dimensions))


def _dimension(message: Any) -> int | None:
    if message.WhichOneof("dimension") != "constant":
        return None
    size = message.constant.size
    if size > MAX_DIMENSION:
        raise ValueError(f"a dimension of {size} is beyond {MAX_DIMENSION}")
    return int(size)


# Field of a literal tensor → numpy type of its elements; `bytes` hold the stored form.
_LITERALS = {
    "floats": np.float32,
    "ints": np.int32,
    "bools": np.bool_,
    "strings": object,
    "longInts": np.int64,
    "doubles": np.float64,
}


def _immediate(message: Any, dtype: str, count: int, owner: str) -> np.ndarray:
    """A literal tensor of the specification as a flat array."""
    if message.WhichOneof("value") != "tensor":
        raise PackageError(f"{owner} has no literal tensor where a {dtype} is declared.")
    form = message.tensor.WhichOneof("value")
    if form is None:
        raise PackageError(f"{owner} has no value; {count} × {dtype} are declared.")
    values = getattr(message.tensor, form).values
    if form == "bytes":
        if dtype not in BITS:
            raise PackageError(f"{owner} is declared as {dtype} but stored as bytes.")
        if len(values) != size_in_bytes(dtype, count):
            raise PackageError(
                f"{owner} is declared as {count} × {dtype} = {size_in_bytes(dtype, count)} bytes,"
                f" but holds {len(values)}."
            )
        return decode(np.frombuffer(values, np.uint8), dtype, count)
    if (form == "strings") != (dtype == "string"):
        raise PackageError(f"{owner} is declared as {dtype} but holds {form}.")
    if len(values) != count:
        raise PackageError(f"{owner} is declared as {count} × {dtype}, but holds {len(values)} values.")
    array: np.ndarray = np.array(values, dtype=_LITERALS[form])
    return array if dtype == "string" else array.astype(NUMPY_DTYPES[dtype])


# ---------------------------------------------------------------------------------------------------------------------
# Features


def _feature(message: Any) -> Feature:
    kind = message.type.WhichOneof("Type")
    reader = {"imageType": _image, "multiArrayType": _array, "stateType": _state}.get(kind)
    values = reader(getattr(message.type, kind)) if reader else {"kind": (kind or "unknown").removesuffix("Type")}
    optional = message.type.isOptional
    return Feature(name=message.name, description=message.shortDescription, optional=optional, **values)


def _image(message: Any) -> dict[str, Any]:
    if message.colorSpace not in COLOR_SPACES:
        raise ValueError(f"an image has the unknown colour space {message.colorSpace}")
    flexible: dict[str, Any] = {}
    if message.WhichOneof("SizeFlexibility") == "enumeratedSizes":
        flexible["enumerated"] = tuple((int(s.height), int(s.width)) for s in message.enumeratedSizes.sizes)
    elif message.WhichOneof("SizeFlexibility") == "imageSizeRange":
        sides = message.imageSizeRange
        flexible["ranges"] = (_range(sides.heightRange), _range(sides.widthRange))
    shape = (int(message.height), int(message.width))
    return {"kind": "image", "shape": shape, "color": COLOR_SPACES[message.colorSpace], **flexible}


def _array(message: Any) -> dict[str, Any]:
    if message.dataType not in ARRAY_DTYPES:
        raise ValueError(f"an array has the unknown data type {message.dataType}")
    values: dict[str, Any] = {"kind": "array", "shape": tuple(message.shape), "dtype": ARRAY_DTYPES[message.dataType]}
    if message.WhichOneof("ShapeFlexibility") == "enumeratedShapes":
        values["enumerated"] = tuple(tuple(shape.shape) for shape in message.enumeratedShapes.shapes)
    elif message.WhichOneof("ShapeFlexibility") == "shapeRange":
        values["ranges"] = tuple(_range(side) for side in message.shapeRange.sizeRanges)
    default = message.WhichOneof("defaultOptionalValue")
    if default:
        values["default"] = getattr(message, default)
    return values


def _state(message: Any) -> dict[str, Any]:
    return {**_array(message.arrayType), "kind": "state"}


def _range(message: Any) -> tuple[int, int | None]:
    return int(message.lowerBound), None if message.upperBound < 0 else int(message.upperBound)
