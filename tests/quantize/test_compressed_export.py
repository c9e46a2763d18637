"""Packages with computed weights: what is stored is what the quantizer computed, and runs; planted faults are found."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.mil.audit import audit_program
from portrait_export.mil.audit.stored import StoredValues
from portrait_export.mil.encoded import Compression, EncodedWeight, Part
from portrait_export.mil.program import read_program
from portrait_export.mil.store import packed
from portrait_export.mil.weights import unpack_bits
from portrait_export.models import registry
from portrait_export.models.config import SegformerConfig
from portrait_export.models.registry import model_spec
from portrait_export.quantize.recipes import RECIPES

PICTURE = {"image": Image.new("RGB", (64, 64))}
EXPORT = ["coreml", "-m", "small_b0", "--random-weights", "--size", "64x64"]
COMPUTED = [name for name, recipe in RECIPES.items() if recipe.compresses and recipe.form != "mixed"]


@pytest.fixture(scope="module")
def small_b0() -> Iterator[None]:
    """A registered SegFormer with B0's layers, narrower at the end: compensated rounding is cubic in width."""
    spec = model_spec("segformer_b0")
    config = SegformerConfig(hidden_sizes=(32, 64, 80, 128), decoder_width=64)
    small = replace(spec, name="small_b0", config=config, weights="none.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._SPECS, "small_b0", (small, "this test"))
        yield


@pytest.fixture(scope="module")
def exported(small_b0: None, tmp_path_factory: pytest.TempPathFactory, photos: Path) -> dict[str, Path]:
    """A package of a small network per recipe, as the command makes it."""
    from portrait_export.cli import run

    folder = tmp_path_factory.mktemp("recipes")
    for name in [*COMPUTED, "none"]:
        words = [*EXPORT, "--quantize", name, "-q"]
        words += ["--target", RECIPES[name].minimum_target, "--data", str(photos), "-o", str(folder / name)]
        assert run(words) in (0, 1)
    return {name: folder / name / "small_b0.mlpackage" for name in [*COMPUTED, "none"]}


def record(package: Path) -> dict[str, object]:
    return json.loads((package.parent / "export.json").read_text())


@pytest.mark.parametrize("name", COMPUTED)
def test_the_audit_finds_every_weight_as_computed(exported, name):
    audit = record(exported[name])["audit"]
    assert audit["problems"] == []
    assert audit["applied"] > 40
    assert all(w["skipped"] for w in audit["weights"] if not w["compressed"])


@pytest.mark.parametrize("name", COMPUTED)
def test_the_runtime_decodes_what_the_audit_decodes(exported, name):
    """Two independent decoders and, below, coremltools' own agree on the values."""
    from portrait_export.runtime import load

    stored = StoredValues.of(read_program(exported[name]).main)
    values = load(exported[name]).trace(PICTURE, names=list(stored.decoders))
    for key, op in stored.decoders.items():
        assert np.array_equal(values[key], stored.decode(op).astype(np.float32)), key


@pytest.mark.parametrize("name", COMPUTED)
def test_coremltools_reads_the_package_and_decodes_the_same(exported, name):
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil

    path = exported[name]
    model = ct.models.MLModel(str(path), skip_model_load=True)
    program = load_mil(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    ours = {w["name"]: w for w in record(path)["audit"]["weights"] if w["compressed"]}
    decoders = [op for op in program.functions["main"].operations if op.op_type.startswith("constexpr_")]
    inner = {op.data.name: op.data.op for op in decoders if "data" in op.inputs and op.data.op in decoders}
    found = {op.outputs[0].name: value_of(op) for op in decoders if op.outputs[0].name not in inner}
    assert found.keys() == ours.keys()
    from portrait_export.runtime import load

    values = load(path).trace(PICTURE, names=list(found))
    for key, value in found.items():
        assert np.array_equal(value.astype(np.float32), values[key]), key


def value_of(op) -> np.ndarray:
    """What coremltools decodes. A scale after a table has no value of its own there: it is applied here."""
    if "data" in op.inputs and op.data.op is not None and op.data.op.op_type == "constexpr_lut_to_dense":
        return (op.data.op.materialized_val_inference().astype(np.float32) * op.scale.val).astype(np.float16)
    return op.materialized_val_inference()


def test_sizes_fall_with_bits(exported):
    def size(name: str) -> int:
        return sum(file.stat().st_size for file in exported[name].rglob("weight.bin"))

    order = ["none", "palette8", "palette6", "palette4", "palette3", "palette2"]
    assert [size(name) for name in order] == sorted((size(name) for name in order), reverse=True)
    assert size("int4-block32") < 0.32 * size("none")


@pytest.mark.parametrize("name", ["palette4", "w8a8"])
def test_the_same_export_gives_the_same_bytes(name, exported, cli, photos, tmp_path):
    words = [*EXPORT, "--quantize", name]
    cli(*words, "--target", RECIPES[name].minimum_target, "--data", photos, "-o", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "export.json").read_text())
    assert again["package"]["sha256"] == record(exported[name])["package"]["sha256"]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
def test_packing_is_the_inverse_of_unpacking(bits):
    values = np.random.default_rng(bits).integers(0, 1 << bits, 37).astype(np.uint8)
    raw = np.frombuffer(packed(Part(f"uint{bits}", values)), np.uint8)
    assert len(raw) == math.ceil(37 * bits / 8)
    assert np.array_equal(unpack_bits(raw, bits, 37, signed=False), values)


def test_negative_integers_are_packed_in_twos_complement():
    values = np.array([-8, -1, 0, 7, -3], np.int8)
    raw = np.frombuffer(packed(Part("int4", values)), np.uint8)
    assert np.array_equal(unpack_bits(raw, 4, 5, signed=True), values)


def intended(package: Path, change) -> Compression:
    """What a quantizer would have intended, if it had been what is stored, after a change."""
    stored = StoredValues.of(read_program(package).main)
    encoded = {
        name: EncodedWeight(op.type, {}, stored.dtype(op), stored.decode(op)) for name, op in stored.decoders.items()
    }
    return Compression(change(encoded), {})


def one_value_off(encoded):
    name = max(encoded)
    decoded = encoded[name].decoded.copy()
    decoded.flat[7] += np.float16(0.01)
    return {**encoded, name: EncodedWeight(encoded[name].operator, {}, encoded[name].dtype, decoded)}


def another_type(encoded):
    name = max(encoded)
    return {**encoded, name: EncodedWeight(encoded[name].operator, {}, "uint2", encoded[name].decoded)}


FAULTS = {
    "none": (dict, None),
    "a value": (one_value_off, "has 1 of"),
    "a type": (another_type, "is stored as"),
    "a weight that stayed as it was": (lambda e: {**e, "missing": e[max(e)]}, "is not compressed"),
    "a weight that nobody asked for": (lambda e: {k: v for k, v in e.items() if k != max(e)}, "left it alone"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_audit_finds(exported, fault):
    change, complaint = FAULTS[fault]
    package = exported["palette4"]
    audit = audit_program(read_program(package), compression=intended(package, change))
    if complaint is None:
        assert audit.problems == ()
    else:
        assert len(audit.problems) == 1
        assert complaint in audit.problems[0]


def test_a_weight_with_nan_is_refused_by_name():
    from portrait_export.errors import QuantizeError
    from portrait_export.quantize.encode import encode
    from portrait_export.quantize.layer import Layer
    from portrait_export.quantize.layers import Weights

    class Constant:
        def numpy(self) -> np.ndarray:
            return np.array([[1.0, np.nan]], np.float16)

    weights = Weights({"w": Layer("w", (1, 2), ("linear",))}, {}, {"w": Constant()}, {})  # type: ignore[dict-item]
    with pytest.raises(QuantizeError, match=r"The weight w \(1, 2\) has values that are NaN or infinite"):
        encode(weights, RECIPES["palette4"], ios18=False)
