"""Write the values that PortraitKit's tests must reproduce: `python -m tests.ios_demo.fixtures`.

Each file is one table of named cases. Arrays are base64 of little-endian uint8 or float32.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from portrait_export.imaging import compose
from portrait_export.imaging.foreground import blur, person_colors
from portrait_export.imaging.guided import add_detail
from portrait_export.imaging.photo import Photo
from portrait_export.imaging.placement import mask_back, place, place_map, to_frame
from portrait_export.inputs.sizes import closest
from portrait_export.models.registry import list_models
from portrait_export.preprocessing import RESIZES, PortraitSpec
from portrait_export.verify import metrics

from .random_draws import SplitMix64, digest
from .reference import Smoother, without_islands

FOLDER = Path(__file__).parents[2] / "ios_demo" / "Tests" / "PortraitKitTests" / "Fixtures"
Table = list[dict[str, Any]]


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON: its shape and base64 of its bytes."""
    assert array.dtype in (np.uint8, np.float32)
    raw = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"shape": list(array.shape), "base64": raw}


# ---- what the tables are made from --------------------------------------------------------------------------------


def portrait(height: int, width: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A soft-edged disc on a ramp with noise: (H, W, 3) uint8, and its mask (H, W) float32 of 8-bit steps."""
    rows, columns = np.mgrid[0:height, 0:width]
    distance = np.hypot((rows - 0.6 * height) / (0.4 * height), (columns - 0.5 * width) / (0.3 * width))
    mask = np.round(np.clip((1.15 - distance) / 0.3, 0, 1) * 255) / 255
    ramp = np.stack([rows * 200 // height, columns * 200 // width, 200 - rows * 200 // height], axis=-1)
    mixed = mask[..., None] * np.array([224, 172, 140]) + (1 - mask[..., None]) * ramp
    noise = SplitMix64(seed).bytes(height, width, 3) % 24
    return np.clip(np.floor(mixed) + noise, 0, 255).astype(np.uint8), mask.astype(np.float32)


def photo_sizes() -> Iterator[tuple[int, int]]:
    """Ordinary, odd, tiny and extreme sizes."""
    yield from [(3024, 4032), (4000, 3000), (512, 512), (300, 200), (201, 100), (97, 211)]
    yield from [(1, 1), (1, 64), (64, 1), (1, 5000), (5000, 1), (2, 3), (500, 4), (7, 1023)]


# ---- tables -------------------------------------------------------------------------------------------------------


def placements() -> Table:
    """Every policy over ordinary, odd, tiny and extreme sizes."""
    rows = []
    for photo in photo_sizes():
        for frame in [(512, 512), (64, 64), (384, 256), (33, 65), (1, 1)]:
            for policy in RESIZES:
                placed = place(photo, frame, policy)
                boxes = [list(vars(box).values()) for box in (placed.source, placed.target)]
                rows.append({"photo": photo, "frame": frame, "policy": policy, "source": boxes[0], "target": boxes[1]})
    return rows


def closest_sizes() -> Table:
    """Which of a package's input sizes suits a photo."""
    listed = [(256, 256), (512, 512), (512, 384), (384, 512), (1024, 768)]
    return [
        {"photo": photo, "sizes": sizes, "closest": closest(sizes, photo)}
        for photo in [*photo_sizes(), (400, 300), (600, 450), (2000, 1500)]
        for sizes in (listed, listed[::-1], listed[:1])
    ]


def resampling() -> Table:
    """8-bit pictures through Pillow: larger, smaller, both, one axis alone, a region, one pixel."""
    shapes = {  # name: (height, width, channels), region, target, filter
        "smaller": ((37, 53, 3), None, (11, 17), "bilinear"),
        "larger": ((9, 7, 3), None, (31, 40), "bilinear"),
        "narrower_and_higher": ((16, 40, 3), None, (29, 13), "bilinear"),
        "columns_alone": ((12, 30, 3), None, (12, 7), "bilinear"),
        "rows_alone": ((30, 12, 3), None, (7, 12), "bilinear"),
        "same_size": ((8, 9, 3), None, (8, 9), "bilinear"),
        "of_one_pixel": ((1, 1, 3), None, (5, 4), "bilinear"),
        "to_one_pixel": ((23, 31, 3), None, (1, 1), "bilinear"),
        "very_flat": ((1, 300, 3), None, (3, 64), "bilinear"),
        "region": ((40, 50, 3), (5, 8, 36, 49), (16, 12), "bilinear"),
        "region_of_the_targets_size": ((20, 20, 3), (4, 3, 14, 15), (10, 12), "bilinear"),
        "gray": ((33, 21, 1), None, (12, 30), "bilinear"),
        "alpha": ((19, 23, 4), None, (8, 9), "bilinear"),
        "cubic_larger": ((9, 7, 3), None, (31, 40), "bicubic"),
        "cubic_smaller": ((40, 33, 3), None, (13, 12), "bicubic"),
        "cubic_region": ((40, 33, 3), (3, 2, 30, 31), (22, 25), "bicubic"),
    }
    return [_resampled(name, *shape, seed=i) for i, (name, shape) in enumerate(shapes.items())]


def _resampled(
    name: str,
    shape: tuple[int, int, int],
    region: tuple[int, int, int, int] | None,
    target: tuple[int, int],
    method: str,
    seed: int,
) -> dict[str, Any]:
    pixels = SplitMix64(seed).bytes(*shape)
    top, left, bottom, right = region or (0, 0, *shape[:2])
    seen = pixels[top:bottom, left:right]
    planes = [  # channel by channel: Pillow multiplies RGBA by its alpha first, PortraitKit resamples samples
        np.asarray(Image.fromarray(np.ascontiguousarray(seen[..., channel])).resize(target[::-1], _FILTERS[method]))
        for channel in range(shape[2])
    ]
    return {
        "name": name,
        "seed": seed,
        "shape": shape,
        "region": region,
        "filter": method,
        "expected": packed(np.stack(planes, axis=-1)),
    }


_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def frames() -> Table:
    """Photos placed into frames, depth maps of other resolutions with them, and masks brought back."""
    rows = []
    for seed, (photo, frame, depth) in enumerate(
        [((30, 44), (16, 16), (30, 44)), ((9, 5), (16, 20), (4, 7)), ((1, 60), (12, 12), (2, 30))]
    ):
        for policy in RESIZES:
            draws = SplitMix64(seed)
            pixels, values, mask = draws.bytes(*photo, 3), draws.units(*depth), draws.units(*frame)
            spec = PortraitSpec(height=frame[0], width=frame[1], resize=policy)
            made, placed = to_frame(Photo(pixels), spec)
            rows.append(
                {
                    "seed": seed,
                    "photo": photo,
                    "frame": frame,
                    "depth": depth,
                    "policy": policy,
                    "image": packed(made.image),
                    "placedDepth": packed(place_map(values, placed)),
                    "maskBack": packed(mask_back(mask, placed)),
                }
            )
    return rows


def orientations() -> Table:
    """The eight EXIF orientations, by Pillow's own transposes."""
    turn = Image.Transpose
    turns = [None, turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM, turn.TRANSPOSE, turn.ROTATE_270]
    turns += [turn.TRANSVERSE, turn.ROTATE_90]
    stored = Image.fromarray(SplitMix64(7).bytes(3, 5, 3))
    uprights = [stored if how is None else stored.transpose(how) for how in turns]
    return [
        {"exif": i, "seed": 7, "stored": (3, 5), "upright": packed(np.asarray(picture))}
        for i, picture in enumerate(uprights, start=1)
    ]


def specs() -> Table:
    """The spec of every registered model, and others that packages of the user's own networks have."""
    named = {name: _spec_of(name) for name in list_models()}
    base = PortraitSpec()
    named |= {
        "foreign_modnet": replace(base, scale=1 / 127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0)),
        "foreign_bgr_logits": replace(base, color="bgr", output="logits", positive="background", resize="fit"),
        "foreign_odd_size": replace(base, height=321, width=17, resize="crop", output="multiarray", threshold=0.35),
        "foreign_fill": replace(base, resize="fill", std=(1e-3, 58.395, 2.0)),
    }
    return [{"name": name, "json": spec.to_json(), "fields": spec.to_dict()} for name, spec in named.items()]


