"""List and open the registered networks from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arguments import StrPath
from .checked import checked

if TYPE_CHECKING:
    from torch import nn

    from ..capture.checkpoint import LoadedCheckpoint


@checked
def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the registered models that match a shell-style pattern, sorted."""
    from ..models import list_models as run

    return run(pattern)


@checked
def create_model(name: str, *, seed: int = 0) -> nn.Module:
    """Build a registered network with well-scaled random weights.

    The same seed gives the same weights; the global random state is neither read nor changed.

    Args:
        name: a registered model, see `list_models`.
        seed: of the weights.
    Returns:
        The module in training mode. forward(image, depth=None) takes (N, 3, H, W) and (N, 1, H, W) float32, and gives
        logits (N, K, h, w).
    Raises:
        UsageError: an unknown name.
    """
    from ..models import create_model as run

    return run(name, seed=seed)


@checked
def load_checkpoint(path: StrPath, model: str | None = None) -> LoadedCheckpoint:
    """Load a published or trained checkpoint. Nothing in it is ever executed.

    Args:
        path: a Hugging Face folder, .safetensors, .bin, .pth, .pt or .ckpt.
        model: the registered model; may be left out if the checkpoint tells which one it is.
    Returns:
        The frozen result: `module` (evaluation mode, float32), `spec` and `provenance`.
    Raises:
        CheckpointError: the weights cannot be read or do not fit, with every key that does not.
    """
    from ..capture.checkpoint import load_checkpoint as run

    return run(path, model)
