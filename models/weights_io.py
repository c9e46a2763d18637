"""Load weights into networks, and save them.

Whatever does not fit is reported in one error.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .config import NetConfig

Net = TypeVar("Net", bound=nn.Module)
CLASSIFIERS = ("decode_head.classifier.weight", "decoder.cls_head.weight")
BACKBONES = ("segformer", "sersegformer")
LISTED = 12  # keys of a kind that an error lists; it says how many more there are


def load_into(net: Net, state: Mapping[str, Tensor], *, source: str) -> Net:
    """Copy a checkpoint's tensors into a network, as float32; all of them or none.

    Args:
        net: its tensors may be uninitialized.
        state: under the network's names. `num_batches_tracked` may be missing: nothing reads it at inference.
        source: what to call the checkpoint in errors.
    Raises:
        CheckpointError: missing, unexpected and mis-shaped keys, all at once; or weights that are not finite numbers.
    """
    target = net.state_dict()
    _check_fit(target, state, source=source)
    with torch.no_grad():
        for key, tensor in target.items():
            tensor.copy_(state[key]) if key in state else tensor.zero_()
    return net


def load_encoder(net: Net, state: Mapping[str, Tensor], *, source: str) -> Net:
    """Copy only the encoder's tensors, to start training from; the rest of the network stays as it is.

    Args:
        net: a SegFormer or SERSeg, whose other tensors are initialized. If it takes depth and the checkpoint does
            not, the depth channel's weights start at 0, so that the encoder computes what it did without it.
        state: under our names (see `remap.canonical`), with or without a head.
    Raises:
        CheckpointError: as `load_into`, about the encoder's keys.
    """
    from .remap import with_backbone

    name = backbone_name(net)
    if name is None:
        raise CheckpointError(f"{type(net).__name__} has no Mix Transformer encoder to load {source} into.")
    prefix = f"{name}.encoder."
    target = {key: tensor for key, tensor in net.state_dict().items() if key.startswith(prefix)}
    own = {key: tensor for key, tensor in with_backbone(dict(state), name).items() if key.startswith(prefix)}
    own = {key: _with_depth(tensor, target[key]) if key in target else tensor for key, tensor in own.items()}
    _check_fit(target, own, source=source)
    with torch.no_grad():
        for key, tensor in target.items():
            tensor.copy_(own[key])
    return net


def _with_depth(weight: Tensor, target: Tensor) -> Tensor:
    """A patch convolution's weight [D, C, k, k] with one more input channel of zeros, if that makes it fit."""
    wider = (*weight.shape[:1], weight.shape[1] + 1, *weight.shape[2:]) if weight.dim() == 4 else None
    if wider != tuple(target.shape):
        return weight
    return torch.cat([weight, torch.zeros_like(weight[:, :1])], dim=1)


def save_folder(
    net: nn.Module, folder: str | os.PathLike[str], *, positive: str = "person", half: bool = False
) -> Path:
    """Write a network as a checkpoint folder (config.json, model.safetensors) that `load_checkpoint` reads back.

    Args:
        net: one of ours, with its `config`.
        folder: made if it is not there; files of these names in it are replaced.
        positive: the class that a single logit is about.
        half: store floating-point weights as float16.
    Returns:
        The file of weights.
    """
    from safetensors.torch import save_file

    from .config_json import config_to_json

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    state = to_store(net.state_dict(), half=half)
    described = config_to_json(cast(NetConfig, net.config), positive=positive)
    for name, write in (
        ("model.safetensors", lambda path: save_file(state, path)),
        ("config.json", lambda path: Path(path).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")),
    ):
        partial = target / f".{name}.partial"
        write(str(partial))
        partial.replace(target / name)  # a reader never sees half a file
    return target / "model.safetensors"


def to_store(state: Mapping[str, Tensor], *, half: bool) -> dict[str, Tensor]:
    """A network's tensors as a file holds them: contiguous, on the CPU, floating-point ones as float16 with `half`."""
    return {
        key: (tensor.half() if half and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for key, tensor in state.items()
    }


def backbone_name(net: nn.Module) -> str | None:
    """`segformer` or `sersegformer`, whichever holds the network's encoder; None for networks without one."""
    return next((name for name in BACKBONES if hasattr(net, name)), None)


def _check_fit(target: Mapping[str, Tensor], state: Mapping[str, Tensor], *, source: str) -> None:
    missing = [key for key in target if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in target]
    shapes = [key for key in target if key in state and state[key].shape != target[key].shape]
    dtypes = [
        key for key in target if key in state and target[key].is_floating_point() and not state[key].is_floating_point()
    ]
    lines = [
        *_classes(target, state, shapes),
        *_listed("missing", [f"{key} {list(target[key].shape)}" for key in missing]),
        *_listed("unexpected", [f"{key} {list(state[key].shape)}" for key in unexpected]),
        *_listed(
            "mis-shaped",
            [f"{key}: {list(state[key].shape)} in the checkpoint, {list(target[key].shape)} here" for key in shapes],
        ),
        *_listed("not floating point", [f"{key}: {state[key].dtype}" for key in dtypes]),
    ]
    if lines:
        raise CheckpointError(
            f"{source} does not fit the network: {len(missing)} keys missing, {len(unexpected)} unexpected,"
            f" {len(shapes)} mis-shaped.",
            code="checkpoint-mismatch",
            context=lines,
            hint=_advice(missing, target, state),
        )
    bad = [
        f"{key}: {count} of {state[key].numel()} values"
        for key in target
        if key in state and (count := int((~torch.isfinite(state[key])).sum()))
    ]
    if bad:
        raise CheckpointError(
            f"{source} holds NaN or infinite weights in {len(bad)} tensors.",
            code="not-finite",
            context=_listed("not finite", bad),
            hint="the training diverged or the file is damaged; take an earlier checkpoint.",
        )


def _classes(target: Mapping[str, Tensor], state: Mapping[str, Tensor], shapes: list[str]) -> list[str]:
    """The line about a wrong number of classes, if that is the difference."""
    return [
        f"different number of classes: the checkpoint has {state[key].shape[0]}, the network {target[key].shape[0]}"
        for key in CLASSIFIERS
        if key in shapes and state[key].dim() > 0 and state[key].shape[0] != target[key].shape[0]
    ]


def _advice(missing: list[str], target: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    head = [key for key in target if key.startswith("decode_head.") and not key.endswith("num_batches_tracked")]
    if head and set(missing) == set(head):
        return "it holds only the encoder, as published for pretraining; there is no head to segment with."
    if len(missing) == len([key for key in target if not key.endswith("num_batches_tracked")]):
        return "none of the network's keys is in it: this is a checkpoint of another architecture."
    return "give the model that the checkpoint was trained as, or put its config.json next to it."


def _listed(kind: str, lines: list[str]) -> list[str]:
    more = [f"{kind}: … and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return [f"{kind}: {line}" for line in lines[:LISTED]] + more


def weights_sha256(net: nn.Module) -> str:
    """A hash of every tensor's name, type, shape and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        array = tensor.detach().cpu().numpy()
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