def refused_specs() -> Table:
    """Texts that are not specs, and the words that their error must have."""
    good = PortraitSpec().to_dict()

    def changed(**values: Any) -> str:
        return json.dumps({**good, **values})

    without_std = json.dumps({key: value for key, value in good.items() if key != "std"})
    cases = {
        "an_array": ("[1, 2]", "JSON object"),
        "not_json": ("{", "JSON object"),
        "unknown_key": (changed(gamma=2.2), "unknown fields gamma"),
        "missing_key": (without_std, "missing fields std"),
        "side_of_zero": (changed(height=0), "height must be a whole number within 1..16384"),
        "side_too_large": (changed(width=16385), "width must be"),
        "unknown_color": (changed(color="rgba"), "color must be one of rgb, bgr"),
        "unknown_resize": (changed(resize="letterbox"), "resize must be one of stretch, fit, fill, crop"),
        "unknown_output": (changed(output="image"), "output must be"),
        "unknown_positive": (changed(positive="cat"), "positive must be"),
        "two_means": (changed(mean=[0.5, 0.5]), "mean must be three numbers"),
        "std_of_zero": (changed(std=[1, 1, 0]), "std must be three numbers above 0"),
    }
    return [{"name": name, "json": text, "words": words} for name, (text, words) in cases.items()]


