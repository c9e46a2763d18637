"""Find registered models by name and build their networks. Listing models imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, UsageError, nearest
from ..utils.names import with_article
from .catalogue import CATALOGUE
from .config import NetConfig
from .spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

_SPECS: dict[str, tuple[ModelSpec, str]] = {}  # name → (spec, who registered it)


def _add(spec: ModelSpec, owner: str) -> None:
    if spec.name in _SPECS:
        raise UsageError(f"Model `{spec.name}` of {owner} is already registered by {_SPECS[spec.name][1]}.")
    _SPECS[spec.name] = (spec, owner)


for _spec in CATALOGUE:
    _add(_spec, "portrait_export.models.catalogue")


def register_model(function: Callable[[], ModelSpec]) -> Callable[[], ModelSpec]:
    """Register the ModelSpec that the decorated function returns. Raises UsageError for a name that is taken."""
    _add(function(), f"{function.__module__}.{function.__qualname__}")
    return function


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell-style pattern, sorted."""
    return sorted(name for name in _SPECS if fnmatchcase(name, pattern))


def model_spec(name: str) -> ModelSpec:
    """The spec of a registered model. Raises UsageError that names the nearest model."""
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
            f"Model `{spec.name}` takes {with_article(type(spec.config).__name__)};"
            f" found {with_article(type(resolved).__name__)}."
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
            code="no-bundled-weights",
            hint="pass `checkpoint=` with yours; to measure size and shapes only, pass `random_weights=True`.",
        )
    from safetensors.torch import load_file

    from .initialise import empty_net
    from .weights_io import load_into

    return load_into(empty_net(net_class(spec), spec.config), load_file(str(path)), source=path.name).eval()
