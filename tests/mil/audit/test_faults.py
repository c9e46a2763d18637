"""Planted corruptions and silent no-ops are found, each by the sentence that names it; sound packages have none."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from portrait_export.errors import PackageError
from portrait_export.mil.audit import Audit, audit_program, recorded
from portrait_export.mil.coreml import spec_message
from portrait_export.mil.program import read_program
from portrait_export.quantize.grids import Blocks
from portrait_export.quantize.rounding import round_compensated

from .damage import (
    damage,
    halves,
    negated,
    nibbles_swapped,
    one_byte,
    one_nan,
    one_times,
    reversed_order,
    stored_bytes,
    to_first,
    to_zero,
)
from .packages import FORMS, ORIGINALS, SMALL_ORIGINALS, as_bits, built, gaussian, with_small_constants, write


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sound")
    return {name: write(folder, name) for name in FORMS}


def audited(path: Path, **asked) -> Audit:
    return audit_program(read_program(path), originals=recorded(ORIGINALS), **asked)


# Name → form, parameter, damage, and what the audit says.
DAMAGES = {
    "a bit of an integer": ("int8_per_channel", "quantized_data", one_byte(99), "has 1 of 18432 values that are not"),
    "a bit of a half": ("plain", "val", one_byte(201), "has 1 of 18432 values that are not the nearest"),
    "a bit of an index": ("palette4", "indices", one_byte(5), "has 1 of 18432 values that are not the nearest"),
    "nibbles in the wrong order": ("int4_per_block", "data", nibbles_swapped, "does not decode to the original"),
    "indices in the wrong order": ("palette4", "indices", nibbles_swapped, "does not decode to the original"),
    "grouped indices in the wrong order": ("palette4_grouped", "indices", nibbles_swapped, "does not decode"),
    "scales of other channels": ("int8_ios18", "scale", halves(reversed_order), "rounding to its stored scales"),
    "negative scales": ("int8_per_channel", "scale", halves(negated), "200 % of it is lost; each output channel"),
    "scales of zero": ("int4_per_block", "scale", halves(to_zero), "integers that a scale of 0 turns into zeros"),
    "a scale that is not a number": ("int8_ios18", "scale", halves(one_nan), "values that are NaN or infinite"),
    "a table of one value": ("palette6", "lut", halves(to_first), "has different indices, but a table of one value"),
    "a table in the wrong order": ("palette6", "lut", halves(reversed_order), "does not decode to the original"),
    "a table that is not a number": ("palette4", "lut", halves(one_nan), "values that are NaN or infinite"),
    "a mask with another number of ones": ("pruned_ios18", "mask", one_byte(0, 1), "its mask has"),
    "sparse values in the wrong order": ("pruned", "nonzero_data", halves(reversed_order), "does not decode"),
    "a table of a sparse weight": ("pruned_palette4", "lut", halves(reversed_order), "does not decode"),
    "an integer of a sparse weight": ("pruned_int8", "nonzero_data", one_byte(7), "values that are not the nearest"),
    "a value of a plain weight": ("plain", "val", halves(one_nan), "values that are NaN or infinite"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_of_a_weight_is_found(packages, tmp_path, name):
    form, parameter, change, complaint = DAMAGES[name]
    path = shutil.copytree(packages[form], tmp_path / "damaged.mlpackage")
    assert audited(path).passed
    damage(path, "conv_weight", parameter, change)
    [problem] = audited(path).problems
    assert problem.startswith("conv_weight")
    assert complaint in problem


# Name → form, parameter, damage, and what is not the original's.
MISFITS = {
    "a scale of 8 bits, halved": ("int8_per_channel", "scale", one_times(0.5), "1 of 64 scales"),
    "a scale of 8 bits, 256 times too small": ("int8_per_channel", "scale", one_times(2**-8), "1 of 64 scales"),
    "a scale of 8 bits, a sixteenth too large": ("int8_ios18", "scale", one_times(1.0625), "1 of 64 scales"),
    "a scale of 4 bits, halved": ("int4_per_block", "scale", one_times(0.5), "1 of 64 scales"),
    "a scale of 4 bits, doubled": ("int4_per_block", "scale", one_times(2), "1 of 64 scales"),
    "a scale with offsets": ("uint4_per_block_with_offset", "scale", one_times(0.5), "scales that"),
    "a scale of a sparse weight": ("pruned_int8", "scale", one_times(0.5), "scales that"),
    "an offset": ("uint8_asymmetric", "zero_point", one_byte(9, 4), "1 of 64 offsets"),
    "an entry of a table of 4 bits, halved": ("palette4", "lut", one_times(0.5, at=3), "1 of 16 values of tables"),
    "an entry of a table of 8 bits": ("palette8", "lut", one_times(0.75, at=90), "1 of 256 values of tables"),
    "an entry of one of many tables": ("palette4_grouped", "lut", one_times(-1), "values of tables"),
    "an entry of a sparse weight": ("pruned_palette4", "lut", one_times(0.5, at=3), "1 of 16 values of tables"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_scale_or_an_entry_that_does_not_fit_its_values_is_found(packages, tmp_path, name):
    """It decides which value is the nearest, and compensated values need not be the nearest."""
    form, parameter, change, complaint = MISFITS[name]
    path = shutil.copytree(packages[form], tmp_path / "damaged.mlpackage")
    damage(path, "conv_weight", parameter, change)
    [problem] = audited(path, compensated=True).problems
    assert complaint in problem
    assert "not the original's" in problem


def test_a_scale_of_a_palette_that_does_not_fit_is_found(tmp_path):
    original = gaussian(12, (64, 64)) * np.linspace(0.5, 2, 64, dtype=np.float32)[:, None]
    scale, table = np.abs(original).max(axis=1, keepdims=True) / 7, np.arange(-8, 8)
    codes = np.abs((original / scale)[..., None] - table).argmin(axis=-1)

    def build(mb):
        lut = table.astype(np.int8).reshape(1, 1, 16, 1)
        integers = mb.constexpr_lut_to_dense(indices=as_bits(codes, 4), lut=lut)
        return mb.constexpr_blockwise_shift_scale(data=integers, scale=scale.astype(np.float16), name="w")

    def problems() -> tuple[str, ...]:
        return audit_program(read_program(path), originals=recorded({"w": original}), compensated=True).problems

    path = built(tmp_path, "w", build)
    assert problems() == ()
    damage(path, "w", "scale", one_times(4))
    assert "1 of 64 scales that are not the original's" in problems()[0]


def test_vectors_that_lie_between_two_of_a_table_may_be_either(tmp_path):
    """Their distances are those of vectors: one value of the farther vector may be much nearer."""
    original, table = gaussian(12, (64, 64)), gaussian(2, (256, 2)) / 3
    pairs = original.reshape(64, 32, 2)
    order = ((pairs[:, :, None] - table) ** 2).sum(axis=-1).argsort(axis=-1)
    first, second = table[order[..., 0]], table[order[..., 1]]
    further = ((second - pairs) ** 2 - (first - pairs) ** 2).sum(axis=-1) / ((second - first) ** 2).sum(axis=-1)
    problems = {}
    for name, swapped in {"ties": further < 0.1, "others": (further > 0.6) & (further < 0.8)}.items():
        few = swapped & (swapped.cumsum().reshape(swapped.shape) <= 20)
        codes = np.where(few, order[..., 1], order[..., 0]).astype(np.uint8)

        def build(mb, codes=codes):
            lut = table.astype(np.float16).reshape(1, 1, 256, 2)
            return mb.constexpr_lut_to_dense(indices=codes, lut=lut, vector_axis=1, name="w")

        path = built(tmp_path, name, build)
        problems[name] = audit_program(read_program(path), originals=recorded({"w": original})).problems
    assert problems["ties"] == ()
    assert "that are not the nearest to the original, as all others are" in problems["others"][0]


DEAD = np.arange(64) < 3  # channels that training left at nearly nothing


@pytest.mark.parametrize(
    ("zero", "dead", "told", "told_alone"),
    [
        pytest.param(DEAD, DEAD, False, False, id="dead channels"),
        pytest.param(DEAD, ~DEAD & DEAD, True, False, id="a few channels"),
        pytest.param(~DEAD, ~DEAD, False, True, id="nearly all channels, which are dead"),
        pytest.param(~DEAD, DEAD, True, True, id="nearly all channels"),
    ],
)
def test_scales_of_0_are_a_fault_where_something_is_lost(tmp_path, zero, dead, told, told_alone):
    original = gaussian(12, (64, 64)) * np.where(dead, np.float32(1e-7), 1)[:, None]
    scale = np.abs(original).max(axis=1, keepdims=True) / 127
    codes = np.rint(original / scale).astype(np.int8)
    stored = np.where(zero[:, None], 0, scale).astype(np.float16)
    path = built(tmp_path, "w", lambda mb: mb.constexpr_blockwise_shift_scale(data=codes, scale=stored, name="w"))
    words = "integers that a scale of 0 turns into zeros"
    for originals, fault in ((recorded({"w": original}), told), (None, told_alone)):
        audit = audit_program(read_program(path), originals=originals)
        assert words in audit.weights[0].note
        assert [words in problem for problem in audit.problems] == [True] * fault


def even_indices(original: np.ndarray, table: np.ndarray) -> np.ndarray:
    """As coremltools counts them: in half precision."""
    half = original.astype(np.float16)
    steps = (half - half.min()) / (half.max() - half.min()) * np.float16(len(table) - 1)
    return np.clip(np.rint(steps), 0, len(table) - 1).astype(np.uint8)


def test_an_even_table_of_256_values_may_have_been_counted_in_half_precision(tmp_path):
    original = np.random.default_rng(4).uniform(-0.083, 0.083, (64, 64)).astype(np.float32)
    table = np.linspace(original.min(), original.max(), 256).astype(np.float16)
    codes = even_indices(original, table)

    def build(mb):
        return mb.constexpr_lut_to_dense(indices=codes, lut=table.reshape(1, 1, 256, 1), name="w")

    path = built(tmp_path, "w", build)
    assert audit_program(read_program(path), originals=recorded({"w": original})).problems == ()
    damage(path, "w", "indices", one_byte(99, 4))
    [problem] = audit_program(read_program(path), originals=recorded({"w": original})).problems
    assert "has 1 of 4096 values that are not the nearest" in problem


def test_tables_of_few_values_are_no_grid(tmp_path):
    """coremltools writes a table for every 8 values where palettes have scales per channel."""
    original = gaussian(12, (64, 64))
    blocks = original.reshape(64, 8, 8)
    tables = np.pad(np.sort(blocks, axis=-1)[..., 1::2], ((0, 0), (0, 0), (0, 12)))
    codes = np.abs(blocks[..., None] - tables[:, :, None]).argmin(axis=-1).reshape(64, 64)

    def build(mb):
        return mb.constexpr_lut_to_dense(indices=as_bits(codes, 4), lut=tables[..., None].astype(np.float16), name="w")

    path = built(tmp_path, "w", build)
    audit = audit_program(read_program(path), originals=recorded({"w": original}))
    assert audit.problems == ()
    assert audit.weights[0].error > 0.05


# Name → constant, damage, and what the audit says without an original and with one; empty for nothing.
SMALL_DAMAGES = {
    "a bias that is not a number": ("bias", halves(one_nan), "has 1 of 24 values that are NaN", "that are NaN"),
    "an infinite bias": ("bias", one_times(np.inf), "has 1 of 24 values that are NaN or infinite", "or infinite"),
    "one huge value of a bias": ("bias", one_times(5000), "", "has 1 of 24 values that are not the original's"),
    "a bias that was tuned": ("bias", halves(lambda values: values * 1.3), "", ""),
    "a small layer, negated": ("logits_weight", halves(negated), "", "does not decode to the original"),
    "a small layer, shifted": ("logits_weight", halves(lambda values: np.roll(values, 1)), "", "does not decode"),
    "a mask that is not a number": ("mask", halves(one_nan), "has 1 of 64 values that are NaN", "are NaN"),
}


@pytest.mark.parametrize("name", SMALL_DAMAGES)
def test_damage_of_a_constant_that_is_too_small_to_be_compressed_is_found(tmp_path, name):
    constant, change, *complaints = SMALL_DAMAGES[name]
    path = with_small_constants(tmp_path)
    for originals, complaint in zip((None, recorded(SMALL_ORIGINALS)), complaints, strict=True):
        assert audit_program(read_program(path), originals=originals).problems == ()
        shutil.copytree(path, damaged := tmp_path / f"damaged_{bool(originals)}.mlpackage")
        damage(damaged, constant, "val", change)
        problems = audit_program(read_program(damaged), originals=originals).problems
        assert len(problems) == bool(complaint)
        assert all(problem.startswith(constant) and complaint in problem for problem in problems)


@pytest.mark.parametrize("unknown", [False, True], ids=["a side of 0", "an unknown side"])
def test_a_weight_that_is_declared_without_values_is_found(packages, tmp_path, unknown):
    path = shutil.copytree(packages["plain"], tmp_path / "empty.mlpackage")
    [file] = path.rglob("model.mlmodel")
    message = spec_message(file.read_bytes())
    [block] = message.mlProgram.functions["main"].block_specializations.values()
    [op] = [op for op in block.operations if op.outputs[0].name.startswith("conv_weight") and op.type == "const"]
    for kind in (op.attributes["val"].type.tensorType, op.outputs[0].type.tensorType):
        if unknown:
            kind.dimensions[0].unknown.variadic = False
        else:
            kind.dimensions[0].constant.size = 0
    file.write_bytes(message.SerializeToString())
    [problem] = audited(path).problems
    assert f"is declared as tensor<fp16, [{'?' if unknown else 0}, 32, 3, 3]>, which has no values" in problem


def test_the_bytes_of_another_weight_are_found(packages, tmp_path):
    path = shutil.copytree(packages["int8_ios18"], tmp_path / "swapped.mlpackage")
    file, offset, size = stored_bytes(path, "first_weight", "data")
    data = file.read_bytes()[offset : offset + size]
    damage(path, "second_weight", "data", lambda raw: np.frombuffer(data, np.uint8))
    [problem] = audited(path).problems
    assert problem.startswith("second_weight")


def test_weights_pruned_at_the_wrong_places_are_found(tmp_path):
    """numpy#29003: the threshold of `prune_weights` is NaN, so the values that are pruned are arbitrary."""
    original = gaussian(11, (64, 64))

    def pruned(keep: np.ndarray) -> Callable:
        def build(mb):
            values = original[keep].astype(np.float16)
            return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=as_bits(keep, 1), name="w")

        return build

    right = np.abs(original) > np.median(np.abs(original))
    wrong = np.random.default_rng(3).permutation(right.ravel()).reshape(right.shape)
    complaints = {}
    for name, keep in {"right": right, "wrong": wrong}.items():
        path = built(tmp_path, name, pruned(keep))
        complaints[name] = audit_program(read_program(path), originals=recorded({"w": original})).problems
    assert complaints["right"] == ()
    assert "zeros that lose" in complaints["wrong"][0] or "is lost" in complaints["wrong"][0]


