"""Export and run a network of the user's own.

It came as ONNX, torch code or TorchScript, and its input and person were found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from ...artifacts import DEFAULT_OPSET, Carried, Prediction
from ...errors import CaptureError, UsageError
from ...preprocessing import PortraitSpec
from ...utils.carrying import Place, places_to_json
from ..export import set_metadata
from ..onnx.check import check_model, relative_error, run_once
from ..onnx.parameters import stores_integer_weights
from ..onnx.stored import StoredModel
from .adapt import adapt, renamed_values
from .head import Head
from .interface import ImageInput
from .original import Original
from .pictures import PictureInput
from .reference import ForeignReference, resize_bilinear


@dataclass(frozen=True)
class ForeignNetwork:
    """A network of the user's own. Implements `inputs.sources.LoadedModel`.

    Attributes:
        name: of files made from it.
        model: the user's graph with shapes pinned and constants folded, otherwise its own.
        inputs, head: the pictures that it takes, the photograph's first, and where the person is in its outputs.
        spec: preprocessing.
        parameters: stored floating-point numbers.
        tolerance: by how much the adapted graph may differ from the original.
        original: the network as it came.
        fillings: values of the inputs that are not the photograph.
        reads: values of the original that the reference reads.
        keep: outputs that the package is to return as they are.
        states: what it carries from frame to frame, with the names of the user's graph.
        start: the carried inputs before the first frame.
        notes, warnings: what was found; what was only guessed, or looks wrong.
        provenance: where it came from, for metadata and reports.
        trained: its weights are the user's, and so are its author and paper.
        licence: as a model card next to it states; empty where none does.
        kinds: empty: it is compared on photographs of all kinds.
    """

    name: str
    model: StoredModel
    inputs: tuple[PictureInput, ...]
    head: Head
    spec: PortraitSpec
    parameters: int
    tolerance: float
    original: Original
    fillings: Mapping[str, np.ndarray]
    reads: tuple[str, ...]
    keep: tuple[str, ...]
    states: tuple[Carried, ...]
    start: Mapping[str, np.ndarray]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    provenance: Mapping[str, str]
    trained: bool = True
    kinds: tuple[str, ...] = ()
    author: str = ""
    licence: str = ""
    paper: str = ""

    @property
    def reference_name(self) -> str:
        """What reports call the network as it came."""
        return self.original.name

    @property
    def image(self) -> ImageInput:
        """The input that takes the photograph."""
        return self.inputs[0].image

    @property
    def summary(self) -> str:
        """Which output and class is the person, in one line."""
        return self.head.notes[0]

    @property
    def quantized(self) -> bool:
        """Whether it stores its weights as 8-bit integers already."""
        return stores_integer_weights(self.original.stored.outline)

    @property
    def kept_outputs(self) -> tuple[str, ...]:
        """The kept outputs, without carried ones, as the exported graph calls them."""
        renamed = renamed_values(self.model.outline, self.inputs)
        carried = {value.output for value in self.states}
        return tuple(renamed.get(name, name) for name in self.keep if name not in carried)

    @property
    def carried(self) -> tuple[Carried, ...]:
        """What the exported graph takes and returns from frame to frame."""
        renamed = renamed_values(self.model.outline, self.inputs)
        return tuple(
            replace(value, input=renamed.get(value.input, value.input), output=renamed.get(value.output, value.output))
            for value in self.states
        )

    def with_output(self, output: str) -> ForeignNetwork:
        """The same network for a package that returns something else, one of `preprocessing.OUTPUTS`.

        Raises:
            UsageError: the network cannot return that.
        """
        if output == "logits" and not self.head.has_logits:
            raise UsageError(
                f"`output=logits`: the network's output {self.head.output!r} is {self.head.description}, and the"
                " logits before it cannot be computed exactly.",
                hint="use `output=multiarray`, or name a value before the activation with `mask_output=`.",
            )
        return replace(self, spec=replace(self.spec, output=output))

    def open_runner(self, name: str = "") -> ForeignReference:
        """The network as it came, as a Runner.

        Args:
            name: what reports call it; by default `reference_name`.
        """
        return self._reference(name or self.reference_name, keep_memory=True)

    def _reference(self, name: str, *, keep_memory: bool) -> ForeignReference:
        call = self.original.open(self.fillings, self.reads, keep_memory=keep_memory)
        return ForeignReference(
            call, self.inputs, self.head, self.spec, name=name, carried=self.states, start=self.start
        )

    def to_onnx(self, *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
        """The network with the project's inputs and outputs, checked against the original's numbers.

        Args:
            opset: not used: the graph keeps its own.
        Raises:
            CaptureError: the numbers differ.
        """
        inputs = [
            each if each.image.whole else replace(each, image=replace(each.image, dtype="FLOAT"))
            for each in self.inputs
        ]
        kept = (*self.keep, *(value.output for value in self.states))
        outline = adapt(self.model.outline, inputs, self.head, positive=self.spec.positive, keep=kept)
        places = places_to_json(Place(value.name, value.input, value.output) for value in self.carried)
        carried = {"carried": places} if self.states else {}
        set_metadata(outline, {"spec": self.spec.to_json(), **carried, **self.provenance})
        check_model(outline)
        adapted = self.model.with_outline(outline)
        self._check_numbers(adapted)
        return adapted.whole()

    def _check_numbers(self, adapted: StoredModel) -> None:
        """Compare the first frame of a sequence, and of a recurrent network the second, each side with its own values.

        The second frame shows that the right values are carried: the first takes zeros on both sides.
        """
        pictures = probe_pictures(self.spec)
        reference = self._reference("", keep_memory=False)
        theirs = dict(self.start)
        ours = {value.input: np.zeros(value.shape, np.float32) for value in self.carried}
        lines: list[str] = []
        for _ in range(2 if self.states else 1):
            expected, found = reference.predict(pictures, theirs), run_once(adapted, {**pictures, **ours})
            lines += self._differences(expected, found)
            theirs = {name: value.astype(self.start[name].dtype) for name, value in expected.carried.items()}
            ours = {value.input: found[value.output] for value in self.carried}
            pictures = {name: picture[..., ::-1].copy() for name, picture in pictures.items()}
        if lines:
            raise CaptureError(
                "With the project's inputs and outputs the network gives another mask than on its own.",
                code="adaptation-differs",
                context=[*lines, *self.head.notes],
                hint="describe the output: `mask_output=`, `person_class=`, `activation=`.",
            )

    def _differences(self, expected: Prediction, found: Mapping[str, np.ndarray]) -> list[str]:
        """One line for each output of the adapted graph that is further off than the tolerance."""
        tolerance, lines = max(self.tolerance, 1.01 * self.head.step), []
        if expected.logits is not None and "logits" in found:
            error = relative_error(expected.logits, found["logits"][0, 0])
            if not error <= tolerance:
                lines.append(f"logits: relative error {error:.1e}, tolerance {tolerance:.0e}")
        mask = found["mask"][0, 0]
        if self.head.kind == "argmax" and self.head.has_logits:  # the original decides, ours gives a probability
            error = float(((mask > 0.5) != (expected.probability > 0.5)).mean())
        else:
            error = float(abs(mask - expected.probability).max())
        if not error <= tolerance:
            lines.append(f"mask: {error:.1e} off, tolerance {tolerance:.0e}")
        for value in self.carried:
            error = relative_error(expected.carried[value.name].astype(np.float32), found[value.output])
            if not error <= tolerance:
                lines.append(f"carried value {value.name}: relative error {error:.1e}, tolerance {tolerance:.0e}")
        return lines


def probe_pictures(spec: PortraitSpec) -> dict[str, np.ndarray]:
    """Seeded pictures, smooth with some grain and all different, as the network's inputs (1, C, H, W) by name."""
    generator = np.random.default_rng(0)
    return {picture.name: picture.normalise(_probe(generator, spec)) for picture in spec.all_pictures}


def _probe(generator: np.random.Generator, spec: PortraitSpec) -> np.ndarray:
    coarse = generator.uniform(0, 255, (3, 5, 5))
    smooth = np.stack([resize_bilinear(plane, (spec.height, spec.width)) for plane in coarse], axis=-1)
    grain = generator.normal(0, 8, smooth.shape)
    return np.clip(np.rint(smooth + grain), 0, 255).astype(np.uint8)
