"""Test what `parity` and `blame` say about the package, its weights, and an earlier comparison."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import portrait_export as pe
from tests.cli.sums import PLAIN, network, noise


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with own.onnx, its package, other.onnx, and photos/. Do not write into it."""
    folder = tmp_path_factory.mktemp("made")
    network(folder / "own.onnx")
    network(folder / "other.onnx", bias=-1.49)
    noise(folder / "photos", "a.png", "b.png")
    pe.export(onnx=folder / "own.onnx", mean=0.0, std=1.0, out=folder / "out", parity=False)
    return folder


def parity(cli, made: Path, onnx: str, *arguments: object):
    package = made / "out" / "own.mlpackage"
    return cli("parity", package, "--onnx", made / onnx, *PLAIN, "--data", made / "photos", *arguments)


def test_json_is_the_report_on_stdout_and_states_what_was_compared(cli, made):
    ran = parity(cli, made, "own.onnx", "--json")
    assert ran.code == 0, ran.err
    package = json.loads(ran.out)["package"]
    sha256 = json.loads((made / "out" / "export.json").read_text())["package"]["sha256"]
    assert package == {"sha256": sha256, "recipe": "none", "precision": "fp16", "target": "iOS17"}


def test_quiet_prints_the_verdict_and_each_gate_that_failed(cli, made):
    ran = parity(cli, made, "own.onnx", "-q")
    against = "own.mlpackage (as_typed) against ONNX Runtime, own.onnx, 2 photographs"
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"✓ all 4 gates passed: {against}\n"
    ran = parity(cli, made, "other.onnx", "--min-iou", "1", "-q")
    assert (ran.code, ran.err) == (1, "")
    *failed, verdict, other = ran.out.splitlines()
    assert verdict == f"✗ {len(failed)} of 4 gates failed: {against}".replace(
        "Runtime, own.onnx", "Runtime, other.onnx"
    )
    assert failed[0].startswith("✗ mean mask IoU is 0.9")
    assert failed[0].endswith(", wanted ≥ 1; over 2 images (set by --min-iou; the named bar is 0.999)")
    assert "was made from other weights" in other


def test_a_quiet_export_prints_its_path_and_beside_it_what_failed(cli, photos, tmp_path):
    command = ("coreml", "-m", "segformer_b0", "--random-weights", "--size", "64x64", "--data", photos)
    ran = cli(*command, "--quantize", "palette2", "--min-iou", "1", "-o", tmp_path, "-q")
    assert (ran.code, ran.out) == (1, f"{tmp_path / 'segformer_b0.mlpackage'}\n")
    assert "✗ mean mask IoU is 0." in ran.err
    assert all(line.startswith("✗ ") for line in ran.err.splitlines())


def on_kinds(cli, made: Path, *arguments: object):
    return cli("parity", made / "out" / "own.mlpackage", "--onnx", made / "own.onnx", *PLAIN, *arguments)


def test_kinds_choose_among_the_bundled_photographs(cli, made):
    ran = on_kinds(cli, made, "--kinds", "empty", "--json")
    assert {image["kind"] for image in json.loads(ran.out)["images"]} == {"empty"}


def test_kinds_that_do_not_exist_and_kinds_of_own_photographs_are_refused(cli, made):
    ran = on_kinds(cli, made, "--kinds", "portrait,evryday")
    assert (ran.code, "did you mean `everyday`" in ran.err) == (2, True), ran.err
    ran = parity(cli, made, "own.onnx", "--kinds", "portrait")
    assert ran.code == 2
    assert "--kinds chooses among the bundled photographs; with --data yours are compared" in " ".join(ran.err.split())
    with pytest.raises(pe.PortraitError, match="no kind of photograph 'cats'"):
        pe.check_parity(made / "out" / "own.mlpackage", onnx=made / "own.onnx", mean=0.0, std=1.0, kinds="cats")


