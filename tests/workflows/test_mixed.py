"""Packages by rules and by budget: sizes are kept, gates judged, measurements repeated only when something changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch


def export(cli, network: Path, photos: Path, out: Path, *words: object):
    fixed = ["--target", "iOS18", "--data", photos, "-o", out, "--force", "--json"]
    return cli("coreml", "--onnx", network, *fixed, *words)


def choice(record: dict) -> dict[str, str]:
    return next(stage["choice"] for stage in record["stages"] if "choice" in stage)


def summary(record: dict, name: str) -> str:
    return next(stage["summary"] for stage in record["stages"] if stage["name"] == name)


def test_the_best_masks_within_a_size(cli, network, photos, tmp_path):
    plain = json.loads(export(cli, network, photos, tmp_path / "none", "--quantize", "none").out)
    size = plain["package"]["size_bytes"]
    sizes, first = [], None
    for share in (0.65, 0.5):
        words = ("--quantize", "mixed", "--max-mb", f"{share * size / 1e6:.4f}", "--min-iou", "0.5")
        ran = export(cli, network, photos, tmp_path / "mixed", *words)
        record = json.loads(ran.out)
        first = first or record
        sizes.append(record["package"]["size_bytes"])
        assert sizes[-1] <= share * size
        assert record["audit"]["passed"]
        assert next(gate for gate in record["gates"] if gate["name"] == "size_bytes")["passed"]
    assert sizes[0] > sizes[1]
    assert "measured before" not in summary(first, "sensitivity")
    assert "gradients of the masks, measured before" in summary(record, "sensitivity")
    again = export(cli, network, photos, tmp_path / "again", *words)  # without the file of the first run
    assert json.loads(again.out)["package"]["sha256"] == record["package"]["sha256"]
    (tmp_path / "mixed" / "sensitivities.json").write_text('{"key": []}')
    mended = json.loads(export(cli, network, photos, tmp_path / "mixed", *words).out)
    assert mended["package"]["sha256"] == record["package"]["sha256"]
    [package] = (tmp_path / "mixed").glob("*.mlpackage")
    assert "nothing is wrong" in cli("audit", package, "--against", network).out


def test_the_smallest_package_that_reaches_an_iou(cli, network, photos, tmp_path):
    found = {}
    for bar in ("0.9", "0.99"):
        ran = export(cli, network, photos, tmp_path / bar, "--quantize", "mixed", "--min-iou", bar)
        found[bar] = json.loads(ran.out)
        assert ran.code == 0
        assert min(g["value"] for g in found[bar]["gates"] if g["name"].startswith("mean_mask_iou")) >= float(bar)
    assert found["0.9"]["package"]["size_bytes"] <= found["0.99"]["package"]["size_bytes"]


def test_a_budget_that_cannot_be_kept_is_reported_with_the_best_that_was_found(cli, network, photos, tmp_path):
    ran = export(cli, network, photos, tmp_path / "out", "--quantize", "mixed", "--max-mb", "0.001")
    record = json.loads(ran.out)
    assert ran.code == 1
    assert any(line.startswith("Not reachable: best found 0.0") for line in record["warnings"])
    both = ("--quantize", "mixed", "--max-mb", f"{record['package']['size_bytes'] / 1e6 + 1e-4:.4f}", "--min-iou", "1")
    ran = export(cli, network, photos, tmp_path / "out", *both)
    assert ran.code == 1
    assert any("are predicted to need" in line for line in json.loads(ran.out)["warnings"])


def test_a_mixed_package_can_be_tuned(cli, network, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("portrait_export.workflows.tune.STEPS", 32)
    rules = tmp_path / "rules.toml"
    rules.write_text('recipe = "palette2"\n')
    words = ("--quantize", rules)
    plain, tuned = (
        json.loads(export(cli, network, photos, tmp_path / name, *words, *more).out)
        for name, more in (("plain", []), ("tuned", ["--tune"]))
    )
    assert "values: squared distance" in summary(tuned, "tune")
    assert tuned["audit"]["passed"]
    assert tuned["package"]["size_bytes"] == plain["package"]["size_bytes"]
    assert tuned["package"]["sha256"] != plain["package"]["sha256"]


def test_a_file_of_rules(cli, network, photos, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('recipe = "palette4"\n[[rules]]\nweights = "*body_8*"\nrecipe = "int8"\n')
    ran = export(cli, network, photos, tmp_path / "out", "--quantize", rules)
    assert ran.code in (0, 1), ran.err
    types = {w["name"]: w["dtype"] for w in json.loads(ran.out)["audit"]["weights"] if w["compressed"]}
    assert {dtype for name, dtype in types.items() if "body_8" in name} == {"int8"}
    assert "uint4" in types.values()
    rules.write_text('[[rules]]\nweights = "*decoder*"\nrecipe = "int8"\n')
    assert "weights '*decoder*' fit none" in export(cli, network, photos, tmp_path / "no", "--quantize", rules).err


REFUSED = {
    "no budget": (["--quantize", "mixed"], "and there is none"),
    "no budget without masks": (["--quantize", "mixed", "--no-parity"], "and there is none"),
    "a size for one recipe": (["--quantize", "int8", "--max-mb", "1"], "--max-mb is for --quantize mixed"),
    "no file": (["--quantize", "missing.toml"], "cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_before_any_work(cli, network, tmp_path, case):
    words, complaint = REFUSED[case]
    ran = cli("coreml", "--onnx", network, "-o", tmp_path / "out", *words)
    assert ran.code == 2
    assert complaint in ran.err
    assert not (tmp_path / "out").exists()


def test_gradients_predict_what_a_small_change_of_a_weight_does_to_the_mask(cli, network, photos, tmp_path):
    """The mean of many random sums against the change itself, computed by another path: the weight is changed."""
    from portrait_export.inputs.frames import load_frames
    from portrait_export.mil.program import read_program
    from portrait_export.preprocessing import LOGITS_KEY
    from portrait_export.quantize.layers import find_weights
    from portrait_export.runtime.mask_changes import MaskChanges
    from portrait_export.runtime.runner import PackageRunner
    from portrait_export.runtime.weight_gradients import MaskGradients

    cli("coreml", "--onnx", network, "--target", "iOS18", "--no-parity", "-o", tmp_path / "out")
    package = tmp_path / "out" / "net.mlpackage"
    runner = PackageRunner(package, arithmetic="fp32")
    weights = find_weights(read_program(package).main, min_elements=2048)
    inputs = runner.inputs_of(load_frames(photos, runner.spec)[0].frame)
    gradients = MaskGradients(package, list(weights.layers), runner.program.metadata.user_defined[LOGITS_KEY])
    sums = list(gradients.of(inputs, 300))

    def run() -> torch.Tensor:
        return gradients._program.run(inputs, gradients._logits, gradients._weights)

    generator = np.random.default_rng(0)
    for name in weights.layers:
        weight = gradients._weights[name]
        change = torch.from_numpy(generator.normal(0, 1e-3 * float(weight.detach().std()), weight.shape)).float()
        predicted = float(np.mean([float((one[name] * change).sum()) ** 2 for one in sums]))
        with torch.no_grad():
            before = torch.sigmoid(run())
            weight += change
            actual = float(((torch.sigmoid(run()) - before) ** 2).sum())
            weight -= change
        assert predicted == pytest.approx(actual, rel=0.35), name
        alone = MaskChanges(package, list(weights.layers), gradients._logits).of(inputs, {name: change.flatten()})
        assert alone == {name: pytest.approx(actual, rel=1e-4)}  # sums in single and double precision


@pytest.mark.parametrize(("words", "few"), [(("palette2", "--rounding", "nearest"), True), (("int8",), False)])
def test_a_package_that_fails_names_what_is_better_at_its_size(words, few, cli, network, photos, tmp_path):
    ran = export(cli, network, photos, tmp_path / "out", "--quantize", *words)
    assert ran.code == 1
    record = json.loads(ran.out)
    notes = "\n".join(json.loads((tmp_path / "out/parity.json").read_text())["notes"])
    assert "rounding gptq compensates the errors" in notes
    mixed = f"quantize mixed with max_mb {record['package']['size_bytes'] / 1e6:.2f}"
    assert (mixed in notes) is few
    assert ("too few bits" in notes) is few
