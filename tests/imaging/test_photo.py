"""Test that picture files of every kind give the right pixels or one clear error."""

from __future__ import annotations

import io
import os
import struct
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

from portrait_export.errors import PhotoError, PortraitError
from portrait_export.imaging.photo import Photo, open_depth, open_mask, open_photo


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
def test_transparency_is_composited_on_white(mode: str, tmp_path: Path) -> None:
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
    """A PNG written by hand (W3C PNG, 11.2), for what Pillow cannot write: an independent oracle."""

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
def test_gray_and_colour_are_reduced_to_eight_bits_alike(kind: str, tmp_path: Path) -> None:
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
def test_an_invalid_orientation_is_ignored(value: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = value
    np.testing.assert_array_equal(open_photo(saved(tmp_path, RGB, "a.png", exif=exif)).pixels, gradient())


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
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
def test_a_damaged_profile_is_ignored_and_reported(profile: bytes, tmp_path: Path) -> None:
    photo = open_photo(saved(tmp_path, RGB, "a.png", icc_profile=profile))
    np.testing.assert_array_equal(photo.pixels, gradient())
    assert len(photo.notes) == 1
    assert photo.notes[0].startswith("its colour profile is unusable and was ignored (")


def test_heic_is_read_by_the_package_of_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for pillow-heif, whose plugin has the same interface."""

    class Stub(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (4, 3), "RGB"
            self.tile = []

        def load(self) -> Any:
            self.im = Image.new("RGB", self.size, (9, 8, 7)).im
            return None

    def register() -> None:
        Image.register_open("HEIF", Stub, lambda head: head[4:12] == b"ftypheic")
        Image.register_extension("HEIF", ".heic")

    stand_in = types.ModuleType("pillow_heif")
    stand_in.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", stand_in)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert open_photo(path).pixels.shape == (3, 4, 3)
    assert open_photo(path).pixels[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_is_used(suffix: str, tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (8, 6), color) for color in ((250, 0, 0), (0, 250, 0)))
    options = {"webp": {"lossless": True}}.get(suffix, {})
    path = saved(tmp_path, first, f"a.{suffix}", save_all=True, append_images=[second], **options)
    photo = open_photo(path)
    assert photo.pixels[0, 0].tolist() == [250, 0, 0]
    assert photo.notes == ("it is an animation: its first frame is used.",)


def test_the_first_page_of_a_tiff_is_used(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 6), color) for color in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    photo = open_photo(saved(tmp_path, pages[0], "a.tiff", save_all=True, append_images=pages[1:]))
    assert photo.pixels[0, 0].tolist() == [250, 0, 0]
    assert photo.notes == ("it has 3 pages: the first one is used.",)
    assert open_photo(saved(tmp_path, pages[0], "b.tiff")).notes == ()


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
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC/HEIF picture, which is not supported without the"),
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
        f"{bomb}: the picture is too large: 12000x12000 = 144,000,000 pixels, more than 100,000,000."
    )


def test_refuses_a_bomb_beyond_pillows_own_limit(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(60_000, 60_000, 8, 0, b""))
    error = refused(bomb)
    assert error.message.endswith("the picture is too large: more than 100,000,000 pixels.")
    assert "178" not in str(error)  # one limit is named, not Pillow's own too
    assert "scale it down first" in error.hint


def test_max_pixels_is_an_argument(tmp_path: Path) -> None:
    path = saved(tmp_path, RGB, "a.png")
    assert open_photo(path, max_pixels=24 * 32).size == (24, 32)
    assert "more than 767" in refused(path, max_pixels=24 * 32 - 1).message


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


def test_every_photo_error_is_a_portrait_error_with_exit_code_2() -> None:
    assert issubclass(PhotoError, PortraitError)
    assert PhotoError("x").exit_code == 2


def test_pillow_agrees_on_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 7
    path = saved(tmp_path, RGB, "a.png", exif=exif)
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        np.testing.assert_array_equal(open_photo(path).pixels, np.asarray(ImageOps.exif_transpose(image)))
