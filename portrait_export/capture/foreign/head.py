"""Find the person in the outputs of a foreign network.

That is: which output and class it is, and which activation was applied to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import CaptureError, UsageError, nearest
from ..onnx.graph import Graph
from .bounds import ANY, Bounds, bounds_of
from .field import Field, field_of
from .finding import Finding
from .instances import instances_of, refuse_instances
from .meaning import DESCRIPTIONS, LOGITS, SLACK, Evidence, Levels, Meaning, decide
from .measured import Seen
from .on_masks import checked_on_masks, clearly_better
from .options import Settings
from .walk import WEIGHING, Walk, activations_near, walk_back

# Which class is the person where only the number of classes is known, and whose classes those are.
KNOWN_SETS = {
    2: ((1,), "background and person"),
    19: ((11,), "Cityscapes: 11 is person; riders are 12"),
    21: ((15,), "Pascal VOC: 15 is person"),
    150: ((12,), "ADE20K: 12 is person"),
}
_LIKELY_NAMES = ("mask", "matte", "alpha", "pha", "person", "seg", "fused", "prob", "logits", "out")  # likelier first
_DOUBTFUL_NAMES = ("edge", "boundary", "conf", "quality", "uncertain", "iou", "aux", "depth")  # of what is no mask
MOST_COMPARED = 6  # outputs that are run on photographs to choose one
NAN = float("nan")
SUMS = ("Add", "Sub", "Sum", "Clip")

Measure = Callable[[str, Field], Seen]  # an output and how it holds classes → its values on pictures


@dataclass(frozen=True)
class Head:
    """Where the person is.

    Attributes:
        output: the value that the user's app would read.
        field: how it holds classes.
        kind: what it is: `logits` (before the softmax over classes, or the logistic function of one class),
            `multilabel`, `sigmoid`, `softmax`, `logsoftmax`, `argmax` or `probability`.
        text: the same in words, with its scale.
        meaning: what it was decided to be, and from what.
        source, source_field: the value that the activation was computed from, where there is one: exact logits.
        person: classes of the person, counted in `source` (or, without a source, in `output`).
        picked: classes of `source` that `output` has, in this order; None: all.
        zero, one: values of `output` that are P = 0 and P = 1.
        slope: the person's logits are `slope` times the values of `source`.
        step: between neighbouring values of P where the graph rounds it, else 0.
        smooth: what the graph rounds to `output`, and how it holds classes; None where it does not, or has a source.
        notes, warnings: what was found, and what was only guessed.
    """

    output: str
    field: Field
    kind: str
    text: str
    meaning: str
    source: str | None
    source_field: Field | None
    person: tuple[int, ...]
    picked: tuple[int, ...] | None = None
    zero: float = 0.0
    one: float = 1.0
    slope: float = 1.0
    step: float = 0.0
    smooth: tuple[str, Field] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What the output is, for messages."""
        return self.text

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


