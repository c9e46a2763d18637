"""Find the person in the outputs of a foreign network.

That is: which output and class it is, and which activation was applied to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import CaptureError, UsageError, nearest
from ..onnx.graph import Graph, Node, Shape
from .finding import Finding
from .options import Settings

# Which class is the person where only the number of classes is known, and whose classes those are.
KNOWN_SETS = {
    2: ((1,), "background and person"),
    19: ((11,), "Cityscapes: 11 is person; riders are 12"),
    21: ((15,), "Pascal VOC: 15 is person"),
    150: ((12,), "ADE20K: 12 is person"),
}
_MOVES = ("Identity", "Dropout", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Flatten")
_ACTIVATIONS = {"Sigmoid": "sigmoid", "Softmax": "softmax", "LogSoftmax": "logsoftmax", "ArgMax": "argmax"}
_RESIZES = ("Resize", "Upsample")
# Operators that a probability comes out of without one of the activations: min-max scaling, 1 / (1 + exp(-x)), clips.
_BOUNDED = ("Div", "Reciprocal", "Clip", "HardSigmoid", "Min", "Max", "Where", "ReduceSum", "Greater", "GreaterOrEqual")
_LIKELY_NAMES = ("mask", "matte", "alpha", "pha", "person", "seg", "fused", "prob", "logits", "out")  # likelier first
_SLACK = 1e-3  # by how much a probability may leave 0..1: rounding in half precision
_DESCRIPTIONS = {
    "logits": "logits",
    "multilabel": "logits of classes that may overlap",
    "sigmoid": "a sigmoid",
    "softmax": "a softmax",
    "logsoftmax": "a log-softmax",
    "argmax": "an argmax",
    "probability": "a probability",
}


@dataclass(frozen=True)
class Field:
    """How an array holds classes over pixels.

    Attributes:
        shape: the array's.
        axis: of the classes; None where there is one class and no axis for it.
    """

    shape: Shape
    axis: int | None

    @property
    def classes(self) -> int:
        """K."""
        return 1 if self.axis is None else self.shape[self.axis]

    @property
    def pixels(self) -> tuple[int, int]:
        """(h, w)."""
        rest = [size for index, size in enumerate(self.shape) if index != self.axis]
        return rest[-2], rest[-1]


@dataclass(frozen=True)
class Head:
    """Where the person is.

    Attributes:
        output: the value that the user's app would read.
        field: how it holds classes.
        kind: what it is: `logits` (before the softmax over classes, or the logistic function of one class),
            `multilabel`, `sigmoid`, `softmax`, `logsoftmax`, `argmax` or `probability`.
        source, source_field: the value that the activation was computed from, where there is one: exact logits.
        person: classes of the person, counted in `source` (or, without a source, in `output`).
        picked: classes of `source` that `output` has, in this order; None: all.
        notes, warnings: what was found, and what was only guessed.
    """

    output: str
    field: Field
    kind: str
    source: str | None
    source_field: Field | None
    person: tuple[int, ...]
    picked: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What the output is, for messages."""
        return _DESCRIPTIONS[self.kind]

    @property
    def has_logits(self) -> bool:
        """Whether the person's logits can be computed exactly."""
        return self.source is not None

    @property
    def person_in_output(self) -> tuple[int, ...]:
        """The person's channels of `output`."""
        if self.picked is None:
            return self.person
        return tuple(index for index, k in enumerate(self.picked) if k in self.person)


@dataclass
class _Walk:
    """The operators between an output and what it was computed from.

    Attributes:
        kind: the activation found, empty where there is none.
        source: what the activation was computed from.
        axis: of its classes; None where the activation does not determine it.
        node: the last operator that computes something.
        resized: whether a resize follows the activation, so that it cannot be undone exactly.
        picked: classes that were picked after the activation.
        unsure: why the activation's input cannot replace the output, empty where it can.
    """

    kind: str = ""
    source: str | None = None
    axis: int | None = None
    node: Node | None = None
    resized: bool = False
    picked: tuple[int, ...] | None = None
    unsure: str = ""


