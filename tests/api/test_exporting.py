"""Exports from Python: silent, observed, typed, refused in Python's words."""

from __future__ import annotations

import json

import pytest

import portrait_export as pe


class Recorder(pe.SilentObserver):
    def __init__(self) -> None:
        self.finished: list[str] = []

    def stage_finished(self, stage: pe.Stage) -> None:
        self.finished.append(stage.name)


SMALL = {"random_weights": True, "size": (64, 64)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, photos):
    recorder = Recorder()
    out = tmp_path_factory.mktemp("api") / "out"
    export = pe.export("segformer_b0", **SMALL, quantize="int8", out=out, data=photos, observer=recorder)
    return export, recorder, out


def test_an_export_returns_paths_sizes_gates_and_the_verdict(exported):
    export, _, out = exported
    assert export.folder == out
    assert export.package.path == out / "segformer_b0.mlpackage"
    assert export.package.path.is_dir()
    assert export.package.size_bytes < 4_200_000
    assert export.onnx == out / "segformer_b0.onnx"
    assert export.onnx.is_file()
    assert export.report == out / "report.html"
    assert export.report.is_file()
    assert export.sizes == ((64, 64),)
    assert {gate.name for gate in export.gates} == {"non_finite_images", "logits_psnr_db", "size_bytes"}
    assert export.passed is all(gate.passed for gate in export.gates)
    assert json.loads(json.dumps(export.record)) == json.loads((out / "export.json").read_text())


def test_an_observer_sees_every_stage(exported):
    _, recorder, _ = exported
    stages = ["load", "capture", "simplify", "lower", "compile", "quantize", "save", "audit", "parity", "report"]
    assert recorder.finished == stages


def test_results_cannot_be_changed(exported):
    with pytest.raises(AttributeError):
        exported[0].folder = "elsewhere"


def test_an_existing_package_is_kept_and_the_error_names_the_argument(exported):
    export, _, out = exported
    with pytest.raises(pe.PortraitError) as caught:
        pe.export("segformer_b0", **SMALL, quantize="int8", out=out)
    assert caught.value.code == "already-exists"
    assert caught.value.hint == "pass `force=True` to replace it, or another `name=` or `out=` to keep both."
    assert export.package.path.is_dir()


def test_nothing_is_printed_and_parity_can_be_skipped(tmp_path, capfd):
    path = pe.export_onnx("segformer_b0", **SMALL, out=tmp_path / "net.onnx").path
    export = pe.export(onnx=path, parity=False, out=tmp_path / "out")
    assert (export.parity, export.gates, export.report, export.passed) == (None, (), None, True)
    assert capfd.readouterr() == ("", "")


def test_an_observer_can_stop_the_run(tmp_path):
    class Stop(pe.SilentObserver):
        def stage_started(self, name: str) -> None:
            if name == "capture":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pe.export("segformer_b0", **SMALL, out=tmp_path / "out", observer=Stop())
    assert not (tmp_path / "out").exists()


REFUSED = {
    "no_such_model": ({"model": "segformer_bo"}, "There is no model `segformer_bo`"),
    "no_such_target": ({"model": "segformer_b0", "target": "ios17"}, "`target='ios17'` does not exist"),
    "no_such_output": ({"model": "segformer_b0", "output": "masks"}, "`output='masks'` does not exist"),
    "no_such_precision": ({"model": "segformer_b0", "precision": "fp8"}, "`precision='fp8'` does not exist"),
    "size_and_sizes": (
        {"model": "segformer_b0", "size": (64, 64), "sizes": [(64, 64), (96, 96)]},
        "`size=(64, 64)` and `sizes=((64, 64), (96, 96))` cannot be used together.",
    ),
    "mean_of_a_registered_model": ({"model": "segformer_b0", "mean": 0.5}, "describes a network of your own"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arguments_are_refused_before_the_work(name, tmp_path):
    arguments, message = REFUSED[name]
    with pytest.raises(pe.UsageError) as caught:
        pe.export(**arguments, out=tmp_path / "out")
    assert message in caught.value.message
    assert not (tmp_path / "out").exists()


def test_a_model_without_weights_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("portrait_export.models.spec.WEIGHTS_DIR", tmp_path / "none")
    with pytest.raises(pe.PortraitError, match="comes without trained weights"):
        pe.export("sernet_former", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
