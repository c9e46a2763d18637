"""Find the values that a recurrent network carries from one frame to the next."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from ...artifacts import Carried
from ...errors import CaptureError, UsageError, nearest
from ..onnx.check import make_session, relative_error, run_session
from ..onnx.light import infer_shapes
from ..onnx.stored import StoredModel
from .interface import FLOATS, ImageInput, dims_of, dtype_of, free_inputs, resized
from .options import ForeignOptions
from .pictures import picture_names

# What names say of direction: `r1i` and `r1o`, `h_in` and `h_out`, `prev_state` and `state`, `h` and `hn`.
INWARD = frozenset(("i", "in", "input", "prev", "previous", "past", "last", "old", "init", "initial"))
OUTWARD = frozenset(("o", "out", "output", "next", "new", "present", "cur", "current", "updated", "n"))
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NEXT = re.compile(r"(h|c|s|state|hidden|cell)n")  # `hn`, as PyTorch calls what `h0` becomes
RATIO = "downsample_ratio"  # RobustVideoMatting's input: by how much it shrinks the picture before its backbone
RATIO_SIDE = 512  # pixels of the longer side that are left, as its authors' `auto_downsample_ratio` has it
SAME_START = 1e-5  # relative difference of results from two starts that should be one; equal arithmetic gives 0
CARRY_HINT = (
    "name each pair with `carry=`, such as `carry={input}={output}`; `fix_inputs={input}=0` fills it with a number"
    " instead, and then it is not carried."
)


@dataclass(frozen=True)
class Recurrence:
    """Which inputs a network carries, before their shapes are known.

    Attributes:
        pairs: input → output.
        told: whether the user named them.
        ratio: the name of RobustVideoMatting's ratio, if the network has it.
    """

    pairs: Mapping[str, str]
    told: bool = False
    ratio: tuple[str, ...] = ()


def find_pairs(model: onnx.ModelProto, options: ForeignOptions) -> Recurrence:
    """The carried values: those that the user names, else inputs and outputs with one name but for its direction.

    Raises:
        UsageError: the user names an input or output that does not exist.
        CaptureError: names leave open which output an input becomes.
    """
    ratio = tuple(value.name for value in free_inputs(model) if value.name == RATIO)
    if options.carry:
        return Recurrence(_told(model, options), told=True, ratio=ratio)
    fixed = {name for name, _ in options.fix_inputs}
    values = [value for value in free_inputs(model) if value.name not in fixed]
    if len(values) < 2:
        return Recurrence({})
    only = _only_photograph(values)
    named = picture_names(options.image_input, {value.name for value in values}) or {only} - {None}
    inputs = [value.name for value in values if value.name not in named and dtype_of(value) in FLOATS]
    found = _by_name(inputs, [value.name for value in model.graph.output])
    pictures = [value.name for value in values if len(dims_of(value)) in (3, 4)]
    if not named and set(pictures) <= set(found):
        raise CaptureError(
            "Each input of the network that could be the photograph has an output of its name.",
            code="which-carry",
            context=[f"{name} → {output}" for name, output in found.items()],
            hint="name the photograph with `image_input=NAME`.",
        )
    return Recurrence(found, ratio=ratio if found else ())


def _told(model: onnx.ModelProto, options: ForeignOptions) -> dict[str, str]:
    inputs = [value.name for value in free_inputs(model)]
    outputs = [value.name for value in model.graph.output]
    for name, output in options.carry:
        if name not in inputs:
            raise UsageError(f"The network has no input {name!r}.", hint=nearest(name, inputs, what="input"))
        if output not in outputs:
            raise UsageError(f"The network has no output {output!r}.", hint=nearest(output, outputs, what="output"))
    pairs = dict(options.carry)
    if len(pairs) < len(options.carry):
        raise UsageError(f"`carry=` names an input twice: {', '.join(name for name, _ in options.carry)}.")
    both = sorted(set(pairs) & {name for name, _ in options.fix_inputs})
    if both:
        raise UsageError(f"{both[0]!r} cannot be both carried and filled with a number.")
    return pairs


def _only_photograph(values: Sequence[Any]) -> str | None:
    """The only input that declares three channels; None where none or several do."""
    three = [value.name for value in values if len(dims := dims_of(value)) in (3, 4) and 3 in (dims[-3], dims[-1])]
    return three[0] if len(three) == 1 else None


def _by_name(inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, str]:
    """Pairs whose names differ in direction alone. Raises CaptureError where a name has several counterparts."""
    found = {name: [output for output in outputs if are_counterparts(name, output)] for name in inputs}
    takers = {output: [name for name in inputs if output in found[name]] for output in outputs}
    unclear = [f"{name}: {' or '.join(several)}" for name, several in found.items() if len(several) > 1]
    unclear += [f"{' or '.join(several)}: {output}" for output, several in takers.items() if len(several) > 1]
    if unclear:
        raise CaptureError(
            "Names leave open which output of the network is the next value of which input.",
            code="which-carry",
            context=unclear,
            hint=CARRY_HINT.format(input=inputs[0], output=outputs[-1]),
        )
    return {name: several[0] for name, several in found.items() if several}


def are_counterparts(name: str, output: str) -> bool:
    """Whether an input and an output have one name but for words of direction."""
    inward, outward = _words(name), _words(output)
    stem_in = [word for word in inward if word not in INWARD]
    stem_out = [word for word in outward if word not in OUTWARD]
    marked = stem_in != inward or stem_out != outward
    if stem_in and stem_in == stem_out:
        return marked
    return bool(stem_in) and _NEXT.fullmatch(output) is not None and stem_in in ([output[:-1]], [output[:-1], "0"])


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]


def with_ratio(
    model: onnx.ModelProto, options: ForeignOptions, image: ImageInput
) -> tuple[ForeignOptions, tuple[str, ...]]:
    """Options that fill RobustVideoMatting's ratio where the user does not, and a note of it."""
    names = [value.name for value in free_inputs(model)]
    if RATIO not in names or RATIO in dict(options.fix_inputs):
        return options, ()
    ratio = min(1.0, RATIO_SIDE / max(image.height, image.width))
    note = (
        f"{RATIO} is {ratio:g}: {RATIO_SIDE} pixels of the longer side, at most 1 (`fix_inputs={RATIO}=NUMBER` sets it)"
    )
    return replace(options, fix_inputs=(*options.fix_inputs, (RATIO, ratio))), (note,)


