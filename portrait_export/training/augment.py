"""Augment batches of photographs and masks: backgrounds, clothes, geometry, colours, defects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..calibration.dataset import find_items, resize_photo
from ..imaging.photo import open_photo
from .clothes import redress
from .config import AugmentConfig
from .foreground import MIDDLE, blur, foreground, without_person

TRUSTED = 0.999  # of interpolated trust
BACKGROUND_SIDE = 512  # pixels; backgrounds are kept in memory at this size


class Augment(nn.Module):
    """Changes batches. Kornia does the common changes, to image and mask alike, on whole batches and on the device.

    forward takes and gives {"image": (N, 3, S, S), "mask" and "trust": (N, 1, S, S), optionally "depth": (N, 1, S, S)},
    float32 in 0..1. The random draws depend only on the seed.
    """

    def __init__(self, config: AugmentConfig):
        super().__init__()
        self.config = config
        self.geometry = _geometry(config)
        self.defects = _defects(config)
        self.backgrounds = load_backgrounds(config.backgrounds) if config.backgrounds else None

    @torch.no_grad()
    def forward(self, batch: dict[str, Tensor], seed: tuple[int, ...]) -> dict[str, Tensor]:
        """Change a batch.

        Args:
            seed: non-negative numbers; the same ones draw the same changes.
        """
        with seeded(seed, batch["image"].device):
            image, maps = batch["image"], [batch["mask"], batch["trust"]]
            image, rest = self._turn(image, torch.cat([*maps, *([batch["depth"]] if "depth" in batch else [])], 1))
            mask, trust, depth = rest[:, :1], (rest[:, 1:2] > TRUSTED).float(), rest[:, 2:]
            image = self._redress(image, mask)
            image, depth = self._replace(image, mask, depth)
            image = self.defects(image).clamp(0, 1)
            image = self._darken(image)
            image, depth, trust = self._blend(image, depth, trust)
        out = {"image": image, "mask": mask, "trust": trust}
        return out if "depth" not in batch else {**out, "depth": depth}

    def _turn(self, image: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Flip, rotate and scale the photograph and everything that belongs to it in the same way."""
        image, maps = self.geometry(image, maps)
        return image.clamp(0, 1), maps.clamp(0, 1)

    def _redress(self, image: Tensor, mask: Tensor) -> Tensor:
        """Put some people into other clothes."""
        chosen = (torch.rand(len(image), device=image.device) < self.config.clothes).nonzero()[:, 0]
        if not len(chosen):
            return image
        image = image.clone()
        image[chosen] = redress(image[chosen], mask[chosen])
        return image

    def _darken(self, image: Tensor) -> Tensor:
        """Darken some photographs and add the noise of low light."""
        chosen = (torch.rand(len(image), 1, 1, 1, device=image.device) < self.config.dark).to(image.dtype)
        exponent = torch.empty_like(chosen).uniform_(1.2, 2.2)
        dark = image.clamp(min=1e-4) ** exponent * torch.empty_like(chosen).uniform_(0.5, 1.0)
        dark = (dark + 0.04 * torch.randn_like(image) * torch.rand_like(chosen)).clamp(0, 1)
        return image + chosen * (dark - image)

    def _blend(self, image: Tensor, depth: Tensor, trust: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Blend some photographs with others of the batch (Zhang et al., mixup, ICLR 2018); no mask is right there."""
        chosen = (torch.rand(len(image), 1, 1, 1, device=image.device) < self.config.blend).to(image.dtype)
        if not chosen.any():
            return image, depth, trust
        other = torch.randperm(len(image), device=image.device)
        share = chosen * torch.rand_like(chosen)
        image, depth = (x.lerp(x[other], share) for x in (image, depth))
        return image, depth, trust * (1 - chosen)

    def _replace(self, image: Tensor, mask: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Put other backgrounds behind some people; they are at depth 0, far away."""
        chosen = (torch.rand(len(image), device=image.device) < self.config.replace).nonzero()[:, 0]
        if not len(chosen):
            return image, depth
        alpha = mask[chosen]
        person = foreground(image[chosen], alpha)
        backdrop = self._backdrops(image, mask, len(chosen))
        image, depth = image.clone(), depth.clone()
        image[chosen] = alpha * person + (1 - alpha) * backdrop
        depth[chosen] = alpha * depth[chosen]
        return image, depth

    def _backdrops(self, image: Tensor, mask: Tensor, count: int) -> Tensor:
        """`count` backgrounds: pictures of the folder, other photographs without their people, and smooth colours."""
        size = image.shape[-1]
        others = torch.randint(len(image), (count,), device=image.device)
        scenes = without_person(image[others], mask[others])
        if self.backgrounds is not None:
            picks = torch.randint(len(self.backgrounds), (count,))
            stored = self.backgrounds[picks].to(image.device, image.dtype) / 255
            pictures = F.interpolate(stored, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
            use = torch.rand(count, 1, 1, 1, device=image.device) < 0.6
            scenes = torch.where(use, pictures, scenes)
        plain = smooth_colours(count, size, image.device)
        scenes = torch.where(torch.rand(count, 1, 1, 1, device=image.device) < 0.25, plain, scenes)
        out_of_focus = blur(scenes, size / 64)
        return torch.where(torch.rand(count, 1, 1, 1, device=image.device) < 0.3, out_of_focus, scenes)


def _geometry(config: AugmentConfig) -> Any:
    import kornia.augmentation as K

    return K.AugmentationSequential(
        K.RandomHorizontalFlip(p=config.flip),
        K.RandomAffine(
            degrees=config.rotate,
            translate=(0.1, 0.1),
            scale=(1 / config.scale, config.scale),
            padding_mode="reflection",
            align_corners=False,
            p=0.7 if config.rotate or config.scale > 1 else 0.0,
        ),
        data_keys=["input", "mask"],
        extra_args={},  # masks are soft: bilinear like the photograph, not Kornia's nearest neighbour
    )


def _defects(config: AugmentConfig) -> Any:
    import kornia.augmentation as K

    c = config.colour
    parts: list[tuple[float, nn.Module]] = [
        (c, K.ColorJiggle(c, c, c, min(0.5, 0.25 * c), p=0.8)),
        (c, K.RandomGamma((1 / (1 + c), 1 + c), p=0.3)),
        (config.gray, K.RandomGrayscale(p=config.gray)),
        (config.clahe, K.RandomClahe(p=config.clahe)),
        (config.blur, K.RandomGaussianBlur((5, 5), (0.4, 1.6), p=config.blur / 2)),
        (config.blur, K.RandomMotionBlur(5, 90.0, 1.0, p=config.blur / 2)),
        (config.sharpen, K.RandomSharpness(1.0, p=config.sharpen)),
        (config.noise, K.RandomGaussianNoise(std=0.03, p=config.noise)),
    ]
    # Kornia computes some changes of probability 0, and throws them away: CLAHE takes as long as all others.
    return nn.Sequential(*(part for chance, part in parts if chance))


@contextmanager
def seeded(seed: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """Seed torch's global random stream inside the block, and restore it afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        yield


# ---- backgrounds ---------------------------------------------------------------------------------------------------


def smooth_colours(count: int, size: int, device: torch.device) -> Tensor:
    """(count, 3, size, size) plain colours and soft gradients, from torch's global stream."""
    field = F.interpolate(
        torch.rand(count, 3, 4, 4, device=device), size=(size, size), mode="bicubic", align_corners=True
    )
    strength = torch.rand(count, 1, 1, 1, device=device) ** 2
    return (torch.rand(count, 3, 1, 1, device=device) + (field - MIDDLE) * strength).clamp(0, 1)


def load_backgrounds(folder: str | Path) -> Tensor:
    """All pictures of a folder as (M, 3, 512, 512) uint8: the middle square of each.

    Raises:
        DataError, PhotoError: there are none, or one cannot be read.
    """
    items, _ = find_items(folder)
    pictures = []
    for item in items:
        pixels = open_photo(item.image).pixels
        side = min(pixels.shape[:2])
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
        pictures.append(resize_photo(square, (BACKGROUND_SIDE, BACKGROUND_SIDE)).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(pictures))