def find_head(
    graph: Graph,
    outputs: Mapping[str, np.ndarray],
    options: Settings,
    *,
    size: tuple[int, int],
    labels: Mapping[int, str],
) -> Head:
    """Find the person in a network's outputs.

    Args:
        graph: the network with static shapes, constants folded.
        outputs: each candidate's value on a probe picture, by name.
        options: the user's, which override everything found.
        size: (H, W) of the input.
        labels: class names by number, from a config.json next to the network.
    Raises:
        CaptureError: no output is a map of the picture, or the values contradict the options.
        UsageError: the person's class is needed, or does not exist.
    """
    chosen = _choose_output(outputs, options.mask_output, size)
    output, value = chosen.value, outputs[chosen.value]
    walk = _walk_back(graph, output)
    found = _kind(walk, value, options.activation)
    kind = found.value
    output_field = field_of(value.shape, size)
    assert output_field is not None  # _choose_output picks maps only
    source, source_field = _source(graph, walk, kind, output, output_field, size)
    picked = walk.picked if source not in (None, output) else None
    total = (source_field or output_field).classes
    if kind == "argmax" and source is None:
        total = _classes_of_argmax(graph, walk) or max(int(value.max()) + 1, 2)
    person = _person(options, total, picked, labels)
    if kind in ("sigmoid", "multilabel", "probability") and len(person.value) != 1:
        raise UsageError(
            f"{len(person.value)} classes were named, and the output {output!r} holds {_DESCRIPTIONS[kind]}:"
            " they may overlap.",
            hint="name one class with `person_class=`",
        )
    _check_values(output, kind, value)
    no_logits = () if source is not None else ("its logits cannot be computed exactly, so the mask alone is compared",)
    description = f"person: output {output!r} {_text(value.shape)}, {_DESCRIPTIONS[kind]}, {person.notes[0]}"
    return Head(
        output=output,
        field=output_field,
        kind=kind,
        source=source,
        source_field=source_field,
        person=person.value,
        picked=picked,
        notes=(description, *found.notes, *no_logits),
        warnings=(*chosen.warnings, *found.warnings, *person.warnings),
    )


def field_of(shape: Shape, size: tuple[int, int]) -> Field | None:
    """How an array of this shape can be a map of a picture of `size`; None where it cannot. Channels first is tried
    first: pixels must have the picture's aspect ratio, up to the rounding of one pixel."""
    axes: Sequence[int | None] = {4: (1, 3), 3: (None, 0, 2), 2: (None,)}.get(len(shape), ())
    for axis in axes:
        found = Field(tuple(shape), axis)
        leading = [length for index, length in enumerate(shape) if index != axis][:-2]
        height, width = found.pixels
        square = abs(height * size[1] - width * size[0]) <= max(size)
        if all(length == 1 for length in leading) and min(height, width) > 1 and found.classes and square:
            return found
    return None


# Which output


def _choose_output(outputs: Mapping[str, np.ndarray], asked: str | None, size: tuple[int, int]) -> Finding[str]:
    if asked is not None and asked not in outputs:
        raise UsageError(f"The network has no output {asked!r}.", hint=nearest(asked, list(outputs), what="output"))
    names = [asked] if asked else list(outputs)
    maps = [name for name in names if field_of(outputs[name].shape, size)]
    if not maps:
        raise CaptureError(
            f"The output {asked!r} is not a map of the picture." if asked else "No output is a map of the picture.",
            code="no-mask-output",
            context=[f"{name}: {outputs[name].dtype} {_text(outputs[name].shape)}" for name in outputs],
            hint=f"a mask is (1, K, h, w), (1, h, w, K) or (1, h, w) with the aspect ratio of {size[0]}x{size[1]};"
            " `mask_output=NAME` takes any value inside the graph, too.",
        )
    if len(maps) == 1:
        return Finding(maps[0])
    pictures = [name for name in maps if _classes(outputs[name], size) == 3]
    likely = [name for name in maps if name not in pictures] or maps
    chosen = min(likely, key=_rank)
    warning = f"{len(maps)} outputs could be the mask: {', '.join(maps)}; {chosen} is used (`mask_output=`)"
    return Finding(chosen, warnings=(warning,))


def _classes(value: np.ndarray, size: tuple[int, int]) -> int:
    found = field_of(value.shape, size)
    return 0 if found is None else found.classes


def _rank(name: str) -> int:
    return next((rank for rank, word in enumerate(_LIKELY_NAMES) if word in name.lower()), len(_LIKELY_NAMES))


