"""Build public mobile architectures with seeded weights, full-sized or shrunk, for a test and a benchmark.

Four sources: `transformers` and the papers of `portrait_nets` are always there; `timm` and `torchvision` are run where
they can be imported. A backbone without a mask of its own gets the smallest head that looks at all of its maps.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.frontend import birefnet, portrait_nets


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        name: as its library or paper calls it, with the size that is meant.
        source: where its code comes from: `transformers`, `timm`, `torchvision` or `paper`.
        build: True gives the shrunk net, False the full-sized one; weights as the library draws them.
        size, small_size: sides of the pictures, in pixels.
        feeds: numbers for inputs other than the picture, by name: (shape, value).
        probability: whether the net gives P(person), not logits.
        activation: what a user says of the output, where the network's values do not tell: `--activation`.
        refused: words of the refusal, where the net gives no mask by itself.
        module: exported as a module (`--torch`), for what torch's tracing exporter cannot write.
    """

    name: str
    source: str
    build: Callable[[bool], nn.Module]
    size: int = 256
    small_size: int = 64
    feeds: tuple[tuple[str, tuple[int, ...], float], ...] = ()
    probability: bool = False
    activation: str = ""
    refused: str = ""
    module: bool = False

    @property
    def available(self) -> bool:
        """Whether its library is installed."""
        return self.source == "paper" or importlib.util.find_spec(self.source) is not None


def make(architecture: Architecture, *, small: bool) -> nn.Module:
    """The net in evaluation mode, with a mask output, and every weight random enough to matter."""
    side = architecture.small_size if small else architecture.size
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        net = architecture.build(small).eval()
        shake(net)
        generator = torch.Generator().manual_seed(1)
        pictures = torch.randn(2, 3, side, side, generator=generator)
        if not architecture.feeds and not architecture.refused:
            net = Masked(net, pictures[:1])
            settle(net, pictures)
    return net.eval()


def shake(net: nn.Module) -> None:
    """Give every weight a random value of a sensible scale, in place, each from a generator of its own name.

    Libraries start norms as identities, biases and class tokens at 0 and layer scales at 1e-6: a lowering that loses
    one of them would go unseen.
    """
    for name, tensor in net.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.numel() == 1:
            continue  # slopes, temperatures and learned powers keep the range that they are meant for
        if tensor.ndim >= 2 and math.prod(tensor.shape[1:]) > 1 and not name.endswith(("gamma", "lambda")):
            tensor.copy_(noise / math.sqrt(math.prod(tensor.shape[1:])))
        elif name.endswith("bias"):
            tensor.copy_(0.1 * noise)
        else:
            tensor.copy_(1 + 0.2 * noise)


def settle(net: nn.Module, pictures: Tensor) -> None:
    """Let every batch norm's running statistics be what it sees, so that signals keep their size through deep nets."""

    def observe(module: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)
        module.running_mean.copy_(x.mean(1))
        module.running_var.copy_(x.var(1) + 1e-3)

    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    norms = [module for module in net.modules() if isinstance(module, kinds) and module.track_running_stats]
    hooks = [module.register_forward_pre_hook(observe) for module in norms]
    net(pictures)
    for hook in hooks:
        hook.remove()


class Masked(nn.Module):
    """A net's own mask, or one made of all of its maps: a 1x1 convolution each, resized to the largest and summed."""

    def __init__(self, net: nn.Module, picture: Tensor):
        super().__init__()
        self.net = net
        found = net(picture)
        self.own = mask_of(found)
        if self.own:
            return
        maps = maps_of(found)
        heads = [nn.Conv2d(x.shape[1], 1, 1) for x in maps]
        self.heads = nn.ModuleList(heads)
        for head in heads:
            nn.init.normal_(head.weight, std=1 / math.sqrt(head.in_channels))

    def forward(self, image: Tensor) -> Any:
        found = self.net(image)
        if self.own:
            return pick(found, self.own)
        maps = [head(x) for head, x in zip(self.heads, maps_of(found), strict=True)]
        size = maps[0].shape[2:]
        total = maps[0]
        for x in maps[1:]:
            total = total + F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return total


