"""Start a network with the outputs of another one.

The other is a smaller or larger one of its family. The idea is that of Net2Net (https://arxiv.org/abs/1511.05641): new
modules are added next to the existing ones, with weight 0 on their results, or as an identity. Training then only has
to find out how to use the new modules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from .blocks.dam import DAM, DualAttention
from .config import SegformerConfig, SersegConfig
from .remap import with_backbone
from .serseg import Serseg, SersegHead
from .weights_io import backbone_name, load_encoder

PROJECTION = re.compile(r"decode_head\.linear_c\.(\d)\.proj\.weight")
BOOSTED_NORM = re.compile(r"\.(patch_embeddings\.\d\.layer_norm|attention\.self\.layer_norm)\.(weight|bias)$")
BOOSTED_DENSE = re.compile(r"\.mlp\.dense2\.weight$")
CLASSIFIER = "decode_head.classifier"
BOOST_GAIN = 3 / 2  # of x + x·σ(x) at 0
MEAN_ATTENTION = 1 / 2  # σ(0)


def grow(net: nn.Module, state: Mapping[str, Tensor], *, source: str, abg: bool = False) -> list[str]:
    """Load the tensors of a smaller or larger SegFormer or SERSeg into a network, in place.

    DbN, AfN, DAM and depth change nothing at first. The DConv decoder enlarges the smaller network's logits (not with
    AfN, which comes between its blocks). AbG has no weights that could cancel it; where one network has it and the
    other does not, its gain goes out of or into the tensors next to it, and both compute nearly the same. What DbN, AfN
    and DAM of a larger network give is left out: where they still change nothing, the smaller one computes the same.

    Args:
        net: a SegFormer or SERSeg, whose tensors are initialized.
        state: under our names (see `remap.canonical`); its encoder must fit, so either both take depth or neither, or
            `net` alone does.
        abg: whether `state` is of a network with AbG, which has no tensors.
    Returns:
        The names of the tensors that stayed as they were.
    Raises:
        CheckpointError: the encoder does not fit, or `net` has none.
    """
    load_encoder(net, state, source=source)
    backbone = backbone_name(net)
    assert backbone is not None  # load_encoder has checked
    own = net.state_dict()
    given = with_backbone(dict(state), backbone)
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    config = cast(SegformerConfig, net.config)
    new_depth = int(config.takes_depth and not _saw_depth(given, backbone))
    for key, value in given.items():
        projection = PROJECTION.fullmatch(key)
        if projection and key in own:
            depth = new_depth if int(projection[1]) < 3 else 0  # the last stage's map gets no depth
            fitting[key] = _fit_projection(value, like=own[key], depth=depth)
    net.load_state_dict(fitting, strict=False)
    with torch.no_grad():
        if has_abg(net) != abg:
            _carry_boost(net, 1 if abg else -1)
        if _newly_enlarges(config, given):
            _carry_logits(net, given[f"{CLASSIFIER}.weight"], given[f"{CLASSIFIER}.bias"])
        if not any(".dam." in key for key in given):
            for module in net.modules():
                if isinstance(module, DAM):
                    _pass_through(module)
    return sorted(set(own) - set(fitting))


def _saw_depth(state: Mapping[str, Tensor], backbone: str) -> bool:
    return state[f"{backbone}.encoder.patch_embeddings.0.proj.weight"].shape[1] > 3


def _fit_projection(weight: Tensor, *, like: Tensor, depth: int) -> Tensor:
    """Widen a projection [D, C] to [D, C'] with zeros, or cut it: modules' channels come first, depth channels last."""
    # Padding by a negative number cuts.
    return nn.functional.pad(weight, (like.shape[1] - weight.shape[1] - depth, depth))


def has_abg(net: nn.Module) -> bool:
    """Whether a network has attention-boosting gates."""
    return isinstance(net, Serseg) and net.config.abg


def _carry_boost(net: nn.Module, power: int) -> None:
    """Multiply the tensors next to the gates by their gain to a power: -1 for gates that are new, 1 for lost ones."""
    for key, tensor in net.state_dict().items():
        if BOOSTED_NORM.search(key):
            tensor *= BOOST_GAIN**power
        elif BOOSTED_DENSE.search(key):
            tensor *= 2.0**power  # GELU(h) + h·σ(h) is nearly 2·GELU(h)


def _newly_enlarges(config: SegformerConfig, given: Mapping[str, Tensor]) -> bool:
    """Whether the network gets the DConv decoder behind a classifier that had none."""
    enlarges = isinstance(config, SersegConfig) and config.upsample and not config.afn
    return enlarges and f"{CLASSIFIER}.weight" in given and not any(".upsample1." in key for key in given)


def _carry_logits(net: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Make the upsampling blocks pass on the logits of a classifier before them, in their first channels.

    A channel is each class's logit and one its negative, since PReLU(x) − PReLU(−x) = (1 + slope)·x.

    Args:
        weight, bias: of that classifier: (K, decoder_width), (K,).
    """
    head = cast(SersegHead, net.decode_head)
    classes = len(weight)
    if classes != len(head.classifier.weight) or 2 * classes > head.upsample2.conv.out_channels:
        return
    weight, bias = torch.cat([weight, -weight]), torch.cat([bias, -bias])
    for block in (head.upsample1, head.upsample2):
        carried = slice(0, 2 * classes)
        block.conv.weight[carried] = 0
        block.conv.weight[carried, :, 1, 1] = weight
        cast(Tensor, block.bn.running_mean)[carried], cast(Tensor, block.bn.running_var)[carried] = 0, 1
        block.bn.weight[carried], block.bn.bias[carried] = math.sqrt(1 + block.bn.eps), bias
        logits = torch.zeros(classes, block.conv.out_channels)
        logits[:, :classes] = torch.eye(classes) / (1 + block.relu.weight)
        logits[:, classes : 2 * classes] = -logits[:, :classes]
        weight, bias = torch.cat([logits, -logits]), torch.zeros(2 * classes)
    head.classifier.weight.copy_(logits)
    head.classifier.bias.zero_()


def _pass_through(dam: DAM) -> None:
    """Make every convolution pass on its half of the channels; attention is σ(0), and its gain is divided out."""
    for dual in dam.dam:
        assert isinstance(dual, DualAttention)
        first = 0
        for attention in (dual.cam, dual.sam):
            convolution, last = attention.conv, attention.attn[-2]
            channels = convolution.out_channels
            convolution.weight.zero_()
            for i in range(channels):
                convolution.weight[i, first + i, 1, 1] = 1 / (1 + MEAN_ATTENTION)
            for parameter in (convolution.bias, *last.parameters()):
                if parameter is not None:
                    parameter.zero_()
            first += channels