# What was applied to it


def _walk_back(graph: Graph, output: str) -> _Walk:
    """From an output towards the input, up to the activation or the first operator that computes something else."""
    walk, value, moved = _Walk(), output, False
    while (node := graph.maker(value)) is not None:
        if node.op in _ACTIVATIONS:
            walk.kind, walk.source = _ACTIVATIONS[node.op], node.input(0)
            walk.axis = _activation_axis(graph, node)
            walk.node = walk.node or node
            break
        if node.op in _MOVES:
            moved = True
        elif node.op in _RESIZES:
            walk.resized = True
            walk.node = walk.node or node
        elif node.op in ("Gather", "Slice", "Split"):
            chosen = _picked(graph, node, value)
            if chosen is None or walk.picked is not None:
                break
            walk.picked, walk.axis, moved = chosen[1], chosen[0], False
        else:
            walk.node = walk.node or node
            break
        value = node.input(0)
    if walk.picked is not None and (moved or not walk.kind):
        walk.unsure = "classes are picked, then moved"
    return walk


def _activation_axis(graph: Graph, node: Node) -> int | None:
    if node.op == "Sigmoid":
        return None
    default = {"ArgMax": 0}.get(node.op, -1 if graph.opset >= 13 else 1)
    rank = len(graph.shape(node.input(0)) or ())
    axis = int(node.attrs.get("axis", default))
    return axis % rank if rank else None


def _picked(graph: Graph, node: Node, value: str) -> tuple[int, tuple[int, ...]] | None:
    """The axis and the indices along it that a node picks; None where that is not constant or not along one axis."""
    shape = graph.shape(node.input(0))
    if shape is None:
        return None
    found = [graph.constant(name) for name in node.inputs[1:]]
    constants = [array for array in found if array is not None]
    if len(constants) < len(found):
        return None
    if node.op == "Gather":
        axis = int(node.attrs.get("axis", 0)) % len(shape)
        return axis, tuple(int(k) % shape[axis] for k in np.ravel(constants[0]))
    if node.op == "Slice" and len(constants) >= 3:
        starts, ends, axes = (np.ravel(c).tolist() for c in constants[:3])
        steps = np.ravel(constants[3]).tolist() if len(constants) > 3 else [1] * len(starts)
        if len(axes) == 1:
            axis = axes[0] % len(shape)
            return axis, tuple(range(shape[axis]))[slice(starts[0], ends[0], steps[0])]
    if node.op == "Split":
        axis = int(node.attrs.get("axis", 0)) % len(shape)
        sizes = [(graph.shape(name) or (0,) * len(shape))[axis] for name in node.outputs]
        begin = sum(sizes[: node.outputs.index(value)])
        return axis, tuple(range(begin, begin + sizes[node.outputs.index(value)]))
    return None


def _kind(walk: _Walk, value: np.ndarray, asked: str | None) -> Finding[str]:
    """What the output is, one of `_DESCRIPTIONS`."""
    if asked is not None and asked != "auto":
        return _asked_kind(walk, asked)
    if walk.kind == "logsoftmax" and walk.resized:
        return Finding("logits")  # interpolated log-probabilities: their differences are still logits
    if walk.kind and (walk.resized or walk.unsure) and walk.kind != "argmax":
        where = "resized" if walk.resized else "rearranged"
        return Finding("probability", (f"the result of a {walk.kind} is {where} inside the graph",))
    if walk.kind:
        return Finding(walk.kind, (f"a {walk.node.op} ends the graph" if walk.node else "",))
    operator = walk.node.op if walk.node is not None else "nothing"
    if value.dtype.kind in "iu":
        doubt = f"the output holds whole numbers ({operator}): taken as class numbers (`activation=`)"
        return Finding("argmax", warnings=(doubt,))
    if operator in _BOUNDED and value.min() >= 0 and value.max() <= 1:
        doubt = f"the graph ends in {operator} with values in 0..1: taken as a probability"
        return Finding("probability", warnings=(doubt,))
    return Finding("logits", (f"no activation at its end ({operator}), so the values are logits",))


