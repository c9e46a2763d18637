"""Define ModelSpec: everything about a model that is not its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..preprocessing import IMAGENET_MEAN, IMAGENET_STD, PortraitSpec
from .config import NetConfig

WEIGHTS_DIR = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a model that is not its weights.

    Attributes:
        name: what users type.
        config: switches and widths.
        entry: `module:Class` of the network, relative to this package when it starts with a dot; Class(config) builds.
        description: one line for the table of models.
        size: (height, width) of the input in pixels, the default.
        mean, std, scale, color, resize: as in PortraitSpec.
        positive: the class that the logits are about, `person` or `background`.
        paper: where the network comes from.
        licence: of the code and bundled weights.
        kinds: the kinds of bundled photographs (`calibration.dataset.KINDS`) for which the bundled weights are good
            enough; empty: all.
        weights: file name under models/weights, or None for a model that never has bundled weights.
        params: trainable parameters, with this config.
        gmacs: 10⁹ multiply-adds of convolutions and matrix products for one image of `size`.
        published: numbers that the authors published, for the table: name → value.
    """

    name: str
    config: NetConfig
    entry: str
    description: str = ""
    size: tuple[int, int] = (512, 512)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    scale: float = 1 / 255
    color: str = "rgb"
    resize: str = "stretch"
    positive: str = "person"
    paper: str = ""
    licence: str = "MIT"
    kinds: tuple[str, ...] = ()
    weights: str | None = None
    params: int = 0
    gmacs: float = 0.0
    published: tuple[tuple[str, float], ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in the order of forward's arguments."""
        return ("image", "depth") if self.config.takes_depth else ("image",)

    @property
    def weights_path(self) -> Path | None:
        """The bundled weights' file if it is there, else None."""
        path = WEIGHTS_DIR / self.weights if self.weights else None
        return path if path is not None and path.is_file() else None

    def portrait_spec(self) -> PortraitSpec:
        """How a photograph becomes this model's input."""
        return PortraitSpec(
            height=self.size[0],
            width=self.size[1],
            color=self.color,
            scale=self.scale,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
            inputs=self.inputs,
            positive=self.positive,
        )
