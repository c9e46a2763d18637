"""Test that readers of the terminal and of files never see Python's spelling of arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_export.utils.wording import ARGUMENT
from tests.cli.sums import PLAIN, network, noise


@pytest.fixture
def data(tmp_path: Path) -> Path:
    network(tmp_path / "net.onnx")
    return noise(tmp_path / "data", "a.png", "b.png")


def test_files_of_an_export_name_arguments_in_words(cli, data, tmp_path):
    out = tmp_path / "out"
    own = ("--onnx", tmp_path / "net.onnx", *PLAIN)
    assert cli("coreml", *own, "--data", data, "--min-iou", "0.5", "-o", out).code == 0
    for name in ("parity.json", "report.html", "export.json"):
        text = (out / name).read_text()
        assert "set by min_iou; the named bar is" in text, name
        assert not ARGUMENT.search(text), name


def test_files_of_a_comparison_name_options(cli, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = ("--onnx", "net.onnx", *PLAIN)
    assert cli("coreml", *own, "--no-parity", "-o", "out").code == 0
    files = {"--out": "p.json", "--junit": "p.xml", "--markdown": "p.md"}
    ran = cli("parity", "out/net.mlpackage", *own, "--data", data, "--min-iou", "0.5", *sum(files.items(), ()))
    assert ran.code == 0, ran.err
    for text in (ran.out, *(Path(name).read_text() for name in files.values())):
        assert "set by --min-iou" in text or text.startswith("<?xml")  # which gives notes of failed gates alone
        assert not ARGUMENT.search(text)
        assert r"\`" not in text


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "json"])
def test_recipes_name_options(cli, arguments):
    ran = cli("recipes", *arguments)
    assert "--max-mb" in ran.out
    assert "--precision fp32" in ran.out
    assert not ARGUMENT.search(ran.out)
    assert "`" not in ran.out