def _asked_kind(walk: _Walk, asked: str) -> Finding[str]:
    """The kind that the options set."""
    found = walk.kind.replace("logsoftmax", "softmax")
    doubts = (f"`activation=` is {asked}, but the graph ends in a {found}",) if found not in ("", asked) else ()
    return Finding("logsoftmax" if walk.kind == "logsoftmax" and asked == "softmax" else asked, warnings=doubts)


def _source(
    graph: Graph, walk: _Walk, kind: str, output: str, output_field: Field, size: tuple[int, int]
) -> tuple[str | None, Field | None]:
    """The value that holds exact logits, and how."""
    if kind in ("logits", "multilabel"):
        return output, output_field
    same = walk.kind == kind and not walk.resized and not walk.unsure
    shape = graph.shape(walk.source) if same and walk.source else None
    if shape is None:
        return None, None
    if walk.axis is not None:
        return walk.source, Field(shape, walk.axis)
    found = field_of(shape, size)
    return (walk.source, found) if found else (None, None)


# Which of its classes


def _classes_of_argmax(graph: Graph, walk: _Walk) -> int:
    """How many classes a resized or rearranged argmax chose from; 0 where that is not known."""
    shape = graph.shape(walk.source) if walk.kind == "argmax" and walk.source else None
    return 0 if shape is None or walk.axis is None else shape[walk.axis]


def _person(
    options: Settings, total: int, picked: tuple[int, ...] | None, labels: Mapping[int, str]
) -> Finding[tuple[int, ...]]:
    """The person's classes, counted where `total` is, with one note that describes them."""
    asked = options.person_class
    if picked is not None and len(picked) == 1:
        if asked not in (None, picked):
            raise UsageError(f"`person_class=` is {_text(asked or ())}; the graph itself picks class {picked[0]}.")
        return Finding(picked, (f"class {picked[0]} of {total}, as the graph picks it",))
    visible = total if picked is None else len(picked)
    if asked is not None:
        if max(asked) >= visible or (visible > 1 and len(asked) == visible):
            raise UsageError(
                f"`person_class=` is {', '.join(map(str, asked))}; the network's output has"
                f" {visible} class{'es' if visible > 1 else ''}, counted from 0.",
                hint="name some of them, not all"
                if visible > 1
                else "with one class there is nothing to choose; set `positive=background` if it is the background.",
            )
        return Finding(_within(asked, picked), (f"class {', '.join(map(str, asked))} of {visible}",))
    if visible == 1:
        return Finding((0,), (f"its one channel is the {options.positive or 'person'}",))
    named = _named(labels) if len(labels) == visible else ()
    if named:
        names = ", ".join(f"{k} ({labels[k]})" for k in named[:4])
        return Finding(_within(named, picked), (f"class {names} of {visible}, by config.json",))
    if visible not in KNOWN_SETS:
        raise UsageError(
            f"The network has {visible} classes; which of them are the person?",
            code="which-class",
            hint="name them, counted from 0: `person_class=1` or `person_class=1-8`.",
        )
    known, whose = KNOWN_SETS[visible]
    doubts = () if visible == 2 else (f"{visible} classes: taken as {whose} (`person_class=`)",)
    return Finding(_within(known, picked), (f"class {', '.join(map(str, known))} of {visible}",), doubts)


def _named(labels: Mapping[int, str]) -> tuple[int, ...]:
    """The classes whose names say that they are the person."""
    from ...models.person import person_classes  # imports torch, which an ONNX file without labels does not need

    return person_classes(labels)


def _within(chosen: tuple[int, ...], picked: tuple[int, ...] | None) -> tuple[int, ...]:
    return chosen if picked is None else tuple(picked[k] for k in chosen)


def _check_values(output: str, kind: str, value: np.ndarray) -> None:
    if not np.isfinite(value).all():
        raise CaptureError(f"The network's output {output!r} has NaN or infinity on a picture.", code="not-finite")
    low, high = float(value.min()), float(value.max())
    if kind in ("sigmoid", "softmax", "probability") and (low < -_SLACK or high > 1 + _SLACK):
        raise CaptureError(
            f"The output {output!r} was taken as {_DESCRIPTIONS[kind]}, and its values are in {low:.4g}..{high:.4g}.",
            code="not-a-probability",
            hint="set `activation=logits` if they are logits; `mask_output=NAME` takes another value.",
        )


def _text(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
