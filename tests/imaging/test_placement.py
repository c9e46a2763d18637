"""Test fitting photos to frames and mapping masks back, by exact properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_export.errors import PhotoError, UsageError
from portrait_export.imaging.photo import Photo
from portrait_export.imaging.placement import Box, mask_back, place, to_frame
from portrait_export.preprocessing import RESIZES, PortraitSpec


def ramp(height: int = 24, width: int = 32) -> np.ndarray:
    """(H, W, 3) uint8 that rises from black in the first row to white in the last."""
    rows = np.arange(height) * 255 // max(1, height - 1)
    return np.broadcast_to(rows[:, None, None], (height, width, 3)).astype(np.uint8)


PLACEMENTS = {  # photo, frame, policy → source, target
    "stretch_is_all_to_all": ((300, 200), (64, 64), "stretch", Box(0, 0, 300, 200), Box(0, 0, 64, 64)),
    "fit_letterboxes_a_tall_photo": ((200, 100), (64, 64), "fit", Box(0, 0, 200, 100), Box(0, 16, 64, 48)),
    "fit_enlarges_a_small_photo": ((8, 4), (64, 64), "fit", Box(0, 0, 8, 4), Box(0, 16, 64, 48)),
    "fill_crops_a_tall_photo": ((200, 100), (64, 64), "fill", Box(50, 0, 150, 100), Box(0, 0, 64, 64)),
    "fill_enlarges_a_small_photo": ((8, 4), (64, 64), "fill", Box(2, 0, 6, 4), Box(0, 0, 64, 64)),
    "crop_of_a_large_photo_is_fill": ((200, 100), (64, 64), "crop", Box(50, 0, 150, 100), Box(0, 0, 64, 64)),
    "crop_pads_a_small_photo": ((8, 4), (64, 64), "crop", Box(0, 0, 8, 4), Box(28, 30, 36, 34)),
    "crop_of_a_long_narrow_photo": ((500, 4), (64, 64), "crop", Box(218, 0, 282, 4), Box(0, 30, 64, 34)),
    "fit_of_one_pixel_by_5000": ((1, 5000), (64, 64), "fit", Box(0, 0, 1, 5000), Box(31, 0, 32, 64)),
    "fill_of_one_pixel_by_5000": ((1, 5000), (64, 64), "fill", Box(0, 2499, 1, 2500), Box(0, 0, 64, 64)),
}


@pytest.mark.parametrize("name", PLACEMENTS)
def test_place(name: str) -> None:
    photo, frame, policy, source, target = PLACEMENTS[name]
    placement = place(photo, frame, policy)
    assert (placement.source, placement.target) == (source, target)


SIDES = st.integers(1, 48) | st.sampled_from([1, 2, 977, 5000])
FRAMES = st.tuples(st.integers(1, 40), st.integers(1, 40))
POLICIES = st.sampled_from(RESIZES)


def inside(box: Box, outer: tuple[int, int]) -> bool:
    return 0 <= box.top < box.bottom <= outer[0] and 0 <= box.left < box.right <= outer[1]


@given(st.tuples(SIDES, SIDES), FRAMES, POLICIES)
def test_placements_satisfy_their_properties(photo: tuple[int, int], frame: tuple[int, int], policy: str) -> None:
    placement = place(photo, frame, policy)
    assert inside(placement.source, photo)
    assert inside(placement.target, frame)
    if policy in ("stretch", "fit"):
        assert placement.source.size == photo
    if policy in ("stretch", "fill"):
        assert placement.target.size == frame
    if policy == "crop":
        assert all(t <= s for s, t in zip(placement.source.size, placement.target.size, strict=True))
    for box, outer in ((placement.source, photo), (placement.target, frame)):
        assert abs((outer[0] - box.bottom) - box.top) <= 1
        assert abs((outer[1] - box.right) - box.left) <= 1


@settings(max_examples=40, deadline=None)
@given(st.tuples(SIDES, SIDES), FRAMES, POLICIES, st.floats(0, 1, width=32))
def test_a_constant_stays_constant_where_it_was_seen(
    photo: tuple[int, int], frame: tuple[int, int], policy: str, value: float
) -> None:
    color = round(value * 255)
    made, placement = to_frame(
        Photo(np.full((*photo, 3), color, np.uint8)), PortraitSpec(height=frame[0], width=frame[1], resize=policy)
    )
    target, source = placement.target, placement.source
    seen = made.image[target.top : target.bottom, target.left : target.right]
    assert made.image.shape == (*frame, 3)
    assert (seen == color).all()
    assert made.image.sum(dtype=np.int64) == seen.sum(dtype=np.int64)  # the rest is black
    back = mask_back(np.full(frame, value, np.float32), placement)
    assert back.shape == photo
    assert back.dtype == np.float32
    assert 0 <= back.min() <= back.max() <= 1
    np.testing.assert_allclose(back[source.top : source.bottom, source.left : source.right], value, atol=1e-6)
    assert np.count_nonzero(back) <= source.size[0] * source.size[1]


@settings(max_examples=25, deadline=None)
@given(FRAMES, POLICIES, st.integers(0, 2**32 - 1))
def test_at_the_frames_own_size_nothing_changes(size: tuple[int, int], policy: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    frame, placement = to_frame(Photo(pixels, "x.png"), PortraitSpec(height=size[0], width=size[1], resize=policy))
    np.testing.assert_array_equal(frame.image, pixels)
    assert frame.name == "x.png"
    mask = rng.random(size, dtype=np.float32)
    np.testing.assert_array_equal(mask_back(mask, placement), mask)


@pytest.mark.parametrize("policy", RESIZES)
def test_a_mask_returns_to_its_original_position(policy: str) -> None:
    photo = np.zeros((400, 300, 3), np.uint8)
    photo[140:260, 90:210] = 255  # a square in the middle, which every policy keeps
    frame, placement = to_frame(Photo(photo), PortraitSpec(height=96, width=128, resize=policy))
    back = mask_back(frame.image[..., 0].astype(np.float32) / 255, placement) > 0.5
    rows, columns = np.nonzero(back)
    found = np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1])
    assert np.abs(found - (140, 260, 90, 210)).max() <= 3  # a frame pixel is 3 to 4 photo pixels


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    frame, _ = to_frame(Photo(stripes), PortraitSpec(height=64, width=64))
    assert np.abs(frame.image.astype(int) - 127.5).max() <= 8  # taking single pixels would leave pure stripes


DEPTH_SPEC = PortraitSpec(height=24, width=32, inputs=("image", "depth"))


def test_depth_is_seen_like_the_photo_at_any_resolution() -> None:
    photo = Photo(ramp(96, 64))
    depth = np.linspace(0, 1, 96, dtype=np.float32)[:, None].repeat(64, 1)
    for policy in RESIZES:
        spec = PortraitSpec(height=24, width=32, resize=policy, inputs=("image", "depth"))
        full, _ = to_frame(photo, spec, depth)
        half, _ = to_frame(photo, spec, depth.reshape(48, 2, 32, 2).mean((1, 3)))
        assert full.depth is not None
        assert half.depth is not None
        assert full.depth.dtype == np.float32
        red = full.image[..., 0].astype(np.float32) / 255  # the photo's red is the same ramp
        assert np.abs(full.depth - red).max() < 0.01
        assert np.abs(half.depth - full.depth).max() < 0.03


def test_refuses_a_missing_and_an_unwanted_depth_map() -> None:
    photo = Photo(ramp(), "p.jpg")
    with pytest.raises(UsageError, match=r"takes a depth map; for p\.jpg none was given"):
        to_frame(photo, DEPTH_SPEC)
    with pytest.raises(UsageError, match=r"does not take a depth map; for p\.jpg one was given"):
        to_frame(photo, PortraitSpec(height=24, width=32), np.zeros((24, 32), np.float32))


@pytest.mark.parametrize("depth", [np.full((4, 4), np.nan, np.float32), np.zeros((4, 4, 1)), np.zeros((0, 4))])
def test_refuses_depth_that_is_not_a_map(depth: np.ndarray) -> None:
    with pytest.raises(PhotoError, match=r"must be finite values \(H, W\)"):
        to_frame(Photo(ramp()), DEPTH_SPEC, depth)


def test_refuses_a_mask_of_another_frame() -> None:
    with pytest.raises(PhotoError, match=r"The mask is \(3, 3\), the photo was placed into a frame of \(24, 32\)"):
        mask_back(np.zeros((3, 3), np.float32), place((5, 5), (24, 32), "fit"))
