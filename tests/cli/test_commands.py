"""Test every command from the outside: exit codes, results on stdout, messages on stderr, JSON."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.cli import COMMANDS
from portrait_export.imaging.compose import mask_picture
from portrait_export.imaging.photo import open_photo
from portrait_export.imaging.placement import mask_back, refined_back, to_frame
from portrait_export.models.registry import list_models
from portrait_export.runtime.runner import PackageRunner

ROOT = Path(__file__).parents[2]
SMALL = ("--size", "64x64", "--random-weights")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option(cli, command):
    ran = cli(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: portrait-export {command}")
    undocumented = [line for line in ran.out.splitlines() if line.strip().startswith("-") and len(line.split()) < 3]
    assert [line for line in undocumented if not line.startswith(" " * 4)] == []
    assert not re.search(r"\[default: [^]]*\]\s+\[default: ", ran.out)  # one in the text, one from Click


def test_without_a_command_the_help_is_printed_as_a_mistake(cli):
    ran = cli()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == cli("--help").out


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "serve"])  # its stdout is a protocol
def test_json_is_a_flag_of_every_command(cli, command):
    ran = cli(command, "--help")
    assert re.search(r"--json +Print the result as JSON on stdout\.", ran.out)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documents_show_every_command(command):
    written_by_hand = [ROOT / "README.md", *(p for p in (ROOT / "docs").glob("*.md") if p.name != "cli.md")]
    assert any(f"portrait-export {command}" in page.read_text() for page in written_by_hand)


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]], ids=lambda words: " ".join(words) or "all")
def test_help_imports_nothing_heavy(command):
    """Check imports instead of seconds: --help is fast because it imports nothing heavy."""
    script = (
        "import sys\n"
        "from portrait_export.cli import run\n"
        f"run({[*command, '--help']!r})\n"
        "heavy = {'torch', 'coremltools', 'onnx', 'onnxsim', 'onnxruntime', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_coreml_writes_every_artifact_and_reports_on_stdout(cli, photos, tmp_path):
    out = tmp_path / "out"
    ran = cli("coreml", "-m", "segformer_b0", *SMALL, "--quantize", "int8", "--data", photos, "-o", out)
    assert ran.code == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "contact.png",
        "export.json",
        "parity.json",
        "report.html",
        "segformer_b0.mlpackage",
        "segformer_b0.onnx",
        "worst.png",
    ]
    assert "logits PSNR" in ran.out
    assert "masks cut from them mean nothing" in ran.out
    stages = ["load", "capture", "simplify", "lower", "compile", "quantize", "save", "audit", "parity", "report"]
    assert [line.split()[1] for line in ran.err.splitlines()] == stages
    record = json.loads((out / "export.json").read_text())
    assert record["passed"] is True
    assert record["package"]["size_bytes"] < 4_200_000
    assert [stage["name"] for stage in record["stages"]] == stages
    assert {gate["name"] for gate in record["gates"]} == {"non_finite_images", "logits_psnr_db", "size_bytes"}


def test_coreml_json_is_the_export_record_and_nothing_else(cli, tmp_path):
    ran = cli("coreml", "-m", "segformer_b0", *SMALL, "--no-parity", "--json", "-o", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == json.loads((tmp_path / "export.json").read_text())


def test_coreml_does_not_touch_an_existing_package(cli, small_export):
    before = (small_export / "export.json").read_bytes()
    ran = cli("coreml", "-m", "segformer_b0", *SMALL, "--quantize", "int8", "-o", small_export)
    assert ran.code == 2
    assert "already exists" in ran.err
    assert "--force" in ran.err
    assert (small_export / "export.json").read_bytes() == before


def test_parity_passes_and_writes_json_and_junit(cli, small_export, photos, tmp_path):
    ran = cli(
        *("parity", small_export / "segformer_b0.mlpackage", "-m", "segformer_b0", "--random-weights"),
        *("--data", photos, "--out", tmp_path / "p.json", "--junit", tmp_path / "p.xml"),
    )
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "p.json").read_text())["passed"] is True
    assert ET.parse(tmp_path / "p.xml").getroot().tag == "testsuites"


def test_parity_fails_on_a_package_of_other_weights(cli, small_export, photos, tmp_path):
    """The package holds seed 0; the checkpoint holds seed 1."""
    from safetensors.torch import save_file

    from portrait_export.models.registry import create_model

    save_file(create_model("segformer_b0", seed=1).state_dict(), tmp_path / "other.safetensors")
    ran = cli(
        *("parity", small_export / "segformer_b0.mlpackage", "-m", "segformer_b0"),
        *("--checkpoint", tmp_path / "other.safetensors", "--data", photos),
    )
    assert ran.code == 1
    assert "✗" in ran.out


def test_onnx_writes_a_file_that_onnx_runtime_runs(cli, tmp_path):
    import onnx
    import onnxruntime

    path = tmp_path / "deep" / "net.onnx"
    ran = cli("onnx", "-m", "segformer_b0", *SMALL, "--opset", "18", "-o", path)
    assert (ran.code, ran.out) == (0, f"{path}\n")
    assert [entry.version for entry in onnx.load(path).opset_import] == [18]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["image"]
    outputs = session.run(["mask", "logits"], {"image": np.zeros((1, 3, 64, 64), np.float32)})
    assert [o.shape for o in outputs] == [(1, 1, 64, 64), (1, 1, 16, 16)]


HELP = {
    "parity": ["[default: every size of the package]", ".pth, .pt or .ckpt"],
    "evaluate": ["the first of a package]"],
    "segment": ["of a package, the one that suits the photo]"],
    "coreml": ["[default: the model's, 512x512]"],
    "coreai": ["[default: 4 of the bundled ones]"],
    "rebuild": ["everyday/manifest.json", "portraits/, masks/", "synthetic/"],
}


@pytest.mark.parametrize("command", HELP)
def test_help_states_what_the_command_does(cli, command):
    shown = " ".join(cli(command, "--help").out.split())
    assert [text for text in HELP[command] if text not in shown] == []


def test_weights_are_bundled_or_none(cli):
    ran = cli("models")
    assert "bundled" in ran.out
    assert "shipped" not in ran.out


def test_models_lists_all_with_their_size(cli):
    ran = cli("models", "--json")
    rows = {row["name"]: row for row in json.loads(ran.out)}
    assert sorted(rows) == list_models()
    assert rows["segformer_b0"]["parameters"] == 3_714_401
    assert rows["serseg_b0"]["gmacs"] == pytest.approx(27.1, abs=0.05)
    table = cli("models", "serseg_*").out
    assert "serseg_b0_dam_depth" in table
    assert "segformer_b0" not in table


@pytest.mark.parametrize(("look", "mode"), [("mask", "L"), ("cutout", "RGBA"), ("replace", "RGB"), ("blur", "RGB")])
def test_segment_keeps_the_photos_own_size(cli, package, photos, tmp_path, look, mode):
    ran = cli("segment", photos / "portrait.png", "-p", package, "--as", look, "-o", tmp_path / "out.png")
    assert ran.code == 0, ran.err
    with Image.open(tmp_path / "out.png") as picture:
        assert (picture.size, picture.mode) == ((80, 96), mode)


def test_segment_refines_unless_told_not_to(cli, package, photos, tmp_path):
    photo = photos / "portrait.png"
    assert cli("segment", photo, "-p", package, "-o", tmp_path / "refined.png").code == 0
    assert cli("segment", photo, "-p", package, "--no-refine", "-o", tmp_path / "raw.png").code == 0
    runner, read = PackageRunner(package), open_photo(photo)
    frame, placement = to_frame(read, runner.spec)
    mask = runner.run([frame])[0].probability
    expected = {"refined": refined_back(mask, placement, read.pixels), "raw": mask_back(mask, placement)}
    assert not np.array_equal(expected["refined"], expected["raw"])
    for name, probability in expected.items():
        written = np.asarray(Image.open(tmp_path / f"{name}.png"))
        np.testing.assert_array_equal(written, mask_picture(probability))


def test_segment_continues_after_an_unreadable_photo(cli, package, photos, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    ran = cli("segment", tmp_path / "broken.jpg", photos / "noise.png", "-p", package, "-o", tmp_path / "masks")
    assert ran.code == 2
    assert "broken.jpg" in ran.err
    assert ran.out == f"{tmp_path / 'masks' / 'noise-mask.png'}\n"


def test_segment_agrees_between_model_and_package(cli, package, photos, tmp_path):
    photo = photos / "portrait.png"
    assert cli("segment", photo, "-p", package, "-o", tmp_path / "p.png").code == 0
    assert cli("segment", photo, "-m", "segformer_b0", *SMALL, "-o", tmp_path / "m.png").code == 0
    by_package, by_model = (np.asarray(Image.open(tmp_path / name), np.float32) for name in ("p.png", "m.png"))
    assert np.abs(by_package - by_model).mean() < 4  # of 255: int8 weights against float32


@pytest.mark.parametrize("suffix", ["mlpackage", "onnx"])
def test_inspect_shows_inputs_outputs_operations_weights(cli, small_export, suffix):
    path = small_export / f"segformer_b0.{suffix}"
    facts = json.loads(cli("inspect", path, "--json").out)
    assert [f["name"] for f in facts["inputs"]] == ["image"]
    assert "mask" in [f["name"] for f in facts["outputs"]]
    assert facts["operations"][{"mlpackage": "conv", "onnx": "Conv"}[suffix]] > 20
    assert set(facts["weights"]) >= ({"int8", "fp16"} if suffix == "mlpackage" else {"float"})
    text = cli("inspect", path).out
    assert "operations" in text
    assert "portrait_export.spec" in text


@pytest.mark.parametrize("suffix", ["mlpackage", "onnx"])
def test_inspect_shows_what_a_run_costs(cli, small_export, suffix):
    path = small_export / f"segformer_b0.{suffix}"
    cost = json.loads(cli("inspect", path, "--json").out)["cost"]
    assert cost["macs"]["conv"] > cost["macs"]["matmul"] > 0
    assert cost["total_macs"] == cost["weight_macs"] + cost["macs"]["matmul"]
    text = cli("inspect", path).out
    for words, number in (
        ("MACs, conv", cost["macs"]["conv"]),
        ("parameters", cost["parameters"]),
        ("reshapes, transposes and similar", cost["layout_ops"]),
    ):
        assert re.search(rf"{words} +{number:,}\n", text)


@pytest.mark.parametrize(
    ("suffix", "reader"), [("mlpackage", "mil.program.read_program"), ("onnx", "capture.onnx.load.load_onnx")]
)
def test_inspect_reads_its_file_once(cli, small_export, suffix, reader, monkeypatch):
    module, _, name = f"portrait_export.{reader}".rpartition(".")
    read = getattr(importlib.import_module(module), name)
    calls = []
    monkeypatch.setattr(f"{module}.{name}", lambda *given: calls.append(given) or read(*given))
    assert cli("inspect", small_export / f"segformer_b0.{suffix}", "--lint").code == 0
    assert len(calls) == 1


def test_inspect_states_the_deployment_target_and_our_metadata(cli, small_export):
    from portrait_export.preprocessing import PortraitSpec

    facts = json.loads(cli("inspect", small_export / "segformer_b0.mlpackage", "--json").out)
    assert facts["needs"] == "iOS17"
    spec = PortraitSpec.from_json(facts["metadata"]["portrait_export.spec"])
    assert (spec.height, spec.width, spec.output) == (64, 64, "mask")
    assert facts["metadata"]["portrait_export.recipe"] == "int8"
    assert len(facts["metadata"]["portrait_export.weights_sha256"]) == 64


def test_no_color_is_respected(small_export):
    """NO_COLOR wins even over FORCE_COLOR."""
    done = subprocess.run(
        [sys.executable, "-m", "portrait_export", "inspect", str(small_export / "segformer_b0.mlpackage")],
        capture_output=True,
        text=True,
        check=True,
        env={"NO_COLOR": "1", "FORCE_COLOR": "1", "PATH": ""},
    )
    assert "\x1b" not in done.stdout + done.stderr


@pytest.fixture
def without_weights(monkeypatch, tmp_path):
    """A registered model's name, in an installation without bundled weights."""
    monkeypatch.setattr("portrait_export.models.spec.WEIGHTS_DIR", tmp_path / "none")
    return "sernet_former"


