"""The reader of weight.bin agrees with coremltools' writer, and rejects damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_export.errors import PackageError
from portrait_export.mil.weights import METADATA_BYTES, SENTINEL, WeightFile, decode, size_in_bytes, unpack_bits

RNG = np.random.default_rng(7)


def _writer(path: Path):  # type: ignore[no-untyped-def]
    from coremltools.libmilstoragepython import _BlobStorageWriter

    return _BlobStorageWriter(str(path))


# dtype, values, name of the writer's method, values as the method takes them
WRITTEN = [
    ("fp32", RNG.standard_normal(37).astype(np.float32), "write_float_data", None),
    ("fp16", RNG.standard_normal(37).astype(np.float16), "write_fp16_data", np.uint16),
    ("int8", RNG.integers(-128, 128, 37).astype(np.int8), "write_int8_data", None),
    ("uint8", RNG.integers(0, 256, 37).astype(np.uint8), "write_uint8_data", None),
    ("int16", RNG.integers(-(2**15), 2**15, 37).astype(np.int16), "write_int16_data", None),
    ("uint16", RNG.integers(0, 2**16, 37).astype(np.uint16), "write_uint16_data", None),
    ("int32", RNG.integers(-(2**31), 2**31, 37).astype(np.int32), "write_int32_data", None),
    ("uint32", RNG.integers(0, 2**32, 37).astype(np.uint32), "write_uint32_data", None),
    ("int4", RNG.integers(-8, 8, 37).astype(np.int8), "write_int4_data", None),
    ("uint1", RNG.integers(0, 2, 37).astype(np.uint8), "write_uint1_data", None),
    ("uint2", RNG.integers(0, 4, 37).astype(np.uint8), "write_uint2_data", None),
    ("uint3", RNG.integers(0, 8, 37).astype(np.uint8), "write_uint3_data", None),
    ("uint4", RNG.integers(0, 16, 37).astype(np.uint8), "write_uint4_data", None),
    ("uint6", RNG.integers(0, 64, 37).astype(np.uint8), "write_uint6_data", None),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[WeightFile, dict[str, int]]:
    """A file with one blob of every type, and the offset of each."""
    path = tmp_path_factory.mktemp("weights") / "weight.bin"
    writer = _writer(path)
    offsets = {}
    for dtype, values, method, view in WRITTEN:
        offsets[dtype] = getattr(writer, method)(values if view is None else values.view(view))
    del writer
    return WeightFile(path), offsets


@pytest.mark.parametrize(("dtype", "values"), [row[:2] for row in WRITTEN], ids=[row[0] for row in WRITTEN])
def test_reads_what_coremltools_wrote(
    written: tuple[WeightFile, dict[str, int]], dtype: str, values: np.ndarray
) -> None:
    file, offsets = written
    raw = file.raw(offsets[dtype], dtype, values.size)
    np.testing.assert_array_equal(decode(raw, dtype, values.size), values)


def test_lists_every_blob_in_order(written: tuple[WeightFile, dict[str, int]]) -> None:
    file, offsets = written
    blobs = list(file.blobs())
    assert [blob.dtype for blob in blobs] == [row[0] for row in WRITTEN]
    assert [blob.metadata_offset for blob in blobs] == list(offsets.values())
    assert {blob.count for blob in blobs} == {37}


def test_values_are_not_copied(written: tuple[WeightFile, dict[str, int]]) -> None:
    file, offsets = written
    values = decode(file.raw(offsets["fp32"], "fp32", 37), "fp32", 37)
    assert np.shares_memory(values, file.data)


@settings(max_examples=40, deadline=None)
@given(bits=st.sampled_from([1, 2, 3, 4, 6]), count=st.integers(0, 65), data=st.data())
def test_packing_and_unpacking_give_the_same_values(bits: int, count: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=count, max_size=count))
    number = sum(value << (bits * i) for i, value in enumerate(values))  # least significant first, in one big integer
    raw = np.frombuffer(number.to_bytes((bits * count + 7) // 8, "little"), np.uint8)
    assert unpack_bits(raw, bits, count, signed=False).tolist() == values


SMALL_FLOATS = [  # dtype, byte(s), value; from the formats' definitions
    ("bf16", 0x3FC0, 1.5),
    ("bf16", 0xFF80, -np.inf),
    ("fp8e5m2", 0x3E, 1.5),
    ("fp8e5m2", 0x7C, np.inf),
    ("fp8e4m3fn", 0x3C, 1.5),
    ("fp8e4m3fn", 0x7E, 448.0),
    ("fp8e4m3fn", 0x01, 2.0**-9),
    ("fp8e4m3fn", 0x7F, np.nan),
]


@pytest.mark.parametrize(("dtype", "code", "value"), SMALL_FLOATS)
def test_small_float_formats(dtype: str, code: int, value: float) -> None:
    raw = np.array([code], np.uint16 if dtype == "bf16" else np.uint8).view(np.uint8)
    np.testing.assert_array_equal(decode(raw, dtype, 1), np.array([value], np.float32))


# ---------------------------------------------------------------------------------------------------------------------
# Damage


def _file(
    tmp_path: Path, blob: dict[str, int] | None = None, *, header: bytes | None = None, cut: int = 0
) -> WeightFile:
    """A file of one fp32 blob of 8 elements whose metadata may lie."""
    fields = {"sentinel": SENTINEL, "dtype": 2, "size": 32, "offset": 128, "padding": 0} | (blob or {})
    head = struct.pack("<II", 1, 2).ljust(64, b"\0") if header is None else header
    metadata = struct.pack("<IIQQQ", *(fields[k] for k in ("sentinel", "dtype", "size", "offset", "padding")))
    data = head + metadata.ljust(METADATA_BYTES, b"\0") + np.arange(8, dtype=np.float32).tobytes()
    path = tmp_path / "weight.bin"
    path.write_bytes(data[: len(data) - cut])
    return WeightFile(path)


def test_the_file_of_the_damage_rows_is_sound_without_damage(tmp_path: Path) -> None:
    raw = _file(tmp_path).raw(64, "fp32", 8, "kernel")
    assert decode(raw, "fp32", 8).tolist() == list(range(8))


DAMAGE = {
    "truncated_data": ({"cut": 4}, "its 32 bytes at 128 are outside the file of 156 bytes"),
    "truncated_metadata": ({"cut": 40}, "64 bytes of metadata do not fit between 64 and the end at 120"),
    "truncated_header": ({"header": b"\0" * 10, "cut": 96}, "has 10 bytes; its header needs 64"),
    "other_version": ({"header": struct.pack("<II", 1, 1).ljust(64, b"\0")}, "version 1; only version 2 is supported"),
    "wrong_sentinel": ({"blob": {"sentinel": 0xDEADBEEE}}, "the sentinel is 0xdeadbeee, not 0xdeadbeef"),
    "unknown_dtype": ({"blob": {"dtype": 99}}, "data type 99 is not one of 1..17"),
    "other_dtype": ({"blob": {"dtype": 1}}, "declared as 8 × fp32, but weight.bin holds fp16 at offset 64"),
    "data_beyond_the_end": ({"blob": {"offset": 2**60}}, "are outside the file of 160 bytes"),
    "data_in_the_header": ({"blob": {"offset": 0}}, "its 32 bytes at 0 are outside the file"),
    "length_beyond_the_end": ({"blob": {"size": 2**63}}, "are outside the file of 160 bytes"),
    "length_too_short": ({"blob": {"size": 28}}, "8 × fp32 = 32 bytes, but weight.bin holds 28 bytes at offset 64"),
    "padding_beyond_the_data": ({"blob": {"dtype": 8, "padding": 999}}, "999 padding bits do not fit into its 32"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_one_error_with_its_numbers(tmp_path: Path, damage: dict, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(PackageError) as caught:
        _file(tmp_path, **damage).raw(64, "fp32", 8, "kernel")
    assert words in str(caught.value)


@pytest.mark.parametrize("offset", [0, 63, 96, 4096, 2**40])
def test_an_offset_without_metadata_names_the_constant(tmp_path: Path, offset: int) -> None:
    with pytest.raises(PackageError, match=f"is damaged at offset {offset}, which kernel refers to"):
        _file(tmp_path).raw(offset, "fp32", 8, "kernel")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"cannot be read from .*nowhere\.bin"):
        WeightFile(tmp_path / "nowhere.bin").raw(64, "fp32", 1)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 159), value=st.integers(0, 255))
def test_any_changed_byte_gives_values_or_a_clean_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    file = _file(tmp_path_factory.mktemp("changed"))
    data = bytearray(file.path.read_bytes())
    data[position] = value
    file.path.write_bytes(data)
    outcome = _read_all(file)
    assert outcome == (8,) or "weight" in outcome


def _read_all(file: WeightFile) -> tuple[int, ...] | str:
    """The shape of the one blob, or the words of the refusal."""
    try:
        list(file.blobs())
        return decode(file.raw(64, "fp32", 8), "fp32", 8).shape
    except PackageError as error:
        return str(error)


def test_packed_sizes_round_up() -> None:
    assert [size_in_bytes("uint3", n) for n in (0, 1, 8, 9)] == [0, 1, 3, 4]