MASKS = ("logits", "predicted_depth", "alphas", "out")  # what libraries call a map of the picture


def mask_of(found: Any) -> str:
    """Which entry of an output is a mask; empty where it holds feature maps."""
    if isinstance(found, Tensor):
        return "output" if found.ndim == 4 and found.shape[1] <= 2 else ""
    if isinstance(found, tuple) and isinstance(found[0], Tensor) and found[0].shape[1] == 1:
        return "first"
    names = found if isinstance(found, Mapping) else vars(found) if hasattr(found, "__dict__") else ()
    return next((name for name in MASKS if name in names and found[name] is not None), "")


def pick(found: Any, name: str) -> Tensor:
    """The mask, with an axis for its channels."""
    if name == "output":
        return found
    value = found[0] if name == "first" else found[name]
    return value[:, None] if value.ndim == 3 else value


def maps_of(found: Any) -> list[Tensor]:
    """Feature maps (N, C, h, w), the largest first. Tokens become a square, without the class tokens before them."""
    if isinstance(found, Tensor):
        maps = [found]
    elif isinstance(found, (list, tuple)):
        maps = list(found)
    elif found.get("feature_maps") is not None:
        maps = list(found.feature_maps)
    elif found.get("hidden_states") is not None:
        maps = [x for x in found.hidden_states if x.ndim == 4] or [found.last_hidden_state]
    else:
        maps = [found.last_hidden_state]
    maps = [square(x) if x.ndim == 3 else x for x in maps]
    return sorted(maps, key=lambda x: -x.shape[-1])


def square(tokens: Tensor) -> Tensor:
    """(N, L, D) as (N, D, h, h), with h² the largest square not above L; what comes before it is left out."""
    n, length, width = tokens.shape
    side = math.isqrt(length)
    return tokens[:, length - side * side :].transpose(1, 2).reshape(n, width, side, side)


# transformers: class, config, what the mobile net has, and what the shrunk one has instead


def _transformers(
    name: str,
    model: str,
    config: str,
    mobile: Mapping[str, Any],
    small: Mapping[str, Any],
    *,
    size: int = 256,
    small_size: int = 64,
    **more: Any,
) -> Architecture:
    def build(shrunk: bool) -> nn.Module:
        library = importlib.import_module("transformers")
        given = dict(small if shrunk else mobile)
        for part in {"backbone_config", "decoder_config"} & set(given):
            part_config, options = given[part]
            given[part] = getattr(library, part_config)(**options)
        kind = getattr(library, model)
        with mock.patch.object(sys.modules[kind.__module__], "requires_backends", create=True):  # scipy, for the loss
            net: nn.Module = kind(getattr(library, config)(**given))
        return Queries(net) if more.get("refused") else net

    return Architecture(name, "transformers", build, size, small_size, **more)


