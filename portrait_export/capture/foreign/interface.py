"""Find the image input of a foreign ONNX model (name, layout, type), and pin every shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...artifacts import Carried
from ...errors import CaptureError, UsageError, nearest

if TYPE_CHECKING:
    import numpy as np
    import onnx

DEFAULT_SIZE = (512, 512)  # height, width of networks that take any
FLOATS = ("FLOAT", "FLOAT16", "DOUBLE")
INTEGERS = ("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "INT64")


@dataclass(frozen=True)
class ImageInput:
    """An input that takes the photograph, or another picture.

    Attributes:
        name: in the user's graph.
        layout: `NCHW`, `NHWC`, `CHW` or `HWC`.
        dtype: ONNX element type such as `FLOAT` or `UINT8`.
        height, width: in pixels, pinned.
        dynamic: which of batch, height and width the file leaves open.
        channels: how many it has.
    """

    name: str
    layout: str
    dtype: str
    height: int
    width: int
    dynamic: tuple[str, ...] = ()
    channels: int = 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Pinned, in the graph's own layout."""
        sides = {"N": 1, "C": self.channels, "H": self.height, "W": self.width}
        return tuple(sides[letter] for letter in self.layout)

    @property
    def whole(self) -> bool:
        """Whether it takes whole numbers: pixels of 0..255, or of -128..127 in INT8."""
        return self.dtype in INTEGERS

    @property
    def permutation(self) -> list[int] | None:
        """From (C, H, W) to the layout without its batch; None where they are the same."""
        order = ["CHW".index(letter) for letter in self.layout if letter != "N"]
        return None if order == [0, 1, 2] else order

    def arrange(self, image: np.ndarray) -> np.ndarray:
        """(1, C, H, W) float32 as this input takes it. Pixels for an integer input are whole numbers already."""
        import numpy as np
        import onnx

        array = image[0] if self.permutation is None else image[0].transpose(self.permutation)
        array = array[None] if "N" in self.layout else array
        kind = onnx.helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, self.dtype))
        return np.ascontiguousarray(array).astype(kind)


def free_inputs(model: onnx.ModelProto) -> list[Any]:
    """The graph's inputs that are not stored weights."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def dims_of(value: Any) -> list[int]:
    """Dimensions of an input or output; 0 where the file leaves one open."""
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else 0 for dim in _shape(value)]


def _shape(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def dtype_of(value: Any) -> str:
    """ONNX element type, such as `FLOAT`."""
    import onnx

    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type))


def find_image_input(
    model: onnx.ModelProto,
    *,
    name: str | None,
    size: tuple[int, int] | None,
    fixed: Mapping[str, float],
    open_size: tuple[int, int] = DEFAULT_SIZE,
) -> ImageInput:
    """The input that takes the photograph, and what fills its open dimensions.

    Args:
        name: the user's choice; None takes the only input with three channels.
        size: (height, width) asked for; None keeps the file's.
        fixed: inputs that are filled with a number.
        open_size: (height, width) of dimensions that the file leaves open, where `size` is None.
    Raises:
        CaptureError: no input or several could be it, or it is not one photograph of three channels.
        UsageError: an unknown name, or a size that the file does not take.
    """
    values = {value.name: value for value in free_inputs(model)}
    require_inputs([*([name] if name else []), *fixed], values)
    candidates = {key: layouts for key, value in values.items() if (layouts := _layouts(value)) and key not in fixed}
    if name is None and len(candidates) > 1:  # one input of rank 4 is the photograph where others are open everywhere
        certain = {key: layouts for key, layouts in candidates.items() if 3 in dims_of(values[key])}
        candidates = certain or candidates
    chosen = name or (next(iter(candidates)) if len(candidates) == 1 else None)
    if chosen is None or chosen not in candidates:
        raise CaptureError(
            "The network has no input that is one photograph."
            if not candidates or chosen
            else f"{len(candidates)} of the network's inputs could be the photograph.",
            code="no-image-input",
            context=[described(value) for value in values.values()],
            hint="a photograph is (1, 3, H, W) or (1, H, W, 3); name it with `image_input=NAME`, and fill each other"
            " input with `fix_inputs=NAME=NUMBER`.",
        )
    refuse_unfilled(values, [chosen], fixed)
    return pinned_input(model, values[chosen], candidates[chosen], 3, size, open_size)


def require_inputs(names: Iterable[str], values: Mapping[str, Any]) -> None:
    """Raise UsageError for a name that is not one of the network's inputs."""
    for name in names:
        if name not in values:
            raise UsageError(f"The network has no input {name!r}.", hint=nearest(name, list(values), what="input"))


def refuse_unfilled(values: Mapping[str, Any], pictures: Sequence[str], fixed: Mapping[str, float]) -> None:
    """Raise CaptureError for inputs that are neither pictures nor filled with a number."""
    others = [key for key in values if key not in pictures and key not in fixed]
    if others:
        known = " and ".join(map(repr, pictures))
        raise CaptureError(
            f"Besides the photograph {known} the network takes {len(others)} inputs that nothing would fill."
            if len(pictures) == 1
            else f"Besides the pictures {known} the network takes {len(others)} inputs that nothing would fill.",
            code="more-inputs",
            context=[described(values[key]) + _why_no_picture(values[key]) for key in others],
            hint=f"fill each with `fix_inputs=NAME=NUMBER`, such as `fix_inputs={others[0]}=0`; one that takes a"
            " picture is named with `image_input=NAME`, and one that takes an output with the next frame with"
            f" `carry={others[0]}=OUTPUT`.",
        )


