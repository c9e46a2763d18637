"""Assets on disk, run by Apple's runtime: the same numbers, the same bytes, and one error for damage."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from portrait_export.artifacts import Frame
from portrait_export.coreai.asset import read_asset, save_asset
from portrait_export.coreai.audit import audit_asset
from portrait_export.coreai.graph import with_pixels
from portrait_export.coreai.half import in_half
from portrait_export.coreai.installed import CoreAIError
from portrait_export.coreai.runner import CoreAIRunner
from portrait_export.coreai.shared import with_open_weights
from portrait_export.coreai.worker import with_stable_names
from portrait_export.errors import ExecutionError, PackageError, PortraitError
from portrait_export.mil.encoded import EncodedWeight, Part
from portrait_export.mil.program import Metadata
from portrait_export.preprocessing import SPEC_KEY
from portrait_export.quantize.channels import in_channels
from portrait_export.quantize.layer import Layer

from .nets import needs_core_ai, photo, run_onnx, small_net, spec_of_side

METADATA = Metadata(
    author="A", license="MIT", description="d", user_defined={SPEC_KEY: spec_of_side().to_json(), "b": "ü"}
)
FP16 = np.dtype(np.float16)


def in_int8() -> dict[str, EncodedWeight]:
    """Two weights of `small_net` as 8-bit integers."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in small_net().graph.initializer}
    layers = [
        Layer("deep.weight", weights["deep.weight"].shape, ("conv",)),
        Layer("mix.weight", weights["mix.weight"].shape, ("matmul",), transposed=True),
    ]
    return {one.name: in_channels(one, one.matrix(weights[one.name]), FP16, ios18=True) for one in layers}


def int8_half() -> tuple[onnx.ModelProto, dict[str, EncodedWeight]]:
    graph, opened = with_open_weights(in_half(small_net()), in_int8())
    return with_pixels(graph, spec_of_side()), opened


def save(path: Path) -> Path:
    graph, opened = int8_half()
    return save_asset(graph, path, metadata=METADATA, encoded=opened).path


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("asset") / "small.aimodel")


def damaged(asset: Path, folder: Path) -> Path:
    import shutil

    return Path(shutil.copytree(asset, folder / "damaged.aimodel"))


@needs_core_ai
def test_repeated_export_is_byte_identical(asset: Path, tmp_path: Path) -> None:
    again = save(tmp_path / "small.aimodel")
    for name in ("main.mlirb", "main.hash", "metadata.json"):
        assert (again / name).read_bytes() == (asset / name).read_bytes(), name
    assert sorted(file.name for file in again.iterdir()) == ["main.hash", "main.mlirb", "metadata.json"]


@needs_core_ai
def test_metadata_is_read_back(asset: Path) -> None:
    found = read_asset(asset)
    assert found.metadata == METADATA
    assert found.spec == spec_of_side()
    assert found.producer == "coreai-core 1.0.0b3"


@needs_core_ai
@pytest.mark.parametrize("half", [False, True])
def test_runtime_agrees_with_onnx_runtime(half: bool, tmp_path: Path) -> None:
    model = with_pixels(in_half(small_net()) if half else small_net(), spec_of_side())
    path = save_asset(model, tmp_path / "small.aimodel", metadata=METADATA).path
    expected = run_onnx(model, image=photo()[None])
    [found] = CoreAIRunner(path).run([Frame(photo())])
    assert found.logits is not None
    scale = np.abs(expected["logits"]).max()
    assert np.abs(found.logits - expected["logits"][0, 0]).max() < (4e-3 if half else 2e-6) * scale
    steps = np.abs(found.probability * 255 - expected["mask"][0, 0].astype(np.float32))
    assert steps.max() <= 1.001  # of 255