class Queries(nn.Module):
    """What networks of masks by query give: classes and a mask per query."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        found = self.net(image)
        names = ("class_queries_logits", "masks_queries_logits") if "masks_queries_logits" in found else QUERY_NAMES
        return found[names[0]], found[names[1]]


QUERY_NAMES = ("logits", "pred_masks")


FOUR = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
TWO_CLASSES = {"num_labels": 2}
TINY = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
TINY_VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
TINY_DETR = {
    "num_queries": 10, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2,
}  # fmt: skip
SEGFORMER = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16}

TRANSFORMERS = (
    _transformers(
        "MobileNetV1",
        "MobileNetV1Model",
        "MobileNetV1Config",
        {"output_hidden_states": True, "image_size": 256},
        {"output_hidden_states": True, "image_size": 64, "depth_multiplier": 0.25},
    ),
    _transformers(
        "MobileNetV2 + DeepLabV3+",
        "MobileNetV2ForSemanticSegmentation",
        "MobileNetV2Config",
        {**TWO_CLASSES, "output_stride": 8},
        {**TWO_CLASSES, "output_stride": 8, "depth_multiplier": 0.25},
    ),
    _transformers(
        "MobileViT-XXS + DeepLabV3",
        "MobileViTForSemanticSegmentation",
        "MobileViTConfig",
        {
            **TWO_CLASSES,
            "hidden_sizes": [64, 80, 96],
            "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320],
            "output_stride": 16,
        },
        {
            **TWO_CLASSES,
            "hidden_sizes": [16, 16, 24],
            "neck_hidden_sizes": [4, 4, 8, 8, 8, 8, 16],
            "output_stride": 16,
            "aspp_out_channels": 16,
            "num_attention_heads": 2,
        },
    ),
    _transformers(
        "EfficientNet-B0",
        "EfficientNetModel",
        "EfficientNetConfig",
        {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 256},
        {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320, "image_size": 64},
    ),
    _transformers(
        "SwiftFormer-XS",
        "SwiftFormerModel",
        "SwiftFormerConfig",
        {"output_hidden_states": True},
        {"output_hidden_states": True, "embed_dims": [8, 12, 16, 24], "depths": [2, 1, 1, 2]},
    ),
    _transformers(
        "LeViT-128S",
        "LevitModel",
        "LevitConfig",
        {"depths": [2, 3, 4], "num_attention_heads": [4, 6, 8]},
        {
            "image_size": 128,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        size=224,
        small_size=128,
    ),
    _transformers(
        "PVT-Tiny",
        "PvtModel",
        "PvtConfig",
        {},
        {"image_size": 64, "hidden_sizes": [8, 16, 20, 32], "depths": [1, 1, 1, 1], "mlp_ratios": [2, 2, 2, 2]},
        size=224,
    ),
    _transformers(
        "PVTv2-B0",
        "PvtV2Backbone",
        "PvtV2Config",
        FOUR,
        {**FOUR, "hidden_sizes": [8, 16, 20, 32], "depths": [1, 1, 1, 1], "mlp_ratios": [2, 2, 2, 2]},
    ),
    _transformers(
        "PVTv2-B0 linear",
        "PvtV2Backbone",
        "PvtV2Config",
        {**FOUR, "linear_attention": True},
        {**FOUR, "linear_attention": True, "hidden_sizes": [8, 16, 20, 32], "depths": [1, 1, 1, 1]},
        small_size=224,  # its attention pools to 7x7, from whole multiples
    ),
    _transformers("ConvNeXt-Tiny", "ConvNextBackbone", "ConvNextConfig", FOUR, {**FOUR, **TINY}),
    _transformers(
        "ConvNeXtV2-Atto",
        "ConvNextV2Backbone",
        "ConvNextV2Config",
        {**FOUR, "hidden_sizes": [40, 80, 160, 320], "depths": [2, 2, 6, 2]},
        {**FOUR, **TINY},
    ),
    _transformers(
        "RegNetY-400MF",
        "RegNetModel",
        "RegNetConfig",
        {
            "hidden_sizes": [48, 104, 208, 440],
            "depths": [1, 3, 6, 6],
            "groups_width": 8,
            "output_hidden_states": True,
        },
        {
            "embedding_size": 8,
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 2, 1],
            "groups_width": 8,
            "output_hidden_states": True,
        },
    ),
    _transformers(
        "ResNet-18",
        "ResNetBackbone",
        "ResNetConfig",
        {**FOUR, "layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]},
        {**FOUR, **TINY, "embedding_size": 8, "layer_type": "bottleneck"},
    ),
    _transformers(
        "SegFormer-B0",
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        TWO_CLASSES,
        {**TWO_CLASSES, **SEGFORMER, "num_attention_heads": [1, 2, 3, 4]},
    ),
    _transformers(
        "GLPN on MiT-B0",
        "GLPNForDepthEstimation",
        "GLPNConfig",
        {},
        {**SEGFORMER, "num_attention_heads": [1, 2, 3, 4]},
        activation="logits",  # it gives meters, 0 to 10
    ),
    _transformers(
        "PoolFormer-S12",
        "PoolFormerModel",
        "PoolFormerConfig",
        {"output_hidden_states": True},
        {"output_hidden_states": True, **TINY},
    ),
    _transformers(
        "FocalNet-Tiny",
        "FocalNetBackbone",
        "FocalNetConfig",
        {**FOUR, "embed_dim": 96, "hidden_sizes": [192, 384, 768, 768]},
        {**FOUR, "embed_dim": 8, "hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 2, 1], "image_size": 64},
    ),
    _transformers(
        "CvT-13",
        "CvtModel",
        "CvtConfig",
        {"output_hidden_states": True},
        {
            "output_hidden_states": True,
            "embed_dim": [16, 32, 48],
            "num_heads": [1, 2, 3],
            "depth": [1, 2, 3],  # each stage reads its drop rate at its own index
        },
    ),
    _transformers(
        "Swin-Tiny",
        "SwinBackbone",
        "SwinConfig",
        {**FOUR, "image_size": 224},
        {**FOUR, "image_size": 64, "embed_dim": 8, "num_heads": [1, 2, 2, 4], "depths": [2, 2, 2, 2], "window_size": 4},
        size=224,
    ),
    _transformers(
        "Swin-Tiny, windows padded",
        "SwinBackbone",
        "SwinConfig",
        {**FOUR, "image_size": 256},
        {**FOUR, "image_size": 64, "embed_dim": 8, "num_heads": [1, 2, 2, 4], "depths": [2, 1, 1, 1], "window_size": 7},
    ),
    _transformers(
        "SwinV2-Tiny",
        "Swinv2Backbone",
        "Swinv2Config",
        {**FOUR, "image_size": 256, "window_size": 8},
        {**FOUR, "image_size": 64, "embed_dim": 8, "num_heads": [1, 2, 2, 4], "depths": [2, 2, 1, 1], "window_size": 4},
    ),
    _transformers(
        "BiT-50",
        "BitBackbone",
        "BitConfig",
        {**FOUR, "global_padding": "same"},
        {**FOUR, **TINY, "embedding_size": 8, "num_groups": 4, "global_padding": "same"},
    ),
    _transformers(
        "DINOv2-Small",
        "Dinov2Backbone",
        "Dinov2Config",
        {
            "hidden_size": 384,
            "num_attention_heads": 6,
            "image_size": 518,
            "out_features": ["stage3", "stage6", "stage12"],
        },
        {**TINY_VIT, "mlp_ratio": 2, "image_size": 112, "patch_size": 14, "out_features": ["stage1", "stage3"]},
        size=252,
        small_size=56,
    ),
    _transformers(
        "Depth Anything Small",
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        {
            "backbone_config": (
                "Dinov2Config",
                {
                    "hidden_size": 384,
                    "num_attention_heads": 6,
                    "image_size": 518,
                    "reshape_hidden_states": False,
                    "out_features": ["stage3", "stage6", "stage9", "stage12"],
                },
            )
        },
        {
            "backbone_config": (
                "Dinov2Config",
                {
                    **TINY_VIT,
                    "num_hidden_layers": 4,
                    "mlp_ratio": 2,
                    "image_size": 112,
                    "reshape_hidden_states": False,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
            ),
            "reassemble_hidden_size": 32,
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 8,
            "head_hidden_size": 8,
        },
        activation="logits",  # it gives a relative depth, never negative
        size=252,
        small_size=56,
    ),
    _transformers(
        "DPT on ViT-Small",
        "DPTForSemanticSegmentation",
        "DPTConfig",
        {**TWO_CLASSES, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "image_size": 256},
        {
            **TWO_CLASSES,
            **TINY_VIT,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "image_size": 64,
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 8,
        },
    ),
    _transformers(
        "DeiT-Tiny",
        "DeiTModel",
        "DeiTConfig",
        {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
        {**TINY_VIT, "image_size": 64},
        size=224,
    ),
    _transformers(
        "BEiT + UPerNet",
        "BeitForSemanticSegmentation",
        "BeitConfig",
        {
            **TWO_CLASSES,
            "hidden_size": 192,
            "num_attention_heads": 3,
            "intermediate_size": 768,
            "use_relative_position_bias": True,
            "out_indices": [3, 5, 7, 11],
            "reshape_hidden_states": False,
            "image_size": 384,
        },
        {
            **TWO_CLASSES,
            **TINY_VIT,
            "num_hidden_layers": 4,
            "use_relative_position_bias": True,
            "out_indices": [1, 2, 3, 4],
            "reshape_hidden_states": False,
            "image_size": 192,
        },
        size=384,  # so that the pyramid's pools into 3 and 6 come out even, as torch's exporter needs them
        small_size=192,
    ),
    _transformers(
        "UPerNet on ConvNeXt",
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        {
            **TWO_CLASSES,
            "backbone_config": ("ConvNextConfig", {**FOUR, "hidden_sizes": [40, 80, 160, 320], "depths": [2, 2, 6, 2]}),
            "hidden_size": 128,
            "use_auxiliary_head": False,
        },
        {
            **TWO_CLASSES,
            "backbone_config": ("ConvNextConfig", {**FOUR, **TINY}),
            "hidden_size": 16,
            "use_auxiliary_head": False,
        },
        size=384,
        small_size=192,
    ),
    _transformers(
        "TextNet-Tiny",
        "TextNetBackbone",
        "TextNetConfig",
        {
            **FOUR,
            "conv_layer_kernel_sizes": [
                [[3, 3], [3, 3], [3, 3]],
                [[3, 3], [1, 3], [3, 3], [3, 1]],
                [[3, 3], [3, 3], [3, 1], [1, 3]],
                [[3, 3], [3, 1], [1, 3], [3, 3]],
            ],
            "conv_layer_strides": [[1, 2, 1], [2, 1, 1, 1], [2, 1, 1, 1], [2, 1, 1, 1]],
        },
        {
            **FOUR,
            "stem_out_channels": 8,
            "hidden_sizes": [8, 8, 16, 16, 24],
            "conv_layer_kernel_sizes": [[[3, 3], [3, 3]], [[1, 3]], [[3, 1]], [[3, 3]]],
            "conv_layer_strides": [[1, 2], [2], [2], [2]],
        },
    ),
    _transformers(
        "HGNetV2-B0",
        "HGNetV2Backbone",
        "HGNetV2Config",
        {
            **FOUR,
            "stem_channels": [3, 16, 16],
            "stage_in_channels": [16, 64, 256, 512],
            "stage_mid_channels": [16, 32, 64, 128],
            "stage_out_channels": [64, 256, 512, 1024],
            "stage_num_blocks": [1, 1, 2, 1],
            "stage_numb_of_layers": [3, 3, 3, 3],
            "use_learnable_affine_block": True,
        },
        {
            **FOUR,
            "stem_channels": [3, 8, 8],
            "stage_in_channels": [8, 16, 16, 24],
            "stage_mid_channels": [4, 4, 8, 8],
            "stage_out_channels": [16, 16, 24, 32],
            "stage_num_blocks": [1, 1, 1, 1],
            "stage_numb_of_layers": [2, 2, 2, 2],
            "use_learnable_affine_block": True,
        },
    ),
    _transformers(
        "PP-LCNet", "PPLCNetBackbone", "PPLCNetConfig", {"out_features": ["stage2", "stage3", "stage4", "stage5"]},
        {"out_features": ["stage2", "stage3", "stage4", "stage5"], "scale": 0.25},
    ),
    _transformers(
        "RT-DETR ResNet-18",
        "RTDetrResNetBackbone",
        "RTDetrResNetConfig",
        {**FOUR, "layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]},
        {**FOUR, **TINY, "embedding_size": 8, "layer_type": "basic", "depths": [1, 1, 1, 1]},
    ),
    _transformers(
        "ViTDet",
        "VitDetBackbone",
        "VitDetConfig",
        {
            "hidden_size": 192,
            "num_attention_heads": 3,
            "window_block_indices": [0, 1, 3, 4, 6, 7, 9, 10],
            "window_size": 14,
            "use_relative_position_embeddings": True,
            "image_size": 256,
            "pretrain_image_size": 224,
        },
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "window_block_indices": [0, 2],
            "window_size": 3,
            "use_relative_position_embeddings": True,
            "image_size": 64,
            "pretrain_image_size": 64,
        },
    ),
    _transformers(
        "DINOv3 ConvNeXt-Tiny",
        "DINOv3ConvNextBackbone",
        "DINOv3ConvNextConfig",
        FOUR,
        {**FOUR, **TINY},
    ),
    _transformers(
        "Hiera-Tiny",
        "HieraBackbone",
        "HieraConfig",
        {**FOUR, "depths": [1, 2, 7, 2]},
        {**FOUR, "depths": [1, 1, 1, 1], "embed_dim": 8, "num_heads": [1, 1, 2, 2], "image_size": [64, 64]},
        size=224,
    ),
    _transformers(
        "UPerNet on Swin-Tiny, bins that do not divide",
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        {
            **TWO_CLASSES,
            "backbone_config": ("SwinConfig", {**FOUR, "image_size": 256}),
            "hidden_size": 128,
            "use_auxiliary_head": False,
        },
        {
            **TWO_CLASSES,
            "backbone_config": (
                "SwinConfig",
                {
                    **FOUR,
                    "image_size": 128,
                    "embed_dim": 8,
                    "num_heads": [1, 1, 2, 2],
                    "depths": [1, 1, 1, 1],
                    "window_size": 4,
                },
            ),
            "hidden_size": 16,
            "use_auxiliary_head": False,
        },
        small_size=128,  # 4x4 at the pyramid, pooled to 1, 2, 3 and 6
        module=True,
    ),
    _transformers(
        "MobileViTv2-0.5 + DeepLabV3",
        "MobileViTV2ForSemanticSegmentation",
        "MobileViTV2Config",
        {**TWO_CLASSES, "width_multiplier": 0.5},
        {
            **TWO_CLASSES,
            "width_multiplier": 0.25,
            "n_attn_blocks": [1, 1, 1],
            "base_attn_unit_dims": [32, 48, 64],
            "aspp_out_channels": 16,
        },
        small_size=128,
        module=True,  # its folds came with opset 18
    ),
    _transformers(
        "Data2VecVision + UPerNet",
        "Data2VecVisionForSemanticSegmentation",
        "Data2VecVisionConfig",
        {
            **TWO_CLASSES,
            "hidden_size": 192,
            "num_attention_heads": 3,
            "intermediate_size": 768,
            "use_relative_position_bias": True,
            "image_size": 384,
        },
        {
            **TWO_CLASSES,
            **TINY_VIT,
            "num_hidden_layers": 4,
            "use_relative_position_bias": True,
            "out_indices": [1, 2, 3, 4],
            "image_size": 192,
        },
        size=384,
        small_size=192,
    ),
    _transformers(
        "DINOv2-Small with registers",
        "Dinov2WithRegistersBackbone",
        "Dinov2WithRegistersConfig",
        {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "out_features": ["stage6", "stage12"]},
        {**TINY_VIT, "mlp_ratio": 2, "image_size": 112, "patch_size": 14, "out_features": ["stage1", "stage3"]},
        size=252,
        small_size=56,
        module=True,  # its positions are resized with antialiasing
    ),
    _transformers(
        "DINOv3 ViT-Small",
        "DINOv3ViTBackbone",
        "DINOv3ViTConfig",
        {"out_features": ["stage6", "stage12"], "num_register_tokens": 4},
        {**TINY_VIT, "image_size": 64, "num_register_tokens": 2, "out_features": ["stage1", "stage3"]},
    ),
    _transformers(
        "PP-LCNetV3",
        "PPLCNetV3Backbone",
        "PPLCNetV3Config",
        {"out_features": ["stage2", "stage3", "stage4", "stage5"]},
        {"out_features": ["stage2", "stage3", "stage4", "stage5"], "scale": 0.25},
    ),
    _transformers(
        "PP-LCNetV4",
        "PPLCNetV4Backbone",
        "PPLCNetV4Config",
        {"out_features": ["stage1", "stage2", "stage3", "stage4"]},
        {"out_features": ["stage1", "stage2", "stage3", "stage4"]},
    ),
    _transformers(
        "ZoeDepth on BEiT",
        "ZoeDepthForDepthEstimation",
        "ZoeDepthConfig",
        {
            "backbone_config": (
                "BeitConfig",
                {
                    "hidden_size": 192,
                    "num_attention_heads": 3,
                    "intermediate_size": 768,
                    "use_relative_position_bias": True,
                    "reshape_hidden_states": False,
                    "image_size": 256,
                    "out_features": ["stage3", "stage6", "stage9", "stage12"],
                },
            ),
            "bin_configurations": [{"n_bins": 64, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
        },
        {
            "backbone_config": (
                "BeitConfig",
                {
                    **TINY_VIT,
                    "num_hidden_layers": 4,
                    "use_relative_position_bias": True,
                    "reshape_hidden_states": False,
                    "image_size": 64,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
            ),
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 16,
            "bottleneck_features": 16,
            "num_relative_features": 8,
            "bin_embedding_dim": 16,
            "bin_configurations": [{"n_bins": 16, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
        },
        activation="logits",  # it gives meters
    ),
    _transformers(
        "MaskFormer on Swin-Tiny",
        "MaskFormerForInstanceSegmentation",
        "MaskFormerConfig",
        {"backbone_config": ("MaskFormerSwinConfig", {**FOUR, "image_size": 256})},
        {
            "backbone_config": (
                "MaskFormerSwinConfig",
                {**FOUR, "image_size": 64, "embed_dim": 8, "num_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1]},
            ),
            "decoder_config": ("DetrConfig", {**TINY_DETR, "d_model": 32}),
            "fpn_feature_size": 32,
            "mask_feature_size": 32,
        },
        refused="quer",
    ),
    _transformers(
        "EoMT",
        "EomtForUniversalSegmentation",
        "EomtConfig",
        {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 3, "image_size": 256, "num_queries": 50},
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_blocks": 1,
            "image_size": 64,
            "num_queries": 10,
        },
        refused="quer",
    ),
    _transformers(
        "Mask2Former on Swin-Tiny",
        "Mask2FormerForUniversalSegmentation",
        "Mask2FormerConfig",
        {"backbone_config": ("SwinConfig", {**FOUR, "image_size": 256})},
        {
            "backbone_config": (
                "SwinConfig",
                {**FOUR, "image_size": 64, "embed_dim": 8, "num_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1]},
            ),
            "feature_size": 32,
            "mask_feature_size": 32,
            "hidden_dim": 32,
            "encoder_feedforward_dim": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "num_attention_heads": 2,
            "dim_feedforward": 32,
            "num_queries": 10,
        },
        refused="quer",
        module=True,  # ONNX Runtime refuses the trace
    ),
)  # fmt: skip


def _birefnet(shrunk: bool) -> nn.Module:
    """BiRefNet-lite: on Swin-T at 1024x1024; here at 256, as the papers' other nets are."""
    library = importlib.import_module("transformers")
    small = {"image_size": 64, "embed_dim": 8, "num_heads": [1, 2, 2, 4], "depths": [1, 1, 1, 1], "window_size": 4}
    backbone = library.SwinBackbone(library.SwinConfig(**{**FOUR, **(small if shrunk else {"image_size": 256})}))
    width = 8 if shrunk else 96
    kernels = (1, 3) if shrunk else (1, 3, 7)
    return birefnet.BiRefNet(
        backbone, (width, 2 * width, 4 * width, 8 * width), inner=16 if shrunk else 64, kernels=kernels
    )


