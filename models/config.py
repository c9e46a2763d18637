"""Define the networks' frozen configurations: every switch and every width."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import UsageError, nearest


@dataclass(frozen=True)
class NetConfig:
    """The fields of every network.

    Attributes:
        num_labels: K, the channels of the logits. 1 means one logit of the positive class.
    """

    num_labels: int = 1

    def __post_init__(self) -> None:
        if self.num_labels < 1:
            raise UsageError(f"{type(self).__name__}.num_labels must be at least 1; found {self.num_labels}.")

    @property
    def takes_depth(self) -> bool:
        """Whether forward needs a depth map in addition to the image."""
        return False

    @property
    def size_multiple(self) -> int:
        """What the input's height and width must be multiples of, in pixels."""
        return 1

    def with_overrides(self, **overrides: Any) -> Any:
        """The same configuration with some fields changed. Raises UsageError that names the nearest field."""
        known = [field.name for field in fields(self)]
        unknown = sorted(set(overrides) - set(known))
        if unknown:
            raise UsageError(
                f"{type(self).__name__} has no field {', '.join(unknown)}.",
                hint=nearest(unknown[0], known, what="field"),
            )
        return replace(self, **overrides)


@dataclass(frozen=True)
class SegformerConfig(NetConfig):
    """SegFormer: a Mix Transformer encoder with an all-MLP head. The defaults are B0.

    https://arxiv.org/abs/2105.15203, table 6. Tuples hold one value per stage.

    Attributes:
        in_channels: channels of the image.
        hidden_sizes: width C of each stage's tokens.
        depths: blocks per stage.
        heads: attention heads; the width of a head is C / heads.
        sr_ratios: R, the factor by which a side of the key/value map is reduced.
        mlp_ratios: hidden width of the Mix-FFN over C.
        patch_sizes, strides: of the overlapping patch convolution; padding is patch_size // 2.
        decoder_width: channels of the fused map in the head.
        layer_norm_eps: of the norms in and after the blocks. 1e-5 in transformers and the research system, which
            ignore the value in config.json; 1e-6 in mmseg and in the authors' own code.
        embed_norm_eps: of the norms after the patch convolutions and the key/value reductions. 1e-5; mmseg: 1e-6.
        projection_relu: a ReLU after each stage's projection in the head, as in mmseg's SegformerHead.
        drop_path: stochastic depth, growing linearly from 0 to this over the blocks. Training only.
        hidden_dropout, attention_dropout, head_dropout: training only.
    """

    in_channels: int = 3
    hidden_sizes: tuple[int, ...] = (32, 64, 160, 256)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    sr_ratios: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)
    patch_sizes: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    decoder_width: int = 256
    layer_norm_eps: float = 1e-5
    embed_norm_eps: float = 1e-5
    projection_relu: bool = False
    drop_path: float = 0.1
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    head_dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        per_stage = ("hidden_sizes", "depths", "heads", "sr_ratios", "mlp_ratios", "patch_sizes", "strides")
        wrong = [f"{name} = {getattr(self, name)}" for name in per_stage if len(getattr(self, name)) != 4]
        if wrong:
            raise UsageError("The encoder has four stages; some fields hold another number of values.", context=wrong)
        indivisible = [
            f"stage {i}: width {c} does not divide into {h} heads"
            for i, (c, h) in enumerate(zip(self.hidden_sizes, self.heads, strict=True))
            if h < 1 or c % h
        ]
        if indivisible:
            raise UsageError("Every stage's width must divide by its number of heads.", context=indivisible)


@dataclass(frozen=True)
class SersegConfig(SegformerConfig):
    """SERSeg / SERSegFormer: SegFormer with SERNet-Former's attention ideas, each with its own switch.

    Attributes:
        abg: attention-boosting gates in the encoder (no parameters).
        dbn: dilation-based network on the first two stages' outputs.
        afn: attention-fusion networks on all four stages' outputs.
        dam: dual (channel and spatial) attention module on the first stage's output.
        upsample: the DConv decoder, which brings the logits to the input's size; without it they are at 1/4.
        depth: forward takes (image, depth), and every stage sees the depth map at its own scale.
        upsample_width: channels of the DConv decoder.
    """

    abg: bool = False
    dbn: bool = False
    afn: bool = False
    dam: bool = False
    upsample: bool = True
    depth: bool = False
    upsample_width: int = 64

    @property
    def takes_depth(self) -> bool:
        return self.depth

    @property
    def size_multiple(self) -> int:
        # Depth is resized by exactly 1/4, 1/8, 1/16; afn_final shrinks the half-size map by 4 and brings it back.
        if self.depth:
            return 16
        return 8 if self.afn and self.upsample else 1


@dataclass(frozen=True)
class SernetConfig(NetConfig):
    """SERNet-Former, as the research system builds it: a plain convolutional encoder with gates, DbN and AfN."""

    @property
    def size_multiple(self) -> int:
        return 16


@dataclass(frozen=True)
class EfficientNetFPNConfig(NetConfig):
    """EfficientNet-Lite0 with a small feature pyramid. Tuples go from the shallowest level to the deepest.

    Attributes:
        widths: channels of the pyramid at 1/2, 1/4, 1/8, 1/16 and 1/32.
        blocks, kernels: separable convolutions and the side of their kernels, at 1/2 to 1/16.
        head_dropout: before the classifier.
    """

    widths: tuple[int, ...] = (24, 48, 64, 96, 128)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    kernels: tuple[int, ...] = (3, 3, 5, 5)
    head_dropout: float = 0.1

    @property
    def size_multiple(self) -> int:
        return 32  # the encoder's padding is that of sides which every stride divides

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = {"widths": 5, "blocks": 4, "kernels": 4}
        wrong = [
            f"{name} = {getattr(self, name)}: {length} values are needed"
            for name, length in lengths.items()
            if len(getattr(self, name)) != length
        ]
        if wrong:
            raise UsageError("The pyramid has five levels; some fields hold another number of values.", context=wrong)
