"""Test that an option which would have no effect is refused before any work, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import portrait_export as pe
from tests.cli.sums import PLAIN, network, noise

PARITY = ("parity", "nothing.mlpackage", "-m", "serseg_b0")
SWEEP = ("sweep", "--onnx", "net.onnx", *PLAIN, "--data", "photos", "-o", "out")
UNUSED = {
    "a_tolerance_without_a_baseline": ((*PARITY, "--tolerance", "0.1"), "--baseline is not given"),
    "kinds_of_photos_for_a_bundle": (
        (*PARITY, "--from-device", "bundle", "--kinds", "empty"),
        "--from-device cannot be used together with --size, --kinds, --runtime or --arithmetic",
    ),
    "classes_of_a_package_to_segment_with": (
        ("segment", "photos/a.png", "-o", "a.png", "--package", "net.mlpackage", "--person-class", "3"),
        "--person-class is for a checkpoint or a network of yours; a package already gives",
    ),
    "classes_of_a_package_to_evaluate": (
        ("evaluate", "--package", "net.mlpackage", "--person-class", "3"),
        "--person-class is for a checkpoint or a network of yours; a package already gives",
    ),
    "classes_of_an_onnx_file_to_blame_with": (
        ("blame", "net.mlpackage", "--onnx", "net.onnx", "--person-class", "3"),
        "--person-class is for a --checkpoint",
    ),
    "classes_of_mediapipe": (("label", "photos", "--person-class", "2"), "--person-class is for the classes of a"),
    "mediapipe_and_a_network": (
        ("label", "photos", "-m", "serseg_b0", "--labeller", "x.whl"),
        "--labeller cannot be used with --model or --checkpoint",
    ),
    "no_comparison_of_what_is_not_exported": (
        ("demo", "--package", "net.mlpackage", "--no-parity"),
        "--no-parity is for models that are exported",
    ),
    "photos_for_no_package": (("agree", "--no-packages", "--photos", "3"), "--photos and --no-packages cannot"),
    "a_fresh_start_of_a_check": (("train", "smoke", "--check", "--fresh"), "--check trains nothing"),
    "opset_of_a_file": (("onnx", "--onnx", "net.onnx", "--opset", "14"), "net.onnx keeps its own opset"),
    "tuning_of_eight_bits": ((*SWEEP, "--recipes", "none,int8", "--tune"), "--tune is for recipes below 8 bits"),
}


@pytest.mark.parametrize("name", UNUSED)
def test_an_option_without_effect_is_refused(cli, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "net.onnx")
    noise(tmp_path / "photos", "a.png")
    before = sorted(tmp_path.rglob("*"))
    arguments, message = UNUSED[name]
    ran = cli(*arguments)
    assert ran.code == 2, ran.err
    assert "error: usage" in ran.err
    assert message in ran.err
    assert "✓" not in ran.err
    assert sorted(tmp_path.rglob("*")) == before


def test_python_refuses_a_tolerance_without_a_baseline(tmp_path: Path) -> None:
    with pytest.raises(pe.UsageError, match="`baseline=` is not given"):
        pe.check_parity(tmp_path / "nothing.mlpackage", "serseg_b0", tolerance=0.1)