# timm and torchvision by their own names, and the papers


def _timm(name: str, *, size: int = 256, **options: Any) -> Architecture:
    def build(shrunk: bool) -> nn.Module:
        timm = importlib.import_module("timm")
        return timm.create_model(name, pretrained=False, features_only=True, exportable=True, **options)

    return Architecture(name, "timm", build, size, size)


def _torchvision(name: str) -> Architecture:
    def build(shrunk: bool) -> nn.Module:
        segmentation = importlib.import_module("torchvision.models.segmentation")
        return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=2)

    return Architecture(name, "torchvision", build)


def _paper(
    name: str,
    net: str,
    *,
    width: int = 32,
    small: Mapping[str, Any] | None = None,
    size: int = 256,
    small_size: int = 64,
    **more: Any,
) -> Architecture:
    def build(shrunk: bool) -> nn.Module:
        return getattr(portrait_nets, net)(**({"width": 8, **(small or {})} if shrunk else {"width": width}))

    return Architecture(name, "paper", build, size, small_size, **more)


RVM_INPUTS = (
    *((f"r{index}", (1, 1, 1, 1), 0.0) for index in (1, 2, 3)),
    ("downsample_ratio", (1,), 0.5),
)

PAPERS = (
    _paper("MODNet", "ModNet", width=16, probability=True),
    _paper(
        "U²-Net",
        "U2Net",
        width=64,
        small={"plan": ((4, True), (3, True), (3, False))},
        small_size=75,  # odd, so that its pools round up
        probability=True,
    ),
    _paper("BiSeNet", "BiSeNet"),
    _paper("PP-HumanSeg", "PpHumanSeg", probability=True),
    _paper("LR-ASPP", "LrAspp", width=16),
    _paper("DeepLabV3+", "DeepLabV3Plus"),
    _paper("PSPNet", "PspNet", size=192, small_size=48),
    _paper("PSPNet, bins that do not divide", "PspNet", size=160, small_size=80, module=True),
    _paper("RVM", "Rvm", width=16, small_size=96, feeds=RVM_INPUTS, probability=True),
)