def test_a_weight_that_was_left_in_half_is_found(packages):
    """Block-wise passes leave depthwise and first convolutions as they are, silently."""
    audit = audited(packages["plain"], requested="int4")
    assert "conv_weight" in audit.problems[0]
    assert "stayed fp16 (conv)" in audit.problems[0]
    assert "no weight is stored as int4" in audit.problems
    assert audited(packages["int4_per_block"], requested="int4").passed
    assert not audited(packages["int8_ios18"], requested="int4").passed
    assert audited(packages["int8_ios18"], requested="int8", allowed=("int4",)).passed


STEPS = np.float32(0.013)
ON_A_GRID = np.clip(np.rint(gaussian(5, (64, 64)) * 28), -8, 7).astype(np.float32) * STEPS


@pytest.mark.parametrize("bits", [4, 8])
def test_scales_that_are_derived_again_for_a_weight_of_4_bits_are_found(tmp_path, bits):
    """coremltools divides the largest value by 7.5, and so rounds what has 16 values to 16 others."""
    largest = np.abs(ON_A_GRID).max(axis=1, keepdims=True)

    def build(scale: np.ndarray):
        codes = np.clip(np.rint(ON_A_GRID / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        stored = codes.astype(np.int8) if bits == 8 else as_bits(codes, 4, signed=True)
        return lambda mb: mb.constexpr_blockwise_shift_scale(data=stored, scale=scale.astype(np.float16), name="w")

    found = {}
    for name, scale in {"own": np.full((64, 1), STEPS), "derived": largest / (2 ** (bits - 1) - 0.5)}.items():
        path = built(tmp_path, name, build(scale))
        found[name] = audit_program(read_program(path), originals=recorded({"w": ON_A_GRID}))
    assert found["own"].problems == ()
    assert found["own"].weights[0].error < 1e-3
    if bits == 8:
        assert found["derived"].problems == ()
    else:
        [problem] = found["derived"].problems
        assert "its original has at most 16 different values already (steps of a scale)" in problem


def test_another_table_for_a_weight_of_16_values_is_found(tmp_path):
    own = np.unique(ON_A_GRID)
    even = np.linspace(-0.1, 0.09, 16, dtype=np.float32)
    problems = {}
    for name, table in {"own": own, "even": even}.items():
        table = np.resize(table, 16)
        codes = np.abs(ON_A_GRID[..., None] - table).argmin(axis=-1)

        def build(mb, codes=codes, table=table):
            lut = table.astype(np.float16).reshape(1, 1, 16, 1)
            return mb.constexpr_lut_to_dense(indices=as_bits(codes, 4), lut=lut, name="w")

        path = built(tmp_path, name, build)
        problems[name] = audit_program(read_program(path), originals=recorded({"w": ON_A_GRID})).problems
    assert problems["own"] == ()
    assert "different values already (the values of a table)" in problems["even"][0]


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e-3, 1e3, 1e30])
def test_an_error_does_not_depend_on_the_scale_of_a_weight(tmp_path, scale):
    original = gaussian(11, (64, 64)) * np.float32(scale)
    steps = np.abs(original).max() / 127

    def build(mb):
        codes = np.rint(original / steps).astype(np.int8)
        return mb.constexpr_blockwise_shift_scale(data=codes, scale=np.full((1, 1), steps, np.float32), name="w")

    path = built(tmp_path, "w", build, precision="FLOAT32")
    audit = audit_program(read_program(path), originals=recorded({"w": original}))
    assert audit.passed
    assert audit.weights[0].error == pytest.approx(0.0086, rel=0.1)