def find_head(
    graph: Graph,
    outputs: Mapping[str, np.ndarray],
    options: Settings,
    *,
    size: tuple[int, int],
    labels: Mapping[int, str],
    measure: Measure,
) -> Head:
    """Find the person in a network's outputs.

    Args:
        graph: the network with static shapes, constants folded.
        outputs: each candidate's value on a probe picture, by name.
        options: the user's, which override everything found.
        size: (H, W) of the input.
        labels: class names by number, from a config.json next to the network.
        measure: runs the network on pictures.
    Raises:
        CaptureError: no output is a map of the picture, or the values contradict the options.
        UsageError: the person's class or the meaning of the values is needed, or the class does not exist.
    """
    chosen = _choose_output(outputs, options.mask_output, size, measure)
    output, value = chosen.value, outputs[chosen.value]
    output_field = field_of(value.shape, size)
    assert output_field is not None  # _choose_output picks maps only
    doubts = _instances(outputs, output, output_field, options)
    bounds = bounds_of(graph)
    walk = walk_back(graph, output, bounds)
    seen = measure(output, output_field)
    _refuse_broken(graph, output, walk, seen)
    _refuse_other_softmax(output, walk, seen, output_field)
    evidence = Evidence(
        output,
        _text(value.shape),
        walk,
        bounds.get(output, ANY),
        seen,
        output_field.classes,
        _classes_of_argmax(graph, walk),
        tuple(activations_near(graph, output)),
        summed=bool(activations_near(graph, output, through=SUMS)),
        integer=value.dtype.kind in "iub",
        features=_weighs_features(walk, bounds),
        levels=_levels(graph, walk, bounds),
    )
    numbered = evidence.integer and output_field.classes == 1
    classes_named = options.person_class is not None and numbered and options.activation in (None, "auto")
    found = decide(evidence, "argmax" if classes_named and seen.high < 200 and seen.whole else options.activation)
    source, source_field = _source(graph, walk, found, output, output_field, size)
    picked = walk.picked if source not in (None, output) else None
    total = (source_field or output_field).classes
    if found.kind == "argmax" and source is None:
        total = _classes_of_argmax(graph, walk) or max(int(seen.high) + 1, 2)
    person = _person(options, total, picked, labels)
    if found.kind in ("sigmoid", "multilabel", "probability") and len(person.value) != 1:
        raise UsageError(
            f"{len(person.value)} classes were named, and the output {output!r} holds {DESCRIPTIONS[found.kind]}:"
            " they may overlap.",
            hint="name one class with `person_class=`",
        )
    no_logits = () if source is not None else ("its logits cannot be computed exactly, so the mask alone is compared",)
    description = f"person: output {output!r} {_text(value.shape)}, {found.text}, {person.notes[0]}"
    head = Head(
        output=output,
        field=output_field,
        kind=found.kind,
        text=found.text,
        meaning=f"{found.text}: {found.why}",
        source=source,
        source_field=source_field,
        person=person.value,
        picked=picked,
        zero=found.zero,
        one=found.one,
        slope=found.slope if source not in (None, output) and found.slope else 1.0,
        step=walk.step / (found.one - found.zero) if found.kind in ("sigmoid", "softmax", "probability") else 0.0,
        smooth=_smooth(graph, walk, size) if source is None and found.kind == "probability" else None,
        notes=(f"{description} ({found.why})", *no_logits),
        warnings=(*chosen.warnings, *doubts, *_other_view(output_field, size), *found.warnings, *person.warnings),
    )
    guessed = options.person_class is None and not labels
    return checked_on_masks(head, seen, options, guessed=guessed)


def _instances(
    outputs: Mapping[str, np.ndarray], output: str, output_field: Field, options: Settings
) -> tuple[str, ...]:
    """Refuse one half of an instance segmentation; a warning where the user names it."""
    if options.mask_output is None:
        refuse_instances(outputs, output, output_field)
        return ()
    found = instances_of(outputs, output, output_field)
    return () if found is None else (f"{found.text} `mask_output=` names it all the same.",)


def _refuse_broken(graph: Graph, output: str, walk: Walk, seen: Seen) -> None:
    """Raise CaptureError for values that are no mask: NaN, or how sure a network is of whatever it sees."""
    if not seen.finite:
        raise CaptureError(f"The network's output {output!r} has NaN or infinity on a picture.", code="not-finite")
    node = walk.node
    if node is None or node.op != "ReduceMax" or walk.kind:
        return
    inner = walk_back(graph, node.input(0), {})
    shape = graph.shape(node.input(0)) or ()
    if inner.kind == "softmax" and inner.picked is None and inner.axis is not None and len(shape) > inner.axis:
        after = graph.shape(node.output) or ()
        kept = len(after) == len(shape)
        reduced = after[inner.axis] == 1 if kept else after == shape[: inner.axis] + shape[inner.axis + 1 :]
        if reduced:
            raise CaptureError(
                f"The output {output!r} is the largest of {shape[inner.axis]} probabilities: how sure the network is,"
                " not where the person is.",
                code="confidence",
                hint=f"`mask_output={inner.source}` takes the classes themselves.",
            )


def _refuse_other_softmax(output: str, walk: Walk, seen: Seen, found: Field) -> None:
    """Raise CaptureError for a softmax that compares something other than the classes of a pixel."""
    if walk.kind != "softmax" or walk.scaled or walk.unsure or walk.picked is not None or walk.resized:
        return
    if not seen.exclusive:
        assert walk.source is not None
        raise CaptureError(
            f"The output {output!r} ends in a softmax over axis {walk.axis} of {walk.source!r}, which is not the axis"
            f" of its {found.classes} class{'es' if found.classes > 1 else ''}: the values of a pixel do not sum to 1.",
            code="softmax-axis",
            hint="`mask_output=NAME` takes a value before it.",
        )


def _weighs_features(walk: Walk, bounds: Mapping[str, Bounds]) -> bool:
    node = walk.node
    if node is None or node.op not in WEIGHING or walk.kind:
        return False
    return not bounds.get(node.input(0), ANY).within(-SLACK, 1 + SLACK)


