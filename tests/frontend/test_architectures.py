"""Public mobile architectures, shrunk and with random weights, keep their numbers from ONNX file to package.

The whole table at full size, timm and torchvision included, is benchmarks/architectures.py.
"""

from __future__ import annotations

import pytest

from tests.frontend.architecture_parity import measure
from tests.frontend.architectures import ARCHITECTURES

PSNR_DB = 60.0  # of the package against ONNX Runtime; the lowest of these gives 93.7 (MobileNetV2)
SPREAD = 0.01  # least standard deviation over the pixels: a flat map would prove nothing

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
EXPORTED = (
    "MobileNetV2 + DeepLabV3+",
    "EfficientNet-B0",
    "SwiftFormer-XS",
    "LeViT-128S",
    "PVTv2-B0 linear",
    "ConvNeXtV2-Atto",
    "RegNetY-400MF",
    "ResNet-18",
    "SegFormer-B0",
    "PoolFormer-S12",
    "DINOv2-Small",
    "DeiT-Tiny",
    "TextNet-Tiny",
    "HGNetV2-B0",
    "PP-LCNet",
    "MODNet",
    "U²-Net",
    "BiSeNet",
    "PP-HumanSeg",
    "LR-ASPP",
    "DeepLabV3+",
    "PSPNet",
    "PSPNet, bins that do not divide",  # a module: torch.export captures it
    "RVM",
    "Hiera-Tiny",  # attends inside windows of windows: six dimensions
)


@pytest.mark.parametrize("name", EXPORTED)
def test_a_public_architecture_keeps_its_numbers(name, tmp_path):
    outcome = measure(BY_NAME[name], tmp_path, small=True)
    assert outcome.refusal == ""
    assert outcome.spread > SPREAD
    assert outcome.psnr_db >= PSNR_DB


def test_masks_by_query_are_refused_by_name(tmp_path):
    outcome = measure(BY_NAME["MaskFormer on Swin-Tiny"], tmp_path, small=True)
    assert outcome.psnr_db is None
    assert "is segmentation by queries, as MaskFormer's: 10 masks" in outcome.refusal