def test_other_weights_are_reported_before_the_numbers(cli, made, tmp_path):
    ran = parity(cli, made, "other.onnx", "--out", tmp_path / "parity.json", "-q")
    assert any(
        "made from other weights" in note for note in json.loads((tmp_path / "parity.json").read_text())["notes"]
    )
    ran = parity(cli, made, "other.onnx")
    [line] = [line for line in ran.err.splitlines() if "made from other weights" in line]
    assert line.startswith("! own.mlpackage was made from other weights (of own, sha256 ")
    assert ran.err.index(line) < ran.err.index("parity ")
    assert "other weights" not in parity(cli, made, "own.onnx").err


def test_blame_reports_other_weights(cli, made):
    arguments = ("blame", made / "out" / "own.mlpackage", "--image", made / "photos" / "a.png", "--onnx")
    ran = cli(*arguments, made / "other.onnx")
    assert "! own.mlpackage was made from other weights" in ran.err
    report = json.loads(cli(*arguments, made / "other.onnx", "--json").out)
    assert "made from other weights" in report["other_weights"]
    assert json.loads(cli(*arguments, made / "out" / "own.onnx", "--json").out)["other_weights"] == ""


LITE = ("-m", "lite0_fpn", "--random-weights")  # its logits have half the side of its masks, segformer_b0's a quarter


def test_another_network_is_compared_by_its_masks(cli, small_export, photos):
    command = ("parity", small_export / "segformer_b0.mlpackage", *LITE, "--data", photos)
    ran = cli(*command, "--min-iou", "0", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert {gate["name"] for gate in report["gates"]} >= {"mean_mask_iou", "worst_mask_iou"}
    assert not any("logit" in gate["name"] for gate in report["gates"])
    assert [image["psnr_db"] for image in report["images"]] == [None, None]
    [note] = [note for note in report["notes"] if "not compared" in note]
    assert note == (
        "The logits are not compared and not gated, as they differ in size: PyTorch has 32x32,"
        " segformer_b0.mlpackage (as_typed) 16x16. The masks are compared at full size."
    )
    assert not any("Logits were not available" in note for note in report["notes"])
    ran = cli(*command, "-q")  # random weights have gates on logits alone: nothing is left to judge by
    assert (ran.code, ran.err) == (1, "")
    assert "(of segformer_b0, sha256 " in ran.out.splitlines()[-1]


def test_the_onnx_file_beside_a_package_has_its_weights_and_other_logits(cli, small_export, photos):
    package = small_export / "segformer_b0.mlpackage"
    ran = cli("parity", package, "--onnx", package.with_suffix(".onnx"), "--data", photos, "--min-iou", "0.5")
    assert ran.code == 0, ran.err
    assert "as they differ in size: ONNX Runtime, segformer_b0.onnx has 64x64" in ran.out
    assert "other weights" not in ran.out + ran.err


def test_a_size_that_a_package_does_not_take_is_refused_before_any_photograph(cli, small_export, photos):
    package = small_export / "segformer_b0.mlpackage"
    ran = cli("parity", package, "-m", "segformer_b0", "--random-weights", "--data", photos, "--size", "32x32")
    assert ran.code == 2
    assert "segformer_b0.mlpackage takes 64x64; found --size 32x32" in ran.err


def test_blame_of_another_network_says_so_and_blames_no_operation(cli, small_export, photos):
    command = ("blame", small_export / "segformer_b0.mlpackage", *LITE, "--image", photos / "noise.png")
    ran = cli(*command, "-q")
    verdict, reason = ran.out.strip().splitlines()
    assert ran.code == 1
    assert verdict.startswith("✗ these are two networks: ")
    assert verdict.endswith(
        "values of segformer_b0.mlpackage have a counterpart in lite0_fpn, so no operation is blamed"
    )
    assert "was made from other weights (of segformer_b0, sha256 " in reason
    assert json.loads(cli(*command, "--json").out)["other_network"] is True


def test_names_in_a_line_are_few(capfd):
    """A package of another network had 140 of them in one line."""
    from portrait_export.cli.blame_summary import _show_first
    from portrait_export.verify.blame import OpError

    op = OpError(
        name="out",
        kind="conv",
        shape=(1, 2),
        snr_db=1.0,
        psnr_db=1.0,
        own_snr_db=None,
        drop_db=9.0,
        max_abs=1.0,
        low=0.0,
        high=1.0,
        candidate_low=0.0,
        candidate_high=1.0,
        candidate_non_finite=0,
        overflows_half=False,
        half_snr_db=50.0,
        covers=tuple(f"{'x' * 100}{index}" for index in range(140)),
    )
    found = SimpleNamespace(isolated=False, bad=(op,))
    unpaired = tuple(map(str, range(140)))
    _show_first(
        op,
        SimpleNamespace(found=found, other_weights="", few_paired=True, values=145, unpaired=unpaired, reference="net"),
        own_bar=False,
    )
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) < 500
    [covers] = [line for line in lines if "covers" in line]
    assert covers.startswith("  covers 140 earlier operations that have no counterpart: …x")
    assert covers.endswith("x5 and 134 more")
    assert "  only 5 of 145 values have a counterpart in net: check that the package was made from it" in lines