@needs_core_ai
def test_audit_finds_every_weight_and_a_wrong_one(asset: Path) -> None:
    model, _ = int8_half()
    encoded = in_int8()
    audit = audit_asset(asset, model, requested="int8", encoded=encoded)
    assert audit.passed
    assert {weight.name for weight in audit.applied} == {"deep.weight", "mix.weight"}
    mix = encoded["mix.weight"]
    wrong = mix.parts["data"].values.copy()
    wrong[3, 3] += 1
    other = {**encoded, "mix.weight": replace(mix, parts={**mix.parts, "data": Part("int8", wrong)})}
    assert audit_asset(asset, model, requested="int8", encoded=other).problems == (
        "mix.weight (16, 16): its int8 are not in the asset as they were given",
    )
    assert audit_asset(asset, with_pixels(in_half(small_net()), spec_of_side()), requested="int8").problems[-1] == (
        "no weight is stored as int8"
    )


@needs_core_ai
def test_changed_byte_of_the_program_is_one_error(asset: Path, tmp_path: Path) -> None:
    path = damaged(asset, tmp_path)
    data = bytearray((path / "main.mlirb").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "main.mlirb").write_bytes(data)
    with pytest.raises(PackageError, match=r"damaged\.aimodel is damaged: the SHA-256 of main\.mlirb is not the one"):
        CoreAIRunner(path)


@needs_core_ai
@pytest.mark.parametrize("content", [b"", b"ML\xefR\x06junk", b"\x00" * 64])
def test_program_that_ends_the_native_reader_is_one_error(content: bytes, asset: Path, tmp_path: Path) -> None:
    path = damaged(asset, tmp_path)
    (path / "main.mlirb").write_bytes(content)
    (path / "main.hash").write_bytes(hashlib.sha256(content).digest())
    with pytest.raises(CoreAIError, match=r"Core AI cannot run damaged\.aimodel") as caught:
        CoreAIRunner(path).run([Frame(photo())])
    assert "its process" in caught.value.context[0]


@needs_core_ai
@pytest.mark.parametrize("name", ["main.mlirb", "main.hash", "metadata.json"])
def test_missing_file_is_named(name: str, asset: Path, tmp_path: Path) -> None:
    path = damaged(asset, tmp_path)
    (path / name).unlink()
    with pytest.raises(PackageError, match=f"{name} is missing, so damaged.aimodel is not a complete Core AI asset"):
        read_asset(path)


@needs_core_ai
@pytest.mark.parametrize("text", ["{", "[]", '{"creatorDefinedMetadata": 3}', "[" * 100_000, "\udcff"])
def test_bad_metadata_is_one_error(text: str, asset: Path, tmp_path: Path) -> None:
    path = damaged(asset, tmp_path)
    (path / "metadata.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(PortraitError):
        read_asset(path)


@needs_core_ai
def test_asset_of_another_tool_is_refused(asset: Path, tmp_path: Path) -> None:
    path = damaged(asset, tmp_path)
    (path / "metadata.json").write_text(json.dumps({"assetVersion": "2.0"}))
    with pytest.raises(ExecutionError, match="does not state its preprocessing"):
        CoreAIRunner(path)


@needs_core_ai
def test_frame_of_another_size_is_refused(asset: Path) -> None:
    with pytest.raises(ExecutionError, match=r"is uint8 \(16, 16, 3\); small.aimodel \(Core AI\) takes uint8 \(32, 32"):
        CoreAIRunner(asset).run([Frame(photo(16))])


def test_names_are_numbered_and_blobs_sorted() -> None:
    text = (
        "a = dense_resource<resource_99>\nb = call @sdpa_abcdefgh\nc = dense_resource<resource_11_2>\n"
        '      resource_11_2: "0x04BB",\n      resource_99: "0x04AA"\n'
    )
    assert with_stable_names(text) == (
        "a = dense_resource<weight_00000>\nb = call @sdpa_00000\nc = dense_resource<weight_00001>\n"
        '      weight_00000: "0x04AA",\n      weight_00001: "0x04BB"\n'
    )