def _levels(graph: Graph, walk: Walk, bounds: Mapping[str, Bounds]) -> Levels | None:
    node = walk.node
    if node is None or node.op != "QuantizeLinear" or walk.kind:
        return None
    scale = graph.scalar(node.input(1))
    zero = graph.scalar(node.input(2)) if node.input(2) else 0.0
    unit = bounds.get(node.input(0), ANY).within(-SLACK, 1 + SLACK)
    return Levels(node.input(0), NAN if scale is None else scale, NAN if zero is None else zero, unit)


def _smooth(graph: Graph, walk: Walk, size: tuple[int, int]) -> tuple[str, Field] | None:
    shape = graph.shape(walk.smooth) if walk.smooth else None
    found = None if shape is None else field_of(shape, size)
    return None if found is None else (walk.smooth, found)


# Which output


def _choose_output(
    outputs: Mapping[str, np.ndarray], asked: str | None, size: tuple[int, int], measure: Measure
) -> Finding[str]:
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
    fields = {name: found for name in maps if (found := field_of(outputs[name].shape, size))}
    likely = [name for name in maps if fields[name].classes != 3] or maps  # three are the colours of a picture
    chosen = min(likely, key=lambda name: (*_rank(name), -math.prod(fields[name].pixels)))
    single = [name for name in likely if fields[name].classes <= 2]
    if chosen in single and 1 < len(single) <= MOST_COMPARED:
        chosen = clearly_better({name: measure(name, fields[name]) for name in single}, chosen)
    shapes = ", ".join(f"{name} {_text(outputs[name].shape)}" for name in maps)
    warning = f"{len(maps)} outputs could be the mask: {shapes}; {chosen} is used (`mask_output=`)"
    return Finding(chosen, warnings=(warning,))


def _rank(name: str) -> tuple[bool, int]:
    """The likeliest name is the least."""
    lower = name.lower()
    likely = (rank for rank, word in enumerate(_LIKELY_NAMES) if word in lower)
    return any(word in lower for word in _DOUBTFUL_NAMES), next(likely, len(_LIKELY_NAMES))


def _other_view(found: Field, size: tuple[int, int]) -> tuple[str, ...]:
    """A warning where the output's size suggests that it does not cover the whole picture, or more than it."""
    pairs = [sorted(pair) for pair in zip(found.pixels, size, strict=True)]
    if all(abs(small - large / round(large / small)) <= 1 for small, large in pairs):
        return ()
    height, width = found.pixels
    doubt = (
        f"the output has {height}x{width} pixels for a picture of {size[0]}x{size[1]}, neither a whole part nor a"
        " multiple of them: it is stretched over the whole picture, which is wrong if the network crops or pads"
    )
    return (doubt,)


# Its logits


def _source(
    graph: Graph, walk: Walk, meaning: Meaning, output: str, output_field: Field, size: tuple[int, int]
) -> tuple[str | None, Field | None]:
    """The value that holds exact logits, and how."""
    if meaning.kind in LOGITS:
        return output, output_field
    exact = meaning.slope or (meaning.kind == "argmax" and walk.kind == "argmax" and not walk.resized)
    shape = graph.shape(walk.source) if exact and not walk.unsure and walk.source else None
    if shape is None:
        return None, None
    found = field_of(shape, size) if walk.axis is None else Field(shape, walk.axis)
    if found is None or found.pixels != output_field.pixels:  # such as a softmax over a list of pixels
        return None, None
    if walk.axis is None and walk.picked is not None and walk.picked_axis != found.axis:
        return None, None
    return walk.source, found


# Which of its classes


def _classes_of_argmax(graph: Graph, walk: Walk) -> int:
    """How many classes a resized or rearranged argmax chose from; 0 where that is not known."""
    shape = graph.shape(walk.source) if walk.kind == "argmax" and walk.source else None
    return 0 if shape is None or walk.axis is None else shape[walk.axis]


def _person(
    options: Settings, total: int, picked: tuple[int, ...] | None, labels: Mapping[int, str]
) -> Finding[tuple[int, ...]]:
    """The person's classes, counted where `total` is, with one note that describes them."""
    asked = options.person_class
    if options.positive is not None and total > 1 and (picked is None or len(picked) > 1):
        raise UsageError(
            f"`positive={options.positive}` is of a single channel, and the network has {total} classes.",
            hint="name the person's class, counted from 0: `person_class=1`.",
        )
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


def _text(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
