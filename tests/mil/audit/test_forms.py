"""Every form of storage is decoded as coremltools decodes it, compared with its original, and counted to the byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portrait_export.mil.audit import audit_program, recorded
from portrait_export.mil.audit.nearest import nearest
from portrait_export.mil.audit.stored import StoredValues
from portrait_export.mil.program import read_program

from .packages import FORMS, ORIGINALS, as_bits, built, gaussian, write


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forms")
    return {name: write(folder, name) for name in FORMS}


def decoded_by_coremltools(path: Path) -> dict[str, np.ndarray]:
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(path), skip_model_load=True)
    program = load(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    found = {}
    for op in program.functions["main"].operations:
        if op.op_type.startswith("constexpr_") and len(op.outputs) == 1:
            found[op.outputs[0].name] = op.materialized_val_inference()
    return found


def decoded_by_us(path: Path) -> dict[str, np.ndarray]:
    values = StoredValues.of(read_program(path).main)
    return {op.outputs[0][0]: values.decode(op) for op in values.weights if op.type != "const"}


def size_on_disk(path: Path, pattern: str = "*") -> int:
    return sum(file.stat().st_size for file in path.rglob(pattern) if file.is_file())


TABLES = "palette4_with_int8_tables"  # which coremltools writes, but does not decode itself


@pytest.mark.parametrize("name", [name for name in FORMS if name not in ("plain", TABLES)])
def test_weights_decode_as_coremltools_decodes_them(packages, name):
    theirs, ours = decoded_by_coremltools(packages[name]), decoded_by_us(packages[name])
    assert len(ours) == len(ORIGINALS)
    for key, value in ours.items():
        assert value.dtype == np.float16
        # coremltools multiplies in half precision; where that rounds differently it is the last bit of the result.
        assert np.allclose(value.astype(np.float64), theirs[key].astype(np.float64), rtol=2**-9, atol=1e-6), key


@pytest.mark.parametrize("name", [name for name in FORMS if name != "plain"])
def test_weights_decode_as_the_runtime_decodes_them(packages, name):
    from portrait_export.runtime import load

    ours = decoded_by_us(packages[name])
    program = load(packages[name])
    picture = {feature.name: np.zeros(feature.shape, np.float32) for feature in program.inputs}
    for key, value in program.trace(picture, names=list(ours)).items():
        assert np.array_equal(value, ours[key].astype(np.float32)), key


@pytest.mark.parametrize("name", FORMS)
def test_weights_are_listed_in_their_form_and_right(packages, name):
    audit = audit_program(read_program(packages[name]), originals=recorded(ORIGINALS))
    assert audit.problems == ()
    assert {(weight.form, weight.dtype) for weight in audit.weights} == {FORMS[name][2:]}
    assert sorted(weight.compared_with for weight in audit.weights) == sorted(ORIGINALS)


@pytest.mark.parametrize("name", FORMS)
def test_the_error_is_the_distance_to_the_original_on_its_own_scale(packages, name):
    audit = audit_program(read_program(packages[name]), originals=recorded(ORIGINALS))
    values = StoredValues.of(read_program(packages[name]).main)
    stored = {op.outputs[0][0]: op for op in values.weights}
    decoded = {weight.name: values.decode(stored[weight.name]).astype(np.float64) for weight in audit.weights}
    for weight in audit.weights:
        original = ORIGINALS[weight.compared_with].astype(np.float64)
        distance = np.linalg.norm(decoded[weight.name] - original) / np.linalg.norm(original)
        assert weight.error == pytest.approx(distance, rel=1e-9)


@pytest.mark.parametrize("name", FORMS)
def test_the_bytes_add_up_to_the_size_of_the_files(packages, name):
    audit = audit_program(read_program(packages[name]))
    assert sum(audit.storage.weight_files.values()) == size_on_disk(packages[name], "weight.bin")
    assert audit.storage.size_bytes == size_on_disk(packages[name])
    assert "bytes of no blob" not in audit.storage.weight_files
    assert audit.storage.weight_files["weights"] == pytest.approx(audit.size_bytes, abs=64)  # scalars are not blobs


def vector_palette(mb):
    indices = np.random.default_rng(1).integers(0, 16, (64, 16)).astype(np.uint8)
    return mb.constexpr_lut_to_dense(
        indices=as_bits(indices, 4), lut=gaussian(2, (2, 1, 16, 4)).astype(np.float16), vector_axis=1, name="w"
    )


def vector_palette_of_rows(mb):
    indices = np.random.default_rng(1).integers(0, 4, (32, 64)).astype(np.uint8)
    return mb.constexpr_lut_to_dense(
        indices=as_bits(indices, 2), lut=gaussian(2, (1, 4, 4, 2)).astype(np.float16), vector_axis=0, name="w"
    )


def sparse_vector_palette(mb):
    mask = np.random.default_rng(3).integers(0, 2, (64, 32)).astype(np.uint8)
    indices = np.random.default_rng(1).integers(0, 16, int(mask.sum())).astype(np.uint8)
    wide, values = mb.constexpr_lut_to_sparse(
        indices_mask=as_bits(mask, 1),
        indices_nonzero_data=as_bits(indices, 4),
        lut=gaussian(2, (1, 1, 16, 2)).astype(np.float16),
        vector_axis=1,
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=wide, name="w")


def palette_of_integers_with_scales(mb):
    indices = np.random.default_rng(1).integers(0, 16, (64, 64)).astype(np.uint8)
    table = np.arange(-120, 120, 15).astype(np.int8).reshape(1, 1, 16, 1)
    integers = mb.constexpr_lut_to_dense(indices=as_bits(indices, 4), lut=table)
    scale = np.abs(gaussian(5, (64, 1))).astype(np.float16)
    return mb.constexpr_blockwise_shift_scale(data=integers, scale=scale, name="w")


def cast_to_single(mb):
    return mb.constexpr_cast(source_val=gaussian(4, (64, 64)).astype(np.float16), output_dtype="fp32", name="w")


# Name → builder, deployment target, precision, and the form and type that the audit must find.
BUILT = {
    "vector_palette": (vector_palette, "iOS18", "FLOAT16", "palette", "uint4"),
    "vector_palette_of_rows": (vector_palette_of_rows, "iOS18", "FLOAT16", "palette", "uint2"),
    "sparse_vector_palette": (sparse_vector_palette, "iOS18", "FLOAT16", "sparse palette", "uint4"),
    "palette_of_integers_with_scales": (palette_of_integers_with_scales, "iOS18", "FLOAT16", "linear palette", "uint4"),
    "cast_to_single": (cast_to_single, "iOS16", "FLOAT32", "cast", "fp16"),
}


@pytest.mark.parametrize("name", BUILT)
def test_forms_that_no_recipe_of_coremltools_gives_here(tmp_path, name):
    build, target, precision, form, dtype = BUILT[name]
    path = built(tmp_path, name, build, target, precision)
    theirs, ours = decoded_by_coremltools(path), decoded_by_us(path)
    [weight] = audit_program(read_program(path)).weights
    assert (weight.form, weight.dtype, weight.shape) == (form, dtype, (64, 64))
    assert np.array_equal(ours[weight.name], theirs[weight.name])
    again = audit_program(read_program(path), originals=recorded({weight.name: ours[weight.name]}))
    assert (again.problems, again.weights[0].error) == ((), 0.0)


@pytest.mark.parametrize("name", BUILT)
def test_rounding_to_nearest_is_found_by_trying_all_values(tmp_path, name):
    """For a few values of each weight: no other value of the same grid is nearer."""
    build, target, precision, form, _ = BUILT[name]
    values = StoredValues.of(read_program(built(tmp_path, name, build, target, precision)).main)
    [op] = [op for op in values.weights if op.type != "const"]
    decoded = values.decode(op).astype(np.float64)
    noise = np.random.default_rng(7).standard_normal(decoded.shape) * 0.3 * decoded.std()
    best = nearest(values, op, decoded + noise).astype(np.float64)
    assert np.linalg.norm(best - decoded - noise) <= np.linalg.norm(noise)
    assert np.array_equal(nearest(values, op, best), best.astype(values.decode(op).dtype))
    if form.startswith("sparse"):
        assert not best[decoded == 0].any()
