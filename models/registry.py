"""A model's name → its ModelSpec, and from there a PyTorch module. Specs are data: listing them imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, UsageError, nearest
from ..preprocessing import IMAGENET_MEAN, IMAGENET_STD, PortraitSpec
from .config import NetConfig

if TYPE_CHECKING:
    from torch import nn

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
        licence: of the code and shipped weights.
        kinds: the kinds of bundled photographs (`calibration.dataset.KINDS`) that the shipped weights were trained for;
            empty: all.
        weights: file name under models/weights, or None for a model that is never shipped with weights.
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
        """The shipped weights' file if it is there, else None."""
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


_SPECS: dict[str, tuple[ModelSpec, str]] = {}  # name → (spec, who registered it)


def register_model(function: Callable[[], ModelSpec]) -> Callable[[], ModelSpec]:
    """Register the ModelSpec that the decorated function returns. Raises UsageError for a name that is taken."""
    spec, owner = function(), f"{function.__module__}.{function.__qualname__}"
    if spec.name in _SPECS:
        raise UsageError(f"Model `{spec.name}` of {owner} is already registered by {_SPECS[spec.name][1]}.")
    _SPECS[spec.name] = (spec, owner)
    return function


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell-style pattern, sorted."""
    _load_catalogue()
    return sorted(name for name in _SPECS if fnmatchcase(name, pattern))


def model_spec(name: str) -> ModelSpec:
    """The spec of a registered model. Raises UsageError that names the nearest model."""
    _load_catalogue()
    if name not in _SPECS:
        raise UsageError(f"There is no model `{name}`.", hint=nearest(name, list(_SPECS), what="model"))
    return _SPECS[name][0]


def create_model(name: str, *, config: NetConfig | None = None, seed: int = 0, **overrides: Any) -> nn.Module:
    """A network with random, well-scaled weights: logits of a photograph have a standard deviation of order 1.

    The same name, config and seed give the same weights, and the global random state is neither read nor changed.

    Args:
        name: a registered model.
        config: used instead of the registered one; of the same class.
        seed: of the weights.
        overrides: fields of the config to change, such as `num_labels=9` or `dam=True`.
    Returns:
        The module in training mode, as PyTorch modules are born. forward(image, depth=None) gives logits (N, K, h, w).
    """
    return build_net(model_spec(name), config=config, seed=seed, **overrides)


def build_net(spec: ModelSpec, *, config: NetConfig | None = None, seed: int = 0, **overrides: Any) -> nn.Module:
    """`create_model` for a spec that need not be registered."""
    from .initialise import empty_net, initialise_

    resolved = spec.config if config is None else config
    if type(resolved) is not type(spec.config):
        raise UsageError(
            f"Model `{spec.name}` takes a {type(spec.config).__name__}; found a {type(resolved).__name__}."
        )
    resolved = resolved.with_overrides(**overrides)
    return initialise_(empty_net(net_class(spec), resolved), seed=seed)


def net_class(spec: ModelSpec) -> Callable[[Any], nn.Module]:
    """The network's class, imported now."""
    module, _, attribute = spec.entry.partition(":")
    return getattr(importlib.import_module(module, package=__package__), attribute)


def load_shipped(name: str) -> nn.Module:
    """A model with the weights that come with this package, in evaluation mode, float32.

    Raises:
        CheckpointError: there are none, or they do not fit.
    """
    spec = model_spec(name)
    path = spec.weights_path
    if path is None:
        raise CheckpointError(
            f"Model `{name}` comes without trained weights.",
            code="no-shipped-weights",
            hint="pass `checkpoint=` with yours; to measure size and shapes only, pass `random_weights=True`.",
        )
    from safetensors.torch import load_file

    from .initialise import empty_net
    from .weights_io import load_into

    return load_into(empty_net(net_class(spec), spec.config), load_file(str(path)), source=path.name).eval()


def _load_catalogue() -> None:
    """Register our own models on first use; a module imports once, so this is free afterwards."""
    importlib.import_module(".catalogue", package=__package__)