def test_a_damaged_value_is_found_among_compensated_ones(tmp_path):
    original = gaussian(12, (64, 64)).astype(np.float64)
    mixed = gaussian(13, (64, 64)) @ gaussian(14, (64, 64)) + 0.1
    grid = Blocks.of(original, 8, 64, np.ones(64))
    round_compensated(original, grid, (mixed.T @ mixed).astype(np.float64))

    def problems() -> tuple[str, ...]:
        return audit_program(read_program(path), originals=recorded({"w": original}), compensated=True).problems

    path = built(
        tmp_path,
        "w",
        lambda mb: mb.constexpr_blockwise_shift_scale(data=grid.codes, scale=grid.scales, name="w"),
    )
    assert problems() == ()
    damage(path, "w", "data", one_byte(99))
    [problem] = problems()
    assert "has 1 of 4096 values that are further from the original than compensated rounding explains" in problem


# ---- the file -------------------------------------------------------------------------------------------------------


def test_bytes_behind_the_last_weight_are_found(packages, tmp_path):
    path = shutil.copytree(packages["palette4"], tmp_path / "longer.mlpackage")
    [file] = path.rglob("weight.bin")
    file.write_bytes(file.read_bytes() + bytes(300))
    [problem] = audited(path).problems
    assert "bytes that belong to no blob" in problem


