"""Run a user's network as it came: the Original protocol, and ONNX files under ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx

from ...errors import CaptureError
from ...utils.files import chunks_of
from ..onnx.check import make_session, run_session
from ..onnx.light import infer_shapes
from ..onnx.load import load_onnx
from ..onnx.stored import StoredModel
from ..onnx.subgraphs import all_graphs

# The inputs that are not filled, by name, in the network's own layouts and types → values by name.
Call = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class Original(Protocol):
    """A user's network as it came, before anything was changed."""

    @property
    def stored(self) -> StoredModel:
        """The network as ONNX."""

    @property
    def name(self) -> str:
        """What reports call the network, such as `ONNX Runtime, net.onnx`."""

    @property
    def weights(self) -> str:
        """Where its weights came from."""

    @property
    def sha256(self) -> str:
        """A hash of the file or of the weights."""

    @property
    def notes(self) -> tuple[str, ...]:
        """How it became ONNX; empty where it was."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """What was only guessed about its weights."""

    @property
    def parameters(self) -> int | None:
        """How many it has; None where only the numbers stored in its graph can be counted."""

    @property
    def pairs(self) -> Mapping[str, str]:
        """Carried input → the output that it takes with the next frame; empty where names of `model` tell."""

    def readable(self, values: Sequence[str]) -> tuple[str, ...]:
        """Which of some values of `stored` can be read when the original runs."""

    def open(self, fillings: Mapping[str, np.ndarray], values: Sequence[str], *, keep_memory: bool = True) -> Call:
        """Make the network ready to run.

        Args:
            fillings: values of the inputs that each run takes alike.
            values: what each run returns; all of them readable.
            keep_memory: keep the memory of a run for the next one. Without, a single run takes less memory and longer.
        """


@dataclass(frozen=True)
class OnnxOriginal:
    """An ONNX file, run by ONNX Runtime. See Original."""

    stored: StoredModel
    name: str
    weights: str
    sha256: str
    notes: tuple[str, ...] = ()
    pairs: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    parameters: int | None = None

    @classmethod
    def load(cls, file: Path) -> OnnxOriginal:
        """Read and check a file. Raises CaptureError where it cannot be used."""
        model = load_onnx(file)
        _refuse_unreadable_names(model, file)
        digest = hashlib.sha256()
        for chunk in chunks_of(file):
            digest.update(chunk)
        return cls(StoredModel(model), f"ONNX Runtime, {file.name}", f"file {file.name}", digest.hexdigest())

    def readable(self, values: Sequence[str]) -> tuple[str, ...]:
        """Every value of the graph can be read."""
        known = values_in(self.stored.outline)
        return tuple(value for value in values if value in known)

    def open(self, fillings: Mapping[str, np.ndarray], values: Sequence[str], *, keep_memory: bool = True) -> Call:
        """A session that also returns `values`."""
        stored = self.stored.with_outline(with_outputs(self.stored.outline, values))
        return partial(_run_with, make_session(stored, keep_memory=keep_memory), fillings)


def _run_with(
    session: Any, fillings: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return run_session(session, {**inputs, **fillings})


def values_in(model: onnx.ModelProto) -> set[str]:
    """Names of every value that a graph computes."""
    return {name for node in model.graph.node for name in node.output if name} | {v.name for v in model.graph.output}


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """A copy whose graph also outputs some of its inner values; the model itself if it outputs all of them."""
    known = {value.name for value in model.graph.output}
    missing = [name for name in dict.fromkeys(names) if name not in known]
    if not missing:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inferred = infer_shapes(copy)
    types = {value.name: value for value in inferred.graph.value_info}
    for name in missing:
        copy.graph.output.append(types[name] if name in types else onnx.ValueInfoProto(name=name))
    return copy


def only_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A copy whose graph outputs one of its values alone, so that a run keeps nothing else."""
    copy = with_outputs(model, [name])
    kept = [value for value in copy.graph.output if value.name == name]
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    return copy


def _refuse_unreadable_names(model: onnx.ModelProto, file: Path) -> None:
    """Raise CaptureError for names that are not UTF-8: protobuf reads them, and nothing could write them again."""
    try:
        for text in _texts(model.graph):
            if isinstance(text, bytes):  # what protobuf returns for a name that is not UTF-8
                text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CaptureError(f"{file.name} is damaged: it has names that are not UTF-8.", code="damaged-onnx") from error


def _texts(outermost: onnx.GraphProto) -> Iterator[str | bytes]:
    """Every name and every text attribute, in inner graphs too."""
    for graph in all_graphs(outermost):
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            yield value.name
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            for attribute in node.attribute:
                yield from (attribute.name, attribute.s, *attribute.strings)