REFUSING = {
    "coreml": ("coreml", "-m", "MODEL", "-o", "OUT"),
    "coreml without parity": ("coreml", "-m", "MODEL", "--no-parity", "--json", "-o", "OUT"),
    "onnx": ("onnx", "-m", "MODEL", "-o", "OUT/net.onnx"),
    "parity": ("parity", "PACKAGE", "-m", "MODEL"),
    "blame": ("blame", "PACKAGE", "-m", "MODEL", "-o", "OUT"),
    "segment": ("segment", "PHOTO", "-m", "MODEL", "-o", "OUT/mask.png"),
    "evaluate": ("evaluate", "-m", "MODEL", "--csv", "OUT/scores.csv"),
    "label": ("label", "FOLDER", "-m", "MODEL"),
}


@pytest.mark.parametrize("words", REFUSING.values(), ids=REFUSING)
def test_a_model_without_weights_is_refused(cli, without_weights, words, small_export, photos, tmp_path):
    places = {
        "MODEL": without_weights,
        "PACKAGE": str(small_export / "segformer_b0.mlpackage"),
        "PHOTO": str(photos / "noise.png"),
        "FOLDER": str(tmp_path / "data"),
    }
    (tmp_path / "data/images").mkdir(parents=True)
    shutil.copy(photos / "noise.png", tmp_path / "data/images")
    out = tmp_path / "out"
    ran = cli(*[places.get(word, word).replace("OUT", str(out)) for word in words])
    assert (ran.code, ran.out) == (2, "")
    assert "error: no-bundled-weights" in ran.err
    assert "Model `sernet_former` comes without trained weights." in ran.err
    assert "hint: pass --checkpoint with yours" in ran.err
    assert "to measure size and shapes only, pass --random-weights." in ran.err
    assert not out.exists()


def test_a_model_without_weights_is_listed_as_such_and_takes_random_ones(cli, without_weights, photos, tmp_path):
    assert {row["weights"] for row in json.loads(cli("models", "--json").out)} == {False}
    assert "bundled" not in cli("models").out
    out = tmp_path / "out"
    ran = cli("coreml", "-m", without_weights, *SMALL, "--data", photos, "-o", out)
    assert ran.code == 0, ran.err
    assert "(random, seed 0)" in ran.err
    assert "masks cut from them mean nothing" in ran.out
    assert json.loads((out / "export.json").read_text())["trained"] is False
    facts = json.loads(cli("inspect", out / f"{without_weights}.mlpackage", "--json").out)
    assert "RANDOM WEIGHTS" in facts["metadata"]["description"]
