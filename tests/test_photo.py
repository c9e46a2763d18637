"""Picture files of every kind in: the right pixels or one clear error; frames and masks by exact laws."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from portrait_export.errors import PhotoError, PortraitError, UsageError
from portrait_export.photo import Photo, open_depth, open_mask, open_photo
from portrait_export.placement import Box, mask_back, place, to_frame
from portrait_export.preprocessing import RESIZES, PortraitSpec


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    """(H, W, 3) uint8 whose four corners and three channels all differ: any flip or swap shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = rows * 255 // max(1, height - 1), columns * 255 // max(1, width - 1)
    return np.stack([red, green, (red + 2 * green) // 3], axis=-1).astype(np.uint8)


def saved(folder: Path, image: Image.Image, name: str, **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


# ---- it works: modes --------------------------------------------------------------------------------------------

RGB = Image.fromarray(gradient())
GRAY = RGB.convert("L")
LOSSLESS = {
    "rgb_png": (RGB, "a.png", gradient()),
    "rgb_bmp": (RGB, "a.bmp", gradient()),
    "rgb_tiff": (RGB, "a.tiff", gradient()),
    "rgb_ppm": (RGB, "a.ppm", gradient()),
    "rgb_webp_lossless": (RGB, "a.webp", gradient()),
    "rgb_gif_of_two_colours": (Image.new("RGB", (3, 2), (255, 0, 9)), "a.gif", np.full((2, 3, 3), (255, 0, 9))),
    "gray_png": (GRAY, "a.png", np.asarray(GRAY.convert("RGB"))),
    "one_bit_png": (GRAY.convert("1"), "a.png", np.asarray(GRAY.convert("1").convert("RGB"))),
    "palette_png": (RGB.quantize(16), "a.png", np.asarray(RGB.quantize(16).convert("RGB"))),
    "cmyk_tiff": (RGB.convert("CMYK"), "a.tiff", gradient()),
    "one_pixel": (Image.new("RGB", (1, 1), (1, 2, 3)), "a.png", np.array([[[1, 2, 3]]])),
    "one_row_of_5000": (Image.fromarray(gradient(1, 5000)), "a.png", gradient(1, 5000)),
    "name_without_suffix": (RGB, "picture.jpg.png", gradient()),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_opens(name: str, tmp_path: Path) -> None:
    image, file, expected = LOSSLESS[name]
    photo = open_photo(saved(tmp_path, image, file, **({"lossless": True} if file.endswith("webp") else {})))
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.flags.writeable  # torch.from_numpy warns of read-only arrays
    np.testing.assert_array_equal(photo.pixels, expected)
    assert photo.notes == ()
    assert photo.name == file


def test_a_jpeg_is_close_to_what_was_saved(tmp_path: Path) -> None:
    photo = open_photo(saved(tmp_path, RGB, "a.jpg", quality=95))
    assert np.abs(photo.pixels.astype(int) - gradient()).max() <= 24  # chroma is stored at half the resolution
    assert np.abs(photo.pixels.astype(int) - gradient()).mean() < 3


def test_a_cmyk_jpeg_has_the_colours_of_its_inks(tmp_path: Path) -> None:
    inks = Image.merge("CMYK", [Image.new("L", (16, 16), v) for v in (0, 255, 255, 0)])  # full magenta and yellow: red
    pixels = open_photo(saved(tmp_path, inks, "a.jpg", quality=100)).pixels
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(mode: str, tmp_path: Path) -> None:
    alpha = Image.fromarray(np.array([[0, 128, 255]], np.uint8))
    color = Image.new("RGB", (3, 1), (0, 0, 0))
    color.putalpha(alpha)
    image = color.quantize(4) if mode == "P" else color.convert(mode)
    pixels = open_photo(saved(tmp_path, image, "a.png")).pixels
    expected = np.asarray(image.convert("RGBA"))[..., 3].astype(int)
    assert np.abs(pixels[..., 0].astype(int) - (255 - expected)).max() <= 1
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_a_gray_picture_with_one_transparent_value(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([[0, 7, 90]], np.uint8)), "a.png", transparency=7)
    assert open_photo(path).pixels[0, :, 0].tolist() == [0, 255, 90]


def png(width: int, height: int, bits: int, color_type: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand (W3C PNG, 11.2), for what Pillow cannot write: an oracle that is not Pillow."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0))
    middle = b"".join(chunk(kind, data) for kind, data in extra)
    return b"\x89PNG\r\n\x1a\n" + header + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


VALUES_16 = (0, 255, 256, 32768, 65280, 65535)
VALUES_8 = [0, 0, 1, 128, 255, 255]  # v >> 8
SIXTEEN_BITS = {
    "gray": (0, lambda v: struct.pack(">H", v)),
    "rgb": (2, lambda v: struct.pack(">HHH", v, v, v)),
    "gray_alpha": (4, lambda v: struct.pack(">HH", v, 65535)),
    "rgba": (6, lambda v: struct.pack(">HHHH", v, v, v, 65535)),
}


@pytest.mark.parametrize("kind", SIXTEEN_BITS)
def test_sixteen_bits_become_eight_alike_in_gray_and_colour(kind: str, tmp_path: Path) -> None:
    color_type, pack = SIXTEEN_BITS[kind]
    path = tmp_path / "a.png"
    path.write_bytes(png(6, 1, 16, color_type, b"\0" + b"".join(map(pack, VALUES_16))))
    pixels = open_photo(path).pixels
    assert [pixels[0, :, channel].tolist() for channel in range(3)] == [VALUES_8] * 3


def test_a_sixteen_bit_tiff(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([VALUES_16], np.uint16)), "a.tiff")
    assert open_photo(path).pixels[0, :, 1].tolist() == VALUES_8


# ---- it works: orientation --------------------------------------------------------------------------------------

UPRIGHT = {  # EXIF 2.3, tag 274: where row 0 and column 0 of the stored picture are in the upright one
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpg"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_honoured(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    path = saved(tmp_path, RGB, f"a.{suffix}", exif=exif, **options)
    expected = UPRIGHT[orientation](gradient())
    pixels = open_photo(path).pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= (4 if suffix == "jpg" else 0)


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_orientation_without_meaning_turns_nothing(value: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = value
    np.testing.assert_array_equal(open_photo(saved(tmp_path, RGB, "a.png", exif=exif)).pixels, gradient())


def test_damaged_exif_leaves_the_picture_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, RGB, "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    np.testing.assert_array_equal(open_photo(path).pixels, gradient())


# ---- it works: colour profiles ----------------------------------------------------------------------------------


def icc_swapping_red_and_blue() -> bytes:
    """An sRGB profile whose red and blue primaries are exchanged, so that converting it is plain to see."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    tags = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    data[tags[b"rXYZ"] : tags[b"rXYZ"] + 4], data[tags[b"bXYZ"] : tags[b"bXYZ"] + 4] = b"bXYZ", b"rXYZ"
    return (
        bytes(data)
        .replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
        .replace(b"sRGB built", b"swap built")
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_an_embedded_profile_is_converted_to_srgb(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode)
    photo = open_photo(saved(tmp_path, image, "a.png", icc_profile=icc_swapping_red_and_blue()))
    assert photo.notes == ()
    assert np.abs(photo.pixels.astype(int) - (0, 0, 255)).max() <= 3


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(open_photo(saved(tmp_path, RGB, "a.png", icc_profile=icc)).pixels, gradient())


def test_gray_pixels_with_an_rgb_profile(tmp_path: Path) -> None:
    photo = open_photo(saved(tmp_path, GRAY, "a.png", icc_profile=icc_swapping_red_and_blue()))
    assert photo.notes == ()
    assert np.abs(photo.pixels.astype(int) - np.asarray(GRAY)[..., None]).max() <= 2  # grays stay gray


def test_a_lab_tiff_goes_through_lab(tmp_path: Path) -> None:
    white = Image.merge("LAB", [Image.new("L", (2, 2), v) for v in (255, 128, 128)])
    assert open_photo(saved(tmp_path, white, "a.tiff")).pixels.min() >= 253


@pytest.mark.parametrize("profile", [b"not a profile", icc_swapping_red_and_blue()[:200]])
def test_a_damaged_profile_is_ignored_and_said(profile: bytes, tmp_path: Path) -> None:
    photo = open_photo(saved(tmp_path, RGB, "a.png", icc_profile=profile))
    np.testing.assert_array_equal(photo.pixels, gradient())
    assert len(photo.notes) == 1
    assert photo.notes[0].startswith("its colour profile is unusable and was ignored (")


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_counts(suffix: str, tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (8, 6), color) for color in ((250, 0, 0), (0, 250, 0)))
    options = {"webp": {"lossless": True}}.get(suffix, {})
    path = saved(tmp_path, first, f"a.{suffix}", save_all=True, append_images=[second], **options)
    photo = open_photo(path)
    assert photo.pixels[0, 0].tolist() == [250, 0, 0]
    assert photo.notes == ("it is an animation: its first frame is used.",)


# ---- it refuses -------------------------------------------------------------------------------------------------


def refused(path: Path, **options: int) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        open_photo(path, **options)
    assert str(path) in caught.value.message
    return caught.value


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nobody.jpg"
    assert refused(path).message == f"Cannot read the picture {path}: No such file or directory."


def test_refuses_a_folder(tmp_path: Path) -> None:
    assert refused(tmp_path).message == f"{tmp_path} is a folder, not a picture."


def test_refuses_a_pipe_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "is not a regular file" in refused(tmp_path / "pipe.jpg").message


def test_refuses_a_device() -> None:
    assert "is not a regular file" in refused(Path("/dev/zero")).message


def test_refuses_a_path_with_a_null_byte() -> None:
    with pytest.raises(PhotoError, match="null"):
        open_photo("a\0b.jpg")


NOT_PICTURES = {
    "empty": (b"", "is empty (0 bytes)."),
    "text": (b"hello, I am no picture", "is not a picture that can be read: it starts with b'hello, I'."),
    "zeros": (b"\0" * 4096, "is not a picture that can be read"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC/HEIF picture, which is not supported."),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture that can be read"),
    "lfs_pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    "png_header_only": (b"\x89PNG\r\n\x1a\n", "is"),
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_refuses_what_is_not_a_picture(name: str, tmp_path: Path) -> None:
    content, words = NOT_PICTURES[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert words in refused(path).message


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tiff", "bmp", "ppm"])
def test_refuses_a_truncated_file(suffix: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(path).message == f"{path} is damaged or truncated and cannot be decoded."


@pytest.mark.parametrize("mode", ["F", "I"])
def test_refuses_samples_without_a_white(mode: str, tmp_path: Path) -> None:
    kind = {"F": "floating-point", "I": "32-bit integer"}[mode]
    error = refused(saved(tmp_path, Image.new(mode, (4, 4), 7), "a.tiff"))
    assert error.message.endswith(
        f"the picture's {kind} samples have no defined white, so they cannot become 8-bit sRGB."
    )


def test_refuses_too_many_pixels_before_decoding_them(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(12_000, 12_000, 8, 0, b""))  # would be refused as damaged, were it decoded
    assert refused(bomb).message == (
        f"{bomb}: the picture is too large: 12000x12000 = 144,000,000 pixels, and at most 100,000,000 are read."
    )


def test_refuses_a_bomb_beyond_pillows_own_limit(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(60_000, 60_000, 8, 0, b""))
    assert "too large: more than 100,000,000 pixels" in refused(bomb).message


def test_max_pixels_is_the_callers_to_choose(tmp_path: Path) -> None:
    path = saved(tmp_path, RGB, "a.png")
    assert open_photo(path, max_pixels=24 * 32).size == (24, 32)
    assert "at most 767 are read" in refused(path, max_pixels=24 * 32 - 1).message


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tiff", "bmp"])
def test_damaged_files_give_a_photo_or_a_photo_error(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(sum(map(ord, suffix)))
    exif = Image.Exif()
    exif[274] = 6
    good = saved(tmp_path, RGB, f"a.{suffix}", **({} if suffix in ("gif", "bmp") else {"exif": exif})).read_bytes()
    path = tmp_path / f"bad.{suffix}"
    errors = 0
    for _ in range(60):
        bad = bytearray(good)
        for place_, value in zip(rng.integers(0, len(bad), 4), rng.integers(0, 256, 4), strict=True):
            bad[place_] = value
        path.write_bytes(bytes(bad[: rng.integers(1, len(bad) + 1)]))
        try:
            open_photo(path, max_pixels=1_000_000)
        except PhotoError:
            errors += 1
    assert errors > 0


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_a_photo_is_uint8_rgb(pixels: np.ndarray) -> None:
    with pytest.raises(PhotoError, match=r"it must be uint8 \(H, W, 3\)"):
        Photo(pixels)


# ---- depth and masks --------------------------------------------------------------------------------------------


def test_sixteen_bit_depth_is_divided_by_65535(tmp_path: Path) -> None:
    values = np.array([[0, 1, 65535], [256, 32768, 9]], np.uint16)
    depth = open_depth(saved(tmp_path, Image.fromarray(values), "d.png"))
    np.testing.assert_array_equal(depth, (values / np.float32(65535)).astype(np.float32))
    assert depth.dtype == np.float32


def test_eight_bit_depth_is_divided_by_255(tmp_path: Path) -> None:
    depth = open_depth(saved(tmp_path, Image.fromarray(np.array([[0, 51, 255]], np.uint8)), "d.png"))
    np.testing.assert_allclose(depth, [[0, 0.2, 1]], atol=1e-7)


@pytest.mark.parametrize("mode", ["RGB", "1", "P", "F"])
def test_refuses_depth_that_is_not_gray(mode: str, tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new(mode, (4, 4)), "d.tiff")
    with pytest.raises(PhotoError, match="a depth map is 8- or 16-bit grayscale, these pixels are"):
        open_depth(path)


def test_a_mask_file_is_luminance(tmp_path: Path) -> None:
    mask = open_mask(saved(tmp_path, Image.fromarray(np.array([[0, 51, 255]], np.uint8)), "m.png"))
    np.testing.assert_allclose(mask, [[0, 0.2, 1]], atol=1e-7)


# ---- geometry ---------------------------------------------------------------------------------------------------

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
def test_placements_hold_their_laws(photo: tuple[int, int], frame: tuple[int, int], policy: str) -> None:
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
def test_a_constant_comes_back_constant_where_it_was_seen(
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
def test_a_mask_comes_back_to_the_place_it_was_drawn_in(policy: str) -> None:
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
    photo = Photo(gradient(96, 64))
    ramp = np.linspace(0, 1, 96, dtype=np.float32)[:, None].repeat(64, 1)
    for policy in RESIZES:
        spec = PortraitSpec(height=24, width=32, resize=policy, inputs=("image", "depth"))
        full, _ = to_frame(photo, spec, ramp)
        half, _ = to_frame(photo, spec, ramp.reshape(48, 2, 32, 2).mean((1, 3)))
        assert full.depth is not None
        assert half.depth is not None
        assert full.depth.dtype == np.float32
        red = full.image[..., 0].astype(np.float32) / 255  # the photo's red is the same ramp
        assert np.abs(full.depth - red).max() < 0.01
        assert np.abs(half.depth - full.depth).max() < 0.03


def test_refuses_a_missing_and_an_unwanted_depth_map() -> None:
    photo = Photo(gradient(), "p.jpg")
    with pytest.raises(UsageError, match=r"takes a depth map; for p\.jpg none was given"):
        to_frame(photo, DEPTH_SPEC)
    with pytest.raises(UsageError, match=r"does not take a depth map; for p\.jpg one was given"):
        to_frame(photo, PortraitSpec(height=24, width=32), np.zeros((24, 32), np.float32))


@pytest.mark.parametrize("depth", [np.full((4, 4), np.nan, np.float32), np.zeros((4, 4, 1)), np.zeros((0, 4))])
def test_refuses_depth_that_is_no_map(depth: np.ndarray) -> None:
    with pytest.raises(PhotoError, match=r"must be finite values \(H, W\)"):
        to_frame(Photo(gradient()), DEPTH_SPEC, depth)


def test_refuses_a_mask_of_another_frame() -> None:
    with pytest.raises(PhotoError, match=r"The mask is \(3, 3\), the photo was placed into a frame of \(24, 32\)"):
        mask_back(np.zeros((3, 3), np.float32), place((5, 5), (24, 32), "fit"))


def test_every_photo_error_is_a_portrait_error_with_exit_code_2() -> None:
    assert issubclass(PhotoError, PortraitError)
    assert PhotoError("x").exit_code == 2


def test_pillow_agrees_on_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 7
    path = saved(tmp_path, RGB, "a.png", exif=exif)
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        np.testing.assert_array_equal(open_photo(path).pixels, np.asarray(ImageOps.exif_transpose(image)))
