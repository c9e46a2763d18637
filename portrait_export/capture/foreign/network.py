"""Export and run a network of the user's own.

It came as ONNX, torch code or TorchScript, and its input and person were found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from ...artifacts import DEFAULT_OPSET, Frame
from ...errors import CaptureError, UsageError
from ...preprocessing import PortraitSpec
from ..export import set_metadata
from ..onnx.check import check_model, relative_error, run_once
from ..onnx.parameters import stores_integer_weights
from ..onnx.stored import StoredModel
from .adapt import adapt, renamed_values
from .head import Head
from .interface import ImageInput
from .original import Original
from .reference import ForeignReference, resize_bilinear


@dataclass(frozen=True)
class ForeignNetwork:
    """A network of the user's own. Implements `inputs.sources.LoadedModel`.

    Attributes:
        name: of files made from it.
        model: the user's graph with shapes pinned and constants folded, otherwise its own.
        image, head: its input, and where the person is in its outputs.
        spec: preprocessing.
        parameters: stored floating-point numbers.
        tolerance: by how much the adapted graph may differ from the original.
        original: the network as it came.
        fillings: values of the inputs that are not the photograph.
        reads: values of the original that the reference reads.
        keep: outputs that the package is to return as they are.
        notes, warnings: what was found; what was only guessed, or looks wrong.
        provenance: where it came from, for metadata and reports.
        trained: its weights are the user's, and so are its author and paper.
        licence: as a model card next to it states; empty where none does.
        kinds: empty: it is compared on photographs of all kinds.
    """

    name: str
    model: StoredModel
    image: ImageInput
    head: Head
    spec: PortraitSpec
    parameters: int
    tolerance: float
    original: Original
    fillings: Mapping[str, np.ndarray]
    reads: tuple[str, ...]
    keep: tuple[str, ...]
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
    def summary(self) -> str:
        """Which output and class is the person, in one line."""
        return self.head.notes[0]

    @property
    def quantized(self) -> bool:
        """Whether it stores its weights as 8-bit integers already."""
        return stores_integer_weights(self.original.stored.outline)

    @property
    def kept_outputs(self) -> tuple[str, ...]:
        """The kept outputs as the exported graph calls them."""
        renamed = renamed_values(self.model.outline)
        return tuple(renamed.get(name, name) for name in self.keep)

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
        call = self.original.open(self.image.name, self.fillings, self.reads, keep_memory=keep_memory)
        return ForeignReference(call, self.image, self.head, self.spec, name=name)

    def to_onnx(self, *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
        """The network with the project's inputs and outputs, checked against the original's numbers.

        Args:
            opset: not used: the graph keeps its own.
        Raises:
            CaptureError: the numbers differ.
        """
        image = self.image if self.image.dtype == "UINT8" else replace(self.image, dtype="FLOAT")
        outline = adapt(self.model.outline, image, self.head, positive=self.spec.positive, keep=self.keep)
        set_metadata(outline, {"spec": self.spec.to_json(), **self.provenance})
        check_model(outline)
        adapted = self.model.with_outline(outline)
        self._check_numbers(adapted)
        return adapted.whole()

    def _check_numbers(self, adapted: StoredModel) -> None:
        picture = probe_picture(self.spec)
        expected = self._reference("", keep_memory=False).predict(picture)
        found = run_once(adapted, {"image": picture})
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
        if lines:
            raise CaptureError(
                "With the project's inputs and outputs the network gives another mask than on its own.",
                code="adaptation-differs",
                context=[*lines, *self.head.notes],
                hint="describe the output: `mask_output=`, `person_class=`, `activation=`.",
            )


def probe_picture(spec: PortraitSpec) -> np.ndarray:
    """One seeded picture, smooth with some grain, as the network's input (1, 3, H, W)."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(0, 255, (3, 5, 5))
    smooth = np.stack([resize_bilinear(plane, (spec.height, spec.width)) for plane in coarse], axis=-1)
    grain = generator.normal(0, 8, smooth.shape)
    return spec.normalise(Frame(np.clip(np.rint(smooth + grain), 0, 255).astype(np.uint8), name="probe"))
