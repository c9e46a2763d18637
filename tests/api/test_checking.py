"""Parity, blame and scores from Python."""

from __future__ import annotations

import pytest

import portrait_export as pe

MODEL = {"model": "segformer_b0", "random_weights": True}


@pytest.fixture(scope="module")
def path(small_export):
    return small_export / "segformer_b0.mlpackage"


def test_parity_is_a_report_of_gates(path, photos):
    report = pe.check_parity(path, **MODEL, data=photos)
    assert report.passed
    assert {gate.name for gate in report.gates} >= {"non_finite_images", "logits_psnr_db"}
    assert [image.name for image in report.images] == ["noise", "portrait"]


def test_a_package_of_other_weights_fails_without_raising(path, photos, tmp_path):
    from safetensors.torch import save_file

    save_file(pe.create_model("segformer_b0", seed=1).state_dict(), tmp_path / "other.safetensors")
    report = pe.check_parity(path, "segformer_b0", checkpoint=tmp_path / "other.safetensors", data=photos)
    assert not report.passed


def test_a_parity_check_needs_a_model(path):
    with pytest.raises(pe.UsageError) as caught:
        pe.check_parity(path)
    assert "None of `model=`, `checkpoint=`, `onnx=`, `torch=` and `torchscript=` is given" in caught.value.message
    with pytest.raises(pe.UsageError, match="None of `model=`, `checkpoint=` and `onnx=` is given"):
        pe.find_blame(path)


def test_blame_finds_nothing_in_a_sound_package(small_export, path, photos):
    onnx = small_export / "segformer_b0.onnx"
    report = pe.find_blame(path, onnx=onnx, images=[photos / "portrait.png"])
    assert report.passed
    assert report.found.first is None
    assert report.photographs == ("portrait.png",)
    alone = pe.find_blame(path, onnx=onnx, images=photos / "portrait.png")  # one photo needs no list
    assert alone.photographs == report.photographs


def test_an_audit_lists_the_weights_and_compares_them(path):
    result = pe.audit(path, "segformer_b0", random_weights=True)
    assert result.passed
    assert result.compared == len(result.audit.weights)
    assert result.audit.storage.size_bytes == result.size_bytes
    failed = pe.audit(path, stored_as=["int4"])
    assert not failed.passed
    assert "no weight is stored as int4" in failed.audit.problems
    assert pe.audit(path, stored_as="int4").audit.problems == failed.audit.problems  # one type needs no list


def test_scores_of_a_package_against_masks(path, photos, tmp_path):
    from PIL import Image

    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    with Image.open(photos / "portrait.png") as photo:
        photo.save(tmp_path / "images/a.png")
        Image.new("L", photo.size, 255).save(tmp_path / "masks/a.png")
    scores = pe.evaluate(package=path, data=tmp_path)
    assert [score.name for score in scores.scores] == ["a"]
    assert 0 <= scores.iou_mean <= 1


def test_models_are_listed_and_checkpoints_loaded(tmp_path):
    from safetensors.torch import save_file

    assert pe.list_models("segformer_*") == ["segformer_b0"]
    save_file(pe.create_model("segformer_b0").state_dict(), tmp_path / "w.safetensors")
    loaded = pe.load_checkpoint(tmp_path / "w.safetensors", "segformer_b0")
    assert loaded.spec.name == "segformer_b0"
    assert not loaded.module.training