TIMM = tuple(
    _timm(name)
    for name in (
        "mobilenetv3_small_100",
        "mobilenetv4_conv_small",
        "mobilenetv4_hybrid_medium",
        "efficientnet_lite0",
        "mobileone_s0",
        "repvit_m0_9",
        "fastvit_t8",
        "ghostnet_100",
        "ghostnetv2_100",
        "edgenext_xx_small",
        "mobilevit_xxs",
        "mobilevitv2_050",
        "mnasnet_small",
        "lcnet_050",
        "tinynet_e",
        "fbnetv3_b",
        "hrnet_w18_small",
        "hgnetv2_b0",
        "efficientvit_b0",
        "shvit_s1",
        "repghostnet_050",
        "inception_next_atto",
        "rdnet_tiny",
        "dla34",
        "regnetz_b16",
        "caformer_s18",
        "pvt_v2_b0",
    )
) + tuple(_timm(name, size=224) for name in ("efficientformer_l1", "efficientformerv2_s0", "tiny_vit_5m_224"))

TORCHVISION = tuple(
    _torchvision(name) for name in ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50")
)

BIREFNET = Architecture("BiRefNet-lite", "transformers", _birefnet, 256, 128)
ARCHITECTURES = (*TRANSFORMERS, *PAPERS, BIREFNET, *TIMM, *TORCHVISION)
