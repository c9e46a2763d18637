"""MiDaS v2.1 small, a depth estimator.

Image (N, 3, H, W) → relative inverse depth (N, H, W).
https://arxiv.org/abs/1907.01341 and release v2_1 of github.com/isl-org/MiDaS (MIT): EfficientNet-Lite3 under
RefineNet's fusion, 64 to 512 channels wide. The state dict's keys are those of `midas_v21_small_256.pt`, which is also
called `model-small-70d6b9c8.pt`. It is not a portrait model, so it is not registered as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from .blocks.efficientnet_lite import LITE3, EfficientNetLite
from .blocks.refinement import FeatureFusion

WIDTHS = (64, 128, 256, 512)  # of the four maps in the decoder
SIZE_MULTIPLE = 32  # of the input's sides


class MidasDecoder(nn.Module):
    """The encoder's four maps → (N, 1, H, W), 0 or more; from the deepest map to the shallowest."""

    def __init__(self) -> None:
        super().__init__()
        for i, (channels, width) in enumerate(zip(LITE3.channels[1:], WIDTHS, strict=True), start=1):
            self.add_module(f"layer{i}_rn", nn.Conv2d(channels, width, 3, padding=1, bias=False))
            out_channels = WIDTHS[max(i - 2, 0)]  # the width of the next shallower map
            self.add_module(f"refinenet{i}", FeatureFusion(channels=width, out_channels=out_channels))
        self.output_conv = nn.Sequential(
            nn.Conv2d(64, 32, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        projected = [self.get_submodule(f"layer{i}_rn")(x) for i, x in enumerate(maps, start=1)]
        x = self.get_submodule("refinenet4")(projected[3])
        for i in (3, 2, 1):
            x = self.get_submodule(f"refinenet{i}")(x, projected[i - 1])
        return F.relu(self.output_conv(x))


class MidasSmall(nn.Module):
    """MiDaS v2.1 small.

    forward takes (N, 3, H, W), RGB in 0..1 normalised by ImageNet's mean and std, sides multiples of SIZE_MULTIPLE; it
    gives (N, H, W), 0 or more: inverse depth up to an unknown scale and shift, larger is nearer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pretrained = EfficientNetLite(variant=LITE3)
        self.scratch = MidasDecoder()

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise UsageError(f"MiDaS takes sides that are multiples of {SIZE_MULTIPLE}; found {height}x{width}.")
        return self.scratch(self.pretrained(image)[1:]).squeeze(1)