# Shapes, by running the network


def settle(
    stored: StoredModel, images: Sequence[ImageInput], fillings: Mapping[str, np.ndarray], found: Recurrence
) -> tuple[Carried, ...]:
    """The carried values with their shapes, established by running the network on two frames.

    An open dimension has the size that the output has. The run from zeros of that shape must return the same shapes and
    the same values as the first run did.

    Raises:
        CaptureError: an output has another shape or type than the input that it becomes, or the shapes are not found.
    """
    if not found.pairs:
        return ()
    trial = _Trial(stored, images, fillings, found)
    first, zeros = trial.first_run()
    shapes = {name: first[output].shape for name, output in found.pairs.items()}
    trial.require_alike(first)
    start = trial.zeros(shapes)
    second = trial.run(start)
    moved = [name for name, value in first.items() if not relative_error(value, second[name]) <= SAME_START]
    if moved:
        raise CaptureError(
            f"Zeros of shape {_texts(zeros)} give other outputs than zeros of {_texts(start)}: {', '.join(moved)}.",
            code="carried-shape",
            hint="export the network with carried inputs of a fixed shape.",
        )
    return tuple(Carried(name, name, output, tuple(shapes[name])) for name, output in found.pairs.items())


def zeros_of(model: onnx.ModelProto, carried: Collection[Carried]) -> dict[str, np.ndarray]:
    """What a network takes with the first frame of a sequence."""
    types = {value.name: _numpy_type(value) for value in free_inputs(model)}
    return {value.name: np.zeros(value.shape, types[value.name]) for value in carried}


