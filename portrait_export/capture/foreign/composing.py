"""Compose one mask of the person from the instances that a network returns.

The composition becomes part of the graph, and the network as it came is composed in NumPy: both are compared.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from ...utils.names import unique_name
from ..onnx.stored import StoredModel
from .adapt import upgrade_opset
from .composed_graph import composed
from .composed_reference import person
from .compositions import MOST_DETECTIONS, Arrays, Composition, Detections, detections_of, person_of, queries_of
from .head import Head
from .original import Call, Original, values_in

LONGEST_NAMES = 2**16  # characters of the classes' names in a file's metadata


@dataclass(frozen=True)
class ComposedOriginal:
    """A network as it came, with a mask that NumPy composes from its outputs. See Original.

    Attributes:
        inner: the network.
        stored: the network with the operators that compose the mask.
        value: the mask's name.
        layout: what it is composed from.
        note: which class is the person.
    """

    inner: Original
    stored: StoredModel
    value: str
    layout: Composition
    note: str

    @property
    def name(self) -> str:
        """What reports call the network."""
        return f"{self.inner.name}, composed in NumPy"

    @property
    def weights(self) -> str:
        """Where its weights came from."""
        return self.inner.weights

    @property
    def sha256(self) -> str:
        """A hash of the file or of the weights."""
        return self.inner.sha256

    @property
    def notes(self) -> tuple[str, ...]:
        """How it became ONNX."""
        return self.inner.notes

    @property
    def doubts(self) -> tuple[str, ...]:
        """What was only guessed about its weights."""
        return self.inner.doubts

    @property
    def parameters(self) -> int | None:
        """How many the network has, where that is known."""
        return self.inner.parameters

    @property
    def pairs(self) -> Mapping[str, str]:
        """Carried inputs."""
        return self.inner.pairs

    def described(self, head: Head) -> Head:
        """The mask as an output, described by what it is composed from."""
        text = f"{self.layout.text}; person: {self.note}"
        return replace(
            head, meaning=text, notes=(text, *head.notes[1:]), warnings=(*head.warnings, *self.layout.warnings)
        )

    def readable(self, values: Sequence[str]) -> tuple[str, ...]:
        """The mask, and what the network itself can be read at."""
        own = self.inner.readable([value for value in values if value != self.value])
        return tuple(value for value in values if value == self.value or value in own)

    def open(self, fillings: Mapping[str, np.ndarray], values: Sequence[str], *, keep_memory: bool = True) -> Call:
        """The network itself, and the mask from its outputs."""
        reads = dict.fromkeys([*(value for value in values if value != self.value), *self.layout.reads])
        call = self.inner.open(fillings, list(reads), keep_memory=keep_memory)
        return partial(_run_composed, call, self.layout, self.value)


def _run_composed(call: Call, layout: Composition, value: str, inputs: Arrays) -> dict[str, np.ndarray]:
    outputs = dict(call(inputs))
    return {**outputs, value: person(layout, outputs)}


def compose(
    original: Original,
    kind: str,
    pictures: Sequence[Arrays],
    size: tuple[int, int],
    *,
    person_class: tuple[int, ...] | None,
    labels: Mapping[int, str],
) -> ComposedOriginal:
    """Add a mask of the person to a network.

    Args:
        kind: one of `options.COMPOSITIONS`.
        pictures: its outputs on photographs.
        size: (H, W) of its input.
        person_class: as the user names it.
        labels: class names by number, from a file next to the network.
    Raises:
        CaptureError: the outputs do not have that layout.
        UsageError: the person's class is not known.
    """
    outline = upgrade_opset(original.stored.whole())
    names = labels or names_in(outline)
    find = detections_of if kind == "yolo-seg" else queries_of
    layout: Composition = find(pictures, size, len(names))
    classes, how = person_of(layout, person_class, names)
    layout = replace(layout, person=classes)
    if isinstance(layout, Detections):
        layout = replace(layout, left_out=max(_next_best(layout, outputs) for outputs in pictures))
    value = unique_name("person", values_in(outline) | {given.name for given in outline.graph.input})
    stored = StoredModel(composed(layout, outline, value))
    listed = ", ".join(map(str, classes))
    return ComposedOriginal(original, stored, value, layout, f"class {listed} ({how})")


def _next_best(layout: Detections, outputs: Arrays) -> float:
    """The largest score among the detections that do not count; 0 where all of them do."""
    scores = np.sort(layout.scores(layout.table(outputs)))[::-1]
    return float(scores[MOST_DETECTIONS]) if scores.size > MOST_DETECTIONS else 0.0


def names_in(model: onnx.ModelProto) -> dict[int, str]:
    """The classes' names that Ultralytics' exporter writes into a file, `{0: 'person', …}`; empty without them."""
    text = next((prop.value for prop in model.metadata_props if prop.key == "names"), "")
    if not text or len(text) > LONGEST_NAMES:
        return {}
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, int) and key >= 0 for key in found):
        return {}
    return {key: str(label) for key, label in found.items()}