def _why_no_picture(value: Any) -> str:
    """Words on an input whose size is a picture's and whose number of channels is not; else empty."""
    dims = dims_of(value)
    if len(dims) != 4 or dims[0] > 1 or dims[1] in (0, 1, 3, 4) or 3 in dims or min(dims[2] or 16, dims[3] or 16) < 16:
        return ""
    return f": {dims[1]} channels are no picture, which has 1, 3 or 4"


def described(value: Any) -> str:
    """An input with its type and shape."""
    return f"{value.name}: {dtype_of(value).lower()} {_text(value)}"


def layouts_of(value: Any, channels: int) -> list[str]:
    """The layouts in which an input states so many channels: `NCHW`, `NHWC`, `CHW`, `HWC`."""
    dims = dims_of(value)
    if dtype_of(value) not in (*FLOATS, *INTEGERS):
        return []
    names = {4: ("NCHW", "NHWC"), 3: ("CHW", "HWC")}.get(len(dims), ())
    return [name for name in names if dims[name.index("C")] == channels and (len(dims) == 3 or dims[0] in (0, 1))]


def _layouts(value: Any) -> list[str]:
    """The layouts that an input of three channels can have, likelier ones first."""
    found = layouts_of(value, 0) if len(dims_of(value)) == 4 else []
    return layouts_of(value, 3) or found


def pinned_input(
    model: onnx.ModelProto,
    value: Any,
    layouts: Sequence[str],
    channels: int,
    size: tuple[int, int] | None,
    open_size: tuple[int, int],
) -> ImageInput:
    """A picture input in its likeliest layout, with open sides filled. Raises UsageError for a size it cannot take."""
    layout = layouts[0] if len(layouts) == 1 else _layout_by_use(model, value.name, layouts)
    return _pinned(value, layout, channels, size, open_size)


def _layout_by_use(model: onnx.ModelProto, name: str, layouts: Sequence[str]) -> str:
    """The layout of an input whose shape leaves it open: NHWC if the graph first transposes it by (0, 3, 1, 2)."""
    readers = [node for node in model.graph.node if name in node.input]
    for node in readers:
        for attribute in node.attribute:
            if node.op_type == "Transpose" and attribute.name == "perm" and list(attribute.ints) == [0, 3, 1, 2]:
                return "NHWC"
    return layouts[0]


def _pinned(
    value: Any, layout: str, channels: int, size: tuple[int, int] | None, open_size: tuple[int, int]
) -> ImageInput:
    dims = dict(zip(layout, dims_of(value), strict=True))
    asked = dict(zip("HW", size or open_size, strict=True))
    sides = {letter: dims[letter] or asked[letter] for letter in "HW"}
    if size is not None and (sides["H"], sides["W"]) != size:
        raise UsageError(
            f"The file's input {value.name!r} is fixed at {dims['H'] or 'any'}x{dims['W'] or 'any'} pixels;"
            f" `size=` asks for {size[0]}x{size[1]}.",
            hint="omit `size=`, or export the network again with open (dynamic) height and width.",
        )
    names = {"N": "batch", "H": "height", "W": "width"}
    dynamic = tuple(word for letter, word in names.items() if letter in dims and not dims[letter])
    return ImageInput(value.name, layout, dtype_of(value), sides["H"], sides["W"], dynamic, channels)


def resized(model: onnx.ModelProto, images: Sequence[ImageInput], size: tuple[int, int]) -> onnx.ModelProto:
    """A copy that declares its picture inputs at another size; what was inferred from the old size is forgotten.

    Whether the network runs at that size, or keeps numbers of the old one somewhere inside, is not known here.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    values = {value.name: value for value in free_inputs(copy)}
    for image in images:
        for letter, side in zip("HW", size, strict=True):
            _shape(values[image.name])[image.layout.index(letter)].dim_value = side
    _forget_shapes(copy.graph)
    return copy


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """Drop what was inferred of values inside, and of the outputs' shapes."""
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")


def _text(value: Any) -> str:
    return "(" + ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in _shape(value)) + ")"


def fixed_values(model: onnx.ModelProto, fixed: Mapping[str, float]) -> dict[str, np.ndarray]:
    """An array for each filled input, every open dimension 1."""
    import numpy as np
    import onnx

    arrays = {}
    for value in free_inputs(model):
        if value.name in fixed:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            arrays[value.name] = np.full([side or 1 for side in dims_of(value)], fixed[value.name], dtype)
    return arrays


def pin(
    model: onnx.ModelProto,
    images: Sequence[ImageInput],
    fixed: Mapping[str, np.ndarray],
    carried: Sequence[Carried] = (),
) -> onnx.ModelProto:
    """A copy with every input's shape known, and what was inferred from open shapes forgotten."""
    import onnx

    pinned = onnx.ModelProto()
    pinned.CopyFrom(model)
    graph = pinned.graph
    types = {value.name: value.type.tensor_type.elem_type for value in free_inputs(pinned)}
    shapes = {**{each.name: each.shape for each in images}, **{each.name: each.shape for each in carried}}
    del graph.input[:]
    graph.input.extend(onnx.helper.make_tensor_value_info(name, types[name], shape) for name, shape in shapes.items())
    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in fixed.items())
    _forget_shapes(graph)
    pinned.ir_version = max(pinned.ir_version, 4)
    return pinned