def unread(
    stored: StoredModel, images: Sequence[ImageInput], fillings: Mapping[str, np.ndarray], carried: Sequence[Carried]
) -> list[str]:
    """A warning for each carried value on which no output depends: carrying it, or not, would be the same."""
    if not carried:
        return []
    run = _Trial(stored, images, fillings, Recurrence({value.name: value.output for value in carried})).run
    start = zeros_of(stored.outline, carried)
    first = run(start)
    generator = np.random.default_rng(0)
    warnings = []
    for value in carried:
        other = {**start, value.name: generator.uniform(-1, 1, value.shape).astype(start[value.name].dtype)}
        changed = run(other)
        if all(np.array_equal(first[name], changed[name], equal_nan=True) for name in first):
            warnings.append(f"no output depends on the carried value {value.name!r}")
    return warnings


class _Trial:
    """Runs a recurrent network on one picture, to see which shapes its carried values have."""

    def __init__(
        self,
        stored: StoredModel,
        images: Sequence[ImageInput],
        fillings: Mapping[str, np.ndarray],
        found: Recurrence,
    ) -> None:
        self._outline, self._images, self._found = stored.outline, images, found
        generator = np.random.default_rng(0)
        self._feeds = dict(fillings)
        for image in images:
            pixels = generator.uniform(0, 1, (1, image.channels, image.height, image.width))
            self._feeds[image.name] = image.arrange(pixels.astype(np.float32))
        self._values = {value.name: value for value in free_inputs(stored.outline)}
        self._session = make_session(stored, keep_memory=False)

    def run(self, carried: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return run_session(self._session, {**self._feeds, **carried})

    def zeros(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
        return {name: np.zeros(shape, _numpy_type(self._values[name])) for name, shape in shapes.items()}

    def first_run(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Outputs, and the zeros that they come from: open dimensions are 1 where the network broadcasts them."""
        declared = {name: dims_of(self._values[name]) for name in self._found.pairs}
        tries = [{name: [side or 1 for side in dims] for name, dims in declared.items()}]
        inferred = _inferred(self._outline, self._images)
        if all(all(inferred[output]) for output in self._found.pairs.values()):
            tries.append({name: inferred[output] for name, output in self._found.pairs.items()})
        failures = []
        for shapes in tries:
            zeros = self.zeros(shapes)
            try:
                return self.run(zeros), zeros
            except CaptureError as error:
                failures.append(f"zeros of {_texts(zeros)}: {error.message}")
        raise CaptureError(
            f"The shapes of the network's {len(declared)} carried values were not found at"
            f" {self._images[0].height}x{self._images[0].width}.",
            code="carried-shape",
            context=failures,
            hint="export the network with carried inputs of a fixed shape, or try another `size=`.",
        )

    def require_alike(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Raise CaptureError unless each output can be the next value of its input, in shape and type."""
        lines = []
        for name, output in self._found.pairs.items():
            value, next_one = self._values[name], outputs[output]
            declared = dims_of(value)
            fits = len(declared) == next_one.ndim and all(
                side in (0, length) for side, length in zip(declared, next_one.shape, strict=True)
            )
            if not fits or next_one.dtype != _numpy_type(value):
                shown = [side or "any" for side in declared]
                lines.append(
                    f"{name} {dtype_of(value).lower()} {shown} ← {output} {next_one.dtype} {list(next_one.shape)}"
                )
        if lines:
            raise CaptureError(
                f"{len(lines)} of the network's outputs cannot be the next values of the inputs that they"
                f" {'were named for' if self._found.told else 'have the names of'}.",
                code="which-carry",
                context=lines,
                hint=CARRY_HINT.format(input=next(iter(self._found.pairs)), output="OUTPUT"),
            )


def _inferred(model: onnx.ModelProto, images: Sequence[ImageInput]) -> dict[str, list[int]]:
    """Shapes of the outputs at the image's size; 0 for an unknown side, and one picture where the batch is open."""
    shapes = {}
    for value in infer_shapes(resized(model, images, (images[0].height, images[0].width))).graph.output:
        dims = dims_of(value)
        shapes[value.name] = [dims[0] or 1, *dims[1:]] if len(dims) > 2 else dims
    return shapes


def _numpy_type(value: Any) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _texts(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join("×".join(map(str, array.shape)) or "one number" for array in arrays.values())
