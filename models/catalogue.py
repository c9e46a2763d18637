"""List the registered models as data.

CATALOGUE has one ModelSpec per model. A network is imported when it is built.
"""

from __future__ import annotations

from .config import EfficientNetFPNConfig, SegformerConfig, SernetConfig, SersegConfig
from .spec import ModelSpec

# Weights that are good enough for head-and-shoulders portraits alone; their cards say how they fail elsewhere.
PORTRAITS = ("portrait",)
# TensorFlow's Lite models were trained on (x − 127) / 128.
EFFICIENTNET_LITE_MEAN = (127 / 255,) * 3
EFFICIENTNET_LITE_STD = (128 / 255,) * 3
SEGFORMER_PAPER = "SegFormer, https://arxiv.org/abs/2105.15203"
SERNET_PAPER = "SERNet-Former, https://arxiv.org/abs/2401.15741"
EFFICIENTNET_PAPER = "EfficientNet-Lite, https://arxiv.org/abs/1905.11946; FPN, https://arxiv.org/abs/1612.03144"
DAM_PAPER = "Dual attention, https://arxiv.org/abs/1809.02983"

CATALOGUE = (
    ModelSpec(
        name="lite0_fpn",
        config=EfficientNetFPNConfig(),
        entry=".efficientnet_fpn:EfficientNetFPN",
        description="mobile CNN: EfficientNet-Lite0 under a small feature pyramid; logits at 1/2",
        mean=EFFICIENTNET_LITE_MEAN,
        std=EFFICIENTNET_LITE_STD,
        paper=EFFICIENTNET_PAPER,
        licence="MIT; the encoder started from ImageNet weights under Apache-2.0",
        weights="lite0_fpn.safetensors",
        params=3_122_257,
        gmacs=2.23,
    ),
    ModelSpec(
        name="sernet_former",
        config=SernetConfig(),
        entry=".sernet:SernetFormer",
        description="convolutional encoder with gates, DbN and AfN; logits at full size",
        paper=SERNET_PAPER,
        kinds=PORTRAITS,
        weights="sernet_former.safetensors",
        params=9_234_710,
        gmacs=56.69,
        published=(("ms", 33.0), ("iou", 97.5), ("params_m", 9.2), ("size_mb", 35.0)),
    ),
    ModelSpec(
        name="segformer_b0",
        config=SegformerConfig(),
        entry=".segformer:Segformer",
        description="Mix Transformer B0 under the all-MLP head; logits at 1/4",
        paper=SEGFORMER_PAPER,
        kinds=PORTRAITS,
        weights="segformer_b0.safetensors",
        params=3_714_401,
        gmacs=7.76,
        published=(("ms", 13.0), ("iou", 98.0), ("params_m", 3.7), ("size_mb", 14.0)),
    ),
    ModelSpec(
        name="serseg_b0_abg_dbn_depth",
        config=SersegConfig(abg=True, dbn=True, depth=True, upsample=False),
        entry=".serseg:Serseg",
        description="SERSeg: SegFormer-B0 with AbG, DbN and a depth channel; logits at 1/4",
        paper=SERNET_PAPER,
        weights="serseg_b0_abg_dbn_depth.safetensors",
        params=3_884_455,
        gmacs=8.91,
        published=(("ms", 16.0), ("params_m", 4.5), ("size_mb", 15.0)),
    ),
    ModelSpec(
        name="serseg_b0",
        config=SersegConfig(),
        entry=".serseg:Serseg",
        description="SERSegFormer: SegFormer-B0 with the DConv decoder; logits at full size",
        paper=SERNET_PAPER,
        kinds=PORTRAITS,
        weights="serseg_b0.safetensors",
        params=3_898_787,
        gmacs=27.1,
        published=(("ms", 24.0), ("iou", 98.3), ("params_m", 3.9), ("size_mb", 15.0)),
    ),
    ModelSpec(
        name="serseg_b0_dam",
        config=SersegConfig(abg=True, dbn=True, dam=True),
        entry=".serseg:Serseg",
        description="SERSegFormer with DConv, AbG, DbN and DAM; logits at full size",
        paper=f"{SERNET_PAPER}; {DAM_PAPER}",
        kinds=PORTRAITS,
        weights="serseg_b0_dam.safetensors",
        params=4_177_333,
        gmacs=29.42,
        published=(("ms", 28.0), ("params_m", 4.2), ("size_mb", 15.0)),
    ),
    ModelSpec(
        name="serseg_b0_dam_depth",
        config=SersegConfig(abg=True, dbn=True, dam=True, depth=True),
        entry=".serseg:Serseg",
        description="SERSegFormer with DConv, AbG, DbN, DAM and a depth channel; logits at full size",
        paper=f"{SERNET_PAPER}; {DAM_PAPER}",
        weights="serseg_b0_dam_depth.safetensors",
        params=4_187_475,
        gmacs=29.49,
        published=(("ms", 28.0), ("params_m", 4.2), ("size_mb", 15.0)),
    ),
    # AfN in the SERSeg decoder, that is the one without DConv: the reference's `serseg_afn_noup`.
    ModelSpec(
        name="serseg_b0_afn",
        config=SersegConfig(afn=True, upsample=False),
        entry=".serseg:Serseg",
        description="SERSeg decoder with attention fusion (AfN) on all four stages; logits at 1/4",
        paper=SERNET_PAPER,
        kinds=PORTRAITS,
        weights="serseg_b0_afn.safetensors",
        params=7_050_739,
        gmacs=10.57,
    ),
)
