"""Test that control characters in names reach neither the terminal nor its lines."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import onnx
import pytest

from portrait_export.cli import render
from portrait_export.errors import PortraitError
from portrait_export.utils.stages import Stage
from tests.cli.sums import PLAIN, network, noise
from tests.inputs.test_classes import checkpoint

EVIL = "a\x1b[2J\x1b]0;title\x07\r\x9b31m\x7f\u202eb"
SHOWN = r"a\x1b[2J\x1b]0;title\x07\r\x9b31m\x7f\u202eb"
SPOOF = "a\x1b[31mred\x1b[0m\n  ✓ parity all gates passed"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


def clean(text: str) -> bool:
    return not RAW.search(text)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(render, "_colour", lambda: True)


def test_our_own_styles_are_all_that_reaches_a_terminal(terminal, capsys) -> None:
    render.message(f"{render.style('✗', fg='red')} {EVIL} {render.style(EVIL, bold=True)}")
    printed = capsys.readouterr().err
    assert printed == f"\x1b[31m✗\x1b[0m {SHOWN} \x1b[1m{SHOWN}\x1b[0m\n"


def test_names_cannot_style_themselves(terminal, capsys) -> None:
    render.result(f"{SPOOF.splitlines()[0]} {render.style(SPOOF.splitlines()[0], dim=True)}")
    printed = capsys.readouterr().out
    assert printed == "a\\x1b[31mred\\x1b[0m \x1b[2ma\\x1b[31mred\\x1b[0m\x1b[0m\n"


def test_names_cannot_add_lines_of_their_own(capsys) -> None:
    render.warn(SPOOF)
    lines = render.StageLines(verbose=True)
    lines.stage_finished(Stage("load", 1.0, SPOOF, details=(SPOOF,), warnings=(SPOOF,)))
    render.result(render.table(["name"], [[SPOOF]]))
    captured = capsys.readouterr()
    assert [line for line in (captured.err + captured.out).splitlines() if line.startswith("  ✓ parity")] == []
    assert len(captured.err.splitlines()) == 4
    assert len(captured.out.splitlines()) == 2


def test_columns_are_aligned_by_what_is_shown(capsys) -> None:
    render.result(render.table(["name", "n"], [[render.style("\x1b", fg="red"), "1"], ["plain", "2"]]))
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.index("1", 5) == second.index("2")


def test_an_error_is_printed_without_control_characters(capsys) -> None:
    render.failure(PortraitError(EVIL, context=[EVIL], hint=EVIL))
    printed = capsys.readouterr().err
    assert clean(printed)
    assert printed.count(SHOWN) == 3


def test_json_escapes_what_it_may_hold_as_it_is(capsys) -> None:
    render.result_json({"name": EVIL})
    printed = capsys.readouterr().out
    assert clean(printed)
    assert json.loads(printed) == {"name": EVIL}


def evil_onnx(folder: Path, name: str) -> Path:
    file = network(folder / "net.onnx")
    model = onnx.load(file)
    model.graph.node[0].output[0] = model.graph.output[0].name = name
    onnx.save(model, file)
    return file


def test_names_in_an_onnx_file(cli, tmp_path) -> None:
    file = evil_onnx(tmp_path, EVIL.replace("\r", ""))
    for arguments in (
        ("inspect", file),
        ("coreml", "--onnx", file, *PLAIN, "--mask-output", "none", "-o", tmp_path / "out"),
        ("evaluate", "--onnx", file, *PLAIN, "--data", noise(tmp_path / "photos", "a.png"), "-v"),
    ):
        ran = cli(*arguments)
        assert clean(ran.out + ran.err)
        assert r"\x1b" in ran.out + ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_of_files(cli, tmp_path) -> None:
    folder = noise(tmp_path / "photos", f"{EVIL}.png")
    (folder / "b\x1b[2J.png").write_bytes(b"broken")
    ran = cli("coreml", "--onnx", network(tmp_path / "net.onnx"), *PLAIN, "--data", folder, "-o", tmp_path / "out")
    assert ran.code == 2
    assert r"b\x1b[2J.png" in ran.err
    assert clean(ran.out + ran.err)


def test_labels_of_a_checkpoint(cli, tmp_path) -> None:
    folder = checkpoint(tmp_path / "net", [EVIL, "b", "c"])
    ran = cli("coreml", "--checkpoint", folder, "-o", tmp_path / "out")
    assert ran.code == 2
    assert f"0: {SHOWN}" in ran.err
    assert clean(ran.out + ran.err)