def mask_pairs() -> Table:
    """Pairs of masks and how far apart they are."""
    draws = SplitMix64(3)
    disc, shifted = portrait(24, 31)[1], np.roll(portrait(24, 31)[1], 2, axis=1)
    noise_a, noise_b = draws.units(17, 23), draws.units(17, 23)
    empty, full = np.zeros((9, 12), np.float32), np.ones((9, 12), np.float32)
    bad = disc.copy()
    bad[3, 4] = np.nan
    pairs = {
        "disc_and_shifted_disc": (disc, shifted, 0.5, None),
        "disc_and_shifted_disc_strict": (disc, shifted, 0.5, 0),
        "disc_and_shifted_disc_wide": (disc, shifted, 0.25, 3),
        "disc_and_itself": (disc, disc, 0.5, None),
        "noise": (noise_a, noise_b, 0.5, None),
        "noise_wide": (noise_a, noise_b, 0.75, 40),
        "both_empty": (empty, empty, 0.5, None),
        "empty_and_full": (empty, full, 0.5, None),
        "one_pixel": (empty[:1, :1], full[:1, :1], 0.5, None),
        "one_row": (draws.units(1, 40), draws.units(1, 40), 0.5, 2),
        "on_the_threshold": (np.full((3, 3), 0.5, np.float32), np.full((3, 3), 0.499, np.float32), 0.5, None),
        "not_a_number": (disc, bad, 0.5, None),
    }
    return [_compared(name, *pair) for name, pair in pairs.items()]


def _compared(name: str, a: np.ndarray, b: np.ndarray, threshold: float, radius: int | None) -> dict[str, Any]:
    scores = {
        "iou": metrics.mask_iou(a, b, threshold),
        "flippedPixels": metrics.flipped_pixels(a, b, threshold),
        "boundaryF": metrics.boundary_f(a, b, threshold, radius),
        "meanAbsoluteError": metrics.mean_abs_error(a, b),
    }
    finite = {key: value if np.isfinite(value) else None for key, value in scores.items()}
    return {"name": name, "a": packed(a), "b": packed(b), "threshold": threshold, "radius": radius, **finite}