BLAMED = {
    "a_photo_that_is_none": (("--image", "text.png"), "is not a picture that can be read"),
    "a_file_as_the_folder": (("-o", "text.png"), "text.png is a file, not a folder"),
    "nan_as_a_bar": (("--bar", "nan"), "nan is not in the range 0<=x<=200"),
}


@pytest.mark.parametrize("name", BLAMED)
def test_blame_checks_what_it_can_before_it_reads_the_package(cli, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    arguments, message = BLAMED[name]
    ran = cli("blame", "nothing.mlpackage", "-m", "serseg_b0", *arguments)
    assert ran.code == 2
    assert message in ran.err


def gates_of(path: Path) -> dict[str, Any]:
    return {gate["name"]: gate for gate in json.loads(path.read_text())["gates"]}


def test_a_baseline_is_a_gate_on_what_was_lost_since(cli, made, tmp_path):
    before, now = tmp_path / "before.json", tmp_path / "now.json"
    assert parity(cli, made, "own.onnx", "--out", before).code == 0
    ran = parity(cli, made, "own.onnx", "--baseline", before, "--out", now)
    assert ran.code == 0, ran.out
    assert gates_of(now)["mean_iou_drop"]["value"] == 0
    report = json.loads(before.read_text())
    report["images"][0]["iou"] -= 0.05  # it was worse before: a gain is no loss
    before.write_text(json.dumps(report))
    assert parity(cli, made, "own.onnx", "--baseline", before).code == 0
    lower = ("--min-iou", "0.5", "--baseline", before, "--out", now)
    ran = parity(cli, made, "other.onnx", *lower)
    assert ran.code == 1
    gates = gates_of(now)
    assert not gates["image_iou_drop"]["passed"] or not gates["mean_iou_drop"]["passed"]
    assert parity(cli, made, "other.onnx", *lower, "--tolerance", "1").code in (0, 1)
    assert gates_of(now)["mean_iou_drop"]["passed"]


REFUSED = {
    "missing": (None, "cannot be read"),
    "not_json": ("{", "is not JSON"),
    "something_else": ("[]", "has no mask IoU of any photograph"),
    "no_numbers": ('{"images": [{"name": "a", "iou": null}]}', "has no mask IoU of any photograph"),
    "other_photographs": ('{"images": [{"name": "c", "iou": 1}]}', "is of other photographs: 3 are in one of the two"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_baseline_is_refused(cli, made, tmp_path, name):
    text, message = REFUSED[name]
    if text is not None:
        (tmp_path / "baseline.json").write_text(text)
    ran = parity(cli, made, "own.onnx", "--baseline", tmp_path / "baseline.json")
    assert ran.code == 2
    assert message in ran.err