def test_a_file_that_was_cut_off_names_every_weight_that_is_lost(packages, tmp_path):
    path = shutil.copytree(packages["plain"], tmp_path / "shorter.mlpackage")
    [file] = path.rglob("weight.bin")
    file.write_bytes(file.read_bytes()[:-200])
    audit = audited(path)
    assert any("is damaged" in problem for problem in audit.problems)


def test_a_file_without_a_header_is_refused(packages, tmp_path):
    path = shutil.copytree(packages["plain"], tmp_path / "empty.mlpackage")
    [file] = path.rglob("weight.bin")
    file.write_bytes(b"")
    with pytest.raises(PackageError):
        audited(path)


def test_two_weights_in_the_same_bytes_are_found(packages, tmp_path):
    path = shutil.copytree(packages["plain"], tmp_path / "overlapping.mlpackage")
    program = read_program(path)
    [file] = path.rglob("weight.bin")
    first, second = (
        constant.stored
        for _, _, constant in program.constants()
        if constant.offset and constant.size_bytes == 64 * 64 * 2
    )
    data = bytearray(file.read_bytes())
    struct.pack_into("<Q", data, second.metadata_offset + 16, first.offset)
    file.write_bytes(data)
    assert any("belong to another blob too" in problem for problem in audited(path).problems)
