"""What the user points at — a model's name, a checkpoint, random weights — in; a network ready for export out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..preprocessing import PortraitSpec

if TYPE_CHECKING:
    import torch

    from ..capture.foreign.network import ForeignNetwork
    from ..capture.foreign.options import ForeignOptions


@dataclass(frozen=True)
class ModelSource:
    """Which network with which weights.

    Attributes:
        model: a registered name; may be left out if the checkpoint says which network it is.
        checkpoint: a file or folder with weights to use instead of the shipped ones.
        random_weights: take well-scaled random weights, seed 0, even where trained ones are shipped.
        size: (height, width) in pixels; None takes the model's own.
        foreign: a network of the user's own instead of a registered one.
    """

    model: str | None = None
    checkpoint: Path | None = None
    random_weights: bool = False
    size: tuple[int, int] | None = None
    foreign: ForeignOptions | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode and what is known of it.

    Attributes:
        name: the registered name, or the checkpoint's.
        module: float32, evaluation mode; gives logits (1, 1, h, w) about `spec.positive`. None for a foreign network.
        spec: preprocessing at the size asked for.
        trained: False for random weights, whose masks mean nothing.
        licence, paper: of the network.
        provenance: where the weights came from, for metadata and reports.
        foreign: the user's own network, where it is one.
    """

    name: str
    module: torch.nn.Module | Any
    spec: PortraitSpec
    trained: bool
    licence: str
    paper: str
    provenance: Mapping[str, str] = field(default_factory=dict)
    foreign: ForeignNetwork | None = None

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        if self.foreign is not None:
            return self.foreign.parameters
        return sum(p.numel() for p in self.module.parameters())


def load_model(source: ModelSource) -> LoadedModel:
    """Build the network and load its weights. Random ones only where they are asked for: see `trained`.

    Raises:
        UsageError: neither a model nor a checkpoint, or options that exclude one another, or a size it cannot take.
        CheckpointError: the weights cannot be read or do not fit, or the model comes without any.
    """
    _require_utf8_names(source)
    if source.foreign is not None:
        return _foreign(source)
    if source.model is None and source.checkpoint is None:
        raise UsageError(
            "Which model? Neither --model nor --checkpoint is given.",
            hint="try `--model serseg_b0`; `portrait-export models` lists them all.",
        )
    if source.checkpoint is not None and source.random_weights:
        raise UsageError("--checkpoint and --random-weights exclude one another.")
    if source.checkpoint is not None:
        return _from_checkpoint(source)
    return _registered(source)


def _require_utf8_names(source: ModelSource) -> None:
    """Raise UsageError for a file whose name cannot be written into a package, which says what it was made from."""
    files = [source.checkpoint, None if source.foreign is None else source.foreign.file]
    for file in files:
        if file is not None and file.name != file.name.encode(errors="ignore").decode():
            raise UsageError(f"The name of the file {file} is not UTF-8.", hint="give the file another name.")


def _foreign(source: ModelSource) -> LoadedModel:
    from ..capture.foreign.network import load_foreign

    assert source.foreign is not None
    if source.model is not None or source.random_weights:
        flag = "--model" if source.model is not None else "--random-weights"
        raise UsageError(
            f"{flag} is about registered models; --onnx, --torch and --torchscript bring a network of yours."
        )
    network = load_foreign(replace(source.foreign, size=source.size or source.foreign.size), source.checkpoint)
    return LoadedModel(
        name=network.name,
        module=None,
        spec=network.spec,
        trained=True,
        licence="",
        paper="",
        provenance=network.provenance,
        foreign=network,
    )


def _registered(source: ModelSource) -> LoadedModel:
    from ..models.registry import create_model, load_shipped, model_spec

    assert source.model is not None
    spec = model_spec(source.model)
    if source.random_weights:
        module, origin = create_model(source.model, seed=0).eval(), "random, seed 0"
    else:
        module, origin = load_shipped(source.model), f"shipped, {spec.weights}"
    return LoadedModel(
        name=spec.name,
        module=module,
        spec=_sized(spec.portrait_spec(), source, spec.config.size_multiple),
        trained=not source.random_weights,
        licence=spec.licence,
        paper=spec.paper,
        provenance={"model": spec.name, "weights": origin, "weights_sha256": weights_sha256(module)},
    )


def _from_checkpoint(source: ModelSource) -> LoadedModel:
    from ..capture.checkpoint import load_checkpoint

    assert source.checkpoint is not None
    loaded = load_checkpoint(source.checkpoint, source.model)
    module = loaded.person_module()
    return LoadedModel(
        name=loaded.spec.name,
        module=module,
        spec=_sized(loaded.spec.portrait_spec(), source, loaded.config.size_multiple),
        trained=True,
        licence=loaded.spec.licence,
        paper=loaded.spec.paper,
        provenance={
            "model": loaded.spec.name,
            "weights": f"checkpoint {loaded.provenance['checkpoint']}",
            "checkpoint_sha256": loaded.provenance["sha256"],
            "weights_sha256": weights_sha256(module),
        },
    )


def _sized(spec: PortraitSpec, source: ModelSource, multiple: int) -> PortraitSpec:
    height, width = source.size or (spec.height, spec.width)
    if height % multiple or width % multiple:
        raise UsageError(
            f"This network takes sides that are multiples of {multiple} pixels; found {height}x{width}.",
            hint=f"the nearest size is {_nearest(height, multiple)}x{_nearest(width, multiple)}.",
        )
    return spec.with_size(height, width)


def _nearest(side: int, multiple: int) -> int:
    return max(multiple, round(side / multiple) * multiple)


def weights_sha256(module: Any) -> str:
    """A hash of every weight's name, shape and float32 bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().cpu().numpy()
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
