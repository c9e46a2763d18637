"""Export and run a network of `models/` with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import onnx
import torch

from ..artifacts import DEFAULT_OPSET, Carried
from ..errors import UsageError
from ..preprocessing import PortraitSpec
from .export import export_onnx
from .runners import TorchRunner


@dataclass(frozen=True)
class RegisteredNetwork:
    """A network of `models/` with bundled, random or a checkpoint's weights. Implements `inputs.sources.LoadedModel`.

    Attributes:
        name: the registered name, or the checkpoint's.
        module: float32, evaluation mode; returns logits (1, 1, h, w) about `spec.positive`.
        spec: preprocessing.
        trained: False for random weights, whose masks mean nothing.
        author, licence: of the weights; empty where they are not known.
        paper: of the network.
        provenance: where the weights came from, for metadata and reports.
        kinds: the kinds of bundled photographs for which its weights are good enough; empty: all.
        size_multiple: the sides of its input are multiples of it, in pixels.
        size_problem: why its own size is not known; empty where it is.
    """

    name: str
    module: torch.nn.Module
    spec: PortraitSpec
    trained: bool
    author: str
    licence: str
    paper: str
    provenance: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    size_multiple: int = 1
    size_problem: str = ""
    reference_name: str = "PyTorch"
    summary: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    kept_outputs: tuple[str, ...] = ()
    carried: tuple[Carried, ...] = ()
    quantized: bool = False

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.module.parameters())

    def at_size(self, size: tuple[int, int] | None) -> RegisteredNetwork:
        """The same weights at another input size.

        Args:
            size: (height, width) in pixels; None keeps the network's own.
        Raises:
            UsageError: the network does not take that size.
        """
        if size is None and self.size_problem:
            raise UsageError(
                self.size_problem, code="which-size", hint="set one with `size=`, such as `size=(512, 512)`."
            )
        height, width = size or (self.spec.height, self.spec.width)
        multiple = self.size_multiple
        if height % multiple or width % multiple:
            nearest = "x".join(str(max(multiple, round(side / multiple) * multiple)) for side in (height, width))
            raise UsageError(
                f"This network takes sides that are multiples of {multiple} pixels; found {height}x{width}.",
                hint=f"the nearest size is {nearest}.",
            )
        return replace(self, spec=self.spec.with_size(height, width))

    def with_output(self, output: str) -> RegisteredNetwork:
        """The same network for a package that returns something else, one of `preprocessing.OUTPUTS`."""
        return replace(self, spec=replace(self.spec, output=output))

    def open_runner(self, name: str = "") -> TorchRunner:
        """The network as a Runner, in PyTorch.

        Args:
            name: what reports call it; by default `reference_name`.
        """
        return TorchRunner(self.module, self.spec, name=name or self.reference_name)

    def to_onnx(self, *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
        """Trace the network, with its mask head.

        Raises:
            CaptureError: it cannot be exported, or the numbers differ.
        """
        return export_onnx(self.module, spec=self.spec, opset=opset, metadata=self.provenance)