def latencies() -> Table:
    """Percentiles as NumPy interpolates them."""
    draws = SplitMix64(11)
    runs = [[12.5], [3.0, 1.0], [float(draws.below(1000)) / 8 for _ in range(37)], [5.0] * 4]
    return [
        {"runs": values, "p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95))}
        for values in runs
    ]


def strided_masks() -> Table:
    """Masks in padded memory, as accelerators leave them."""
    draws = SplitMix64(5)
    rows = []
    for name, dtype, padding, step in [
        ("uint8_dense", np.uint8, 0, 1),
        ("uint8_padded", np.uint8, 13, 1),
        ("uint8_every_fourth", np.uint8, 4, 4),
        ("float16_padded", np.float16, 6, 1),
        ("float16_every_second", np.float16, 0, 2),
        ("float32_padded", np.float32, 5, 1),
    ]:
        height, width = 5, 7
        values = draws.bytes(height, width) if dtype == np.uint8 else draws.units(height, width).astype(dtype)
        memory = np.full((height, width * step + padding), 119, dtype)
        memory[:, : width * step : step] = values
        expected = values.astype(np.float32) / np.float32(255 if dtype == np.uint8 else 1)
        rows.append(
            {
                "name": name,
                "format": np.dtype(dtype).name,
                "rowStride": memory.strides[0],
                "columnStride": memory.strides[1] * step,
                "memory": packed(memory.view(np.uint8)),
                "expected": packed(expected),
            }
        )
    return rows


def halves() -> Table:
    """All half-precision values that are numbers, as single precision."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return [{"digest": digest(values[~np.isnan(values)].astype(np.float32))}]


def composites() -> Table:
    """Every look of one photo."""
    pixels, mask = portrait(90, 70)
    photo = Photo(pixels)
    behind = SplitMix64(9).bytes(33, 50, 3)
    looks: dict[str, np.ndarray] = {
        "mask": compose.mask_picture(mask),
        "cutOut": compose.cut_out(photo, mask),
        "replacedByColor": compose.replace_background(photo, mask, (30, 144, 255)),
        "replacedByPicture": compose.replace_background(photo, mask, Photo(behind)),
        **{f"blurred_{sigma:g}": compose.blur_background(photo, mask, sigma) for sigma in (0, 0.4, 2, 7.5, 40)},
        "blurred_default": compose.blur_background(photo, mask),
        "foreground": person_colors(pixels, mask),
    }
    inputs = {"photo": packed(pixels), "mask": packed(mask), "backgroundSeed": 9, "backgroundShape": behind.shape}
    return [{"inputs": inputs}, *({"name": name, "expected": packed(value)} for name, value in looks.items())]


def refinements() -> Table:
    """Masks refined along a photo, feathered, and without islands."""
    pixels, mask = portrait(90, 70)
    coarse = np.asarray(Image.fromarray(mask).resize((20, 24), Image.Resampling.BILINEAR))
    soft = np.asarray(Image.fromarray(coarse).resize((70, 90), Image.Resampling.BILINEAR)).clip(0, 1)
    draws = SplitMix64(21)
    islands = np.where(draws.units(20, 26) > 0.62, draws.units(20, 26), np.float32(0.01)).astype(np.float32)
    hard = (mask >= 0.5).astype(np.float32)
    feathered = blur(hard[..., None], 3)[..., 0].clip(0, 1)
    rows = [
        {"name": "guided", "photo": packed(pixels), "mask": packed(soft), "expected": packed(add_detail(soft, pixels))},
        {"name": "feathered", "mask": packed(mask), "radius": 3.0, "expected": packed(feathered)},
    ]
    for share in (0.0, 0.2, 1.0):
        kept = without_islands(islands, share)
        rows.append({"name": "islands", "mask": packed(islands), "share": share, "expected": packed(kept)})
    return rows


def logits() -> Table:
    """Logits as P(person) at larger, equal, smaller and odd sizes, as the runtime computes it."""
    rows, draws = [], SplitMix64(41)
    for source, target in [
        ((8, 8), (32, 32)),
        ((5, 7), (5, 7)),
        ((16, 12), (7, 9)),
        ((1, 1), (3, 4)),
        ((9, 4), (33, 15)),
    ]:
        values = (draws.units(*source) - np.float32(0.5)) * np.float32(16)
        full = F.interpolate(torch.from_numpy(values)[None, None], size=target, mode="bilinear", align_corners=False)
        rows.append({"logits": packed(values), "expected": packed(torch.sigmoid(full)[0, 0].numpy())})
    return rows


def sequences() -> Table:
    """Seven frames smoothed: at rest, with a moving patch, and after a cut."""
    smoother, draws, rows = Smoother(), SplitMix64(31), []
    still, mask = portrait(24, 20)
    for number in range(7):
        frame = still if number < 5 else 255 - still
        if number in (3, 4):
            frame = frame.copy()
            frame[4:10, 2 * number : 2 * number + 6] //= 2
        noisy = np.clip(mask + (draws.units(24, 20) - np.float32(0.5)) * np.float32(0.4), 0, 1)
        smoothed, starts = smoother.smooth(noisy, frame)
        rows.append(
            {"frame": packed(frame), "mask": packed(noisy), "expected": packed(smoothed), "startsScene": starts}
        )
    return rows


def random_cases(count: int = 150, seed: int = 2026) -> Table:
    """Photos, frames and policies drawn from a seed that Swift knows too; digests of what came out."""
    draws, rows = SplitMix64(seed), []
    for _ in range(count):
        photo = draws.below(60) + 1, draws.below(60) + 1
        frame = draws.below(40) + 1, draws.below(40) + 1
        policy = RESIZES[draws.below(len(RESIZES))]
        pixels, mask = draws.bytes(*photo, 3), draws.units(*frame)
        made, placed = to_frame(Photo(pixels), PortraitSpec(height=frame[0], width=frame[1], resize=policy))
        rows.append({"image": digest(made.image), "maskBack": digest(mask_back(mask, placed))})
    return [{"seed": seed, "count": count}, *rows]


def _spec_of(name: str) -> PortraitSpec:
    from portrait_export.inputs.sources import ModelSource, load_model

    return load_model(ModelSource(model=name, random_weights=True)).spec


# Tables that are the same on every machine, and those of floating-point sums whose last bits depend on the processor.
EXACT: dict[str, Callable[[], Table]] = {
    "placements": placements,
    "closest_sizes": closest_sizes,
    "resampling": resampling,
    "frames": frames,
    "orientations": orientations,
    "specs": specs,
    "refused_specs": refused_specs,
    "mask_pairs": mask_pairs,
    "latencies": latencies,
    "strided_masks": strided_masks,
    "halves": halves,
    "random_cases": random_cases,
}
ROUNDED: dict[str, Callable[[], Table]] = {
    "composites": composites,
    "refinements": refinements,
    "logits": logits,
    "sequences": sequences,
}


def text_of(table: Table) -> str:
    """A table as JSON, a case a line, so that a change shows as the lines that it changes."""
    return "[\n" + ",\n".join(json.dumps(row, sort_keys=True) for row in table) + "\n]\n"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, table in {**EXACT, **ROUNDED}.items():
        (FOLDER / f"{name}.json").write_text(text_of(table()))


if __name__ == "__main__":
    main()
