"""Test `train`, `label` and `evaluate` from the outside: output, files and exit codes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from portrait_export.cli import run

CONFIG = """
model = "segformer_b0"
data = "{data}"
out = "{out}"
holdout = 4
every = 2
pictures = 1
average = 0.5
[[phases]]
steps = 4
size = 32
batch = 2
"""


@pytest.fixture
def config(painted: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(data=painted, out=tmp_path / "out"))
    return path


def test_train_then_evaluate_its_checkpoint(config: Path, painted: Path, tmp_path: Path, capsys) -> None:
    assert run(["train", str(config), "--check"]) == 0
    assert "6 photos to train on, 2 to validate on, no problems." in capsys.readouterr().out
    assert run(["train", str(config), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["steps"], done["resumed_at"]) == (4, 0)
    rows = [line.split(",") for line in (tmp_path / "out/log.csv").read_text().splitlines()]
    ious = {int(row[0]): float(row[rows[0].index("iou")]) for row in rows[1:]}
    assert done["best_step"] == max(ious, key=ious.__getitem__)
    assert run(["train", str(config)]) == 0
    assert f", best at step {done['best_step']} of 4\n" in capsys.readouterr().out
    arguments = ["evaluate", "--checkpoint", done["best"], "--size", "64x64", "--data", str(painted)]
    written = ["--csv", str(tmp_path / "e.csv"), "--sheet", str(tmp_path / "e.png"), "--worst", "3"]
    assert run([*arguments, *written, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["images"] == 8
    assert 0 <= scores["iou_worst"] <= scores["iou_mean"] <= 1
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 9
    with Image.open(tmp_path / "e.png") as sheet:
        assert sheet.size == (480, 14 + 3 * 174)
    assert run([*arguments, "--min-iou", "1", "--quiet"]) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_training_exits_with_130_and_says_how_to_go_on(
    config: Path, monkeypatch, capsys, number: signal.Signals
) -> None:
    from portrait_export.training.run import Run

    real = Run.training_step

    def step(self: Run, batch: dict[str, Any], index: int) -> None:
        if int(self.step) == 3:
            signal.raise_signal(number)
        real(self, batch, index)

    monkeypatch.setattr(Run, "training_step", step)
    assert run(["train", str(config), "--quiet"]) == 130
    words = "interrupted: no file was left half-written; the same command resumes at the last validation.\n"
    assert capsys.readouterr().err.endswith(words)
    assert run(["train", str(config), "--quiet", "--fresh"]) == 130
    assert "; the same command without --fresh resumes at the last validation.\n" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(["train", str(config), "--quiet"]) == 0
    assert capsys.readouterr().out.endswith(" of 4, resumed at step 2\n")


def test_train_names_every_fault_and_exits_with_2(config: Path, painted: Path, capsys) -> None:
    (painted / "images/p1.png").write_bytes(b"broken")
    (painted / "masks/p2.png").unlink()
    assert run(["train", str(config)]) == 2
    shown = capsys.readouterr().err
    assert "error: bad-data" in shown
    assert "2 faults" in shown
    assert "p1.png" in shown
    assert "p2.png" in shown


def test_evaluate_needs_exactly_one_runner(capsys) -> None:
    assert run(["evaluate"]) == 2
    assert "Nothing to evaluate" in capsys.readouterr().err
    assert run(["evaluate", "--model", "segformer_b0", "--package", "x.mlpackage"]) == 2
    assert "--package and --model or --checkpoint cannot be used together" in capsys.readouterr().err


def test_evaluate_of_an_unknown_split_names_the_splits(capsys) -> None:
    arguments = ["evaluate", "--model", "segformer_b0", "--random-weights", "--size", "32x32", "--split", "eval"]
    assert run(arguments) == 2
    assert "did you mean `evaluate`? The splits are: calibrate, evaluate." in capsys.readouterr().err


def test_label_with_a_network_writes_masks(config: Path, painted: Path, capsys) -> None:
    assert run(["train", str(config), "--quiet"]) == 0
    for mask in (painted / "masks").iterdir():
        mask.unlink()
    for photo in painted.glob("images/p[1-7].png"):
        photo.unlink()  # a checkpoint works at 512x512, six times per photograph
    best = config.parent / "out/best"
    capsys.readouterr()
    assert run(["label", str(painted), "--checkpoint", str(best), "--json"]) == 0
    assert [made["name"] for made in json.loads(capsys.readouterr().out)] == ["p0"]
    assert [path.name for path in (painted / "masks").iterdir()] == ["p0.png"]
    assert run(["label", str(painted), "--checkpoint", str(best)]) == 0
    assert "already has a mask" in capsys.readouterr().out
