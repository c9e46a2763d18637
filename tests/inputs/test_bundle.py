"""Parity bundles: `parity --from-device` judges a device's masks; bundles that cannot be trusted are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from portrait_export.calibration.dataset import calibration_items
from portrait_export.errors import DataError, ExecutionError
from portrait_export.imaging.compose import mask_picture
from portrait_export.inputs.bundle import MAX_LIST_BYTES, DeviceRunner, open_bundle
from portrait_export.inputs.frames import load_frames
from portrait_export.mil.package import saved_package
from portrait_export.runtime.runner import PackageRunner
from portrait_export.workflows import steps

MODEL = ("--model", "segformer_b0", "--random-weights")
BAR = ("--min-iou", "0.8")  # random weights have no bars of their own


def write_bundle(folder: Path, package: Path, data: Path) -> Path:
    """A bundle as the demo writes it, with the masks of our runtime."""
    runner = PackageRunner(package)
    assert runner.spec is not None
    rows = []
    for part in ("frames", "masks"):
        (folder / part).mkdir(parents=True)
    for labelled in load_frames(data, runner.spec):
        name = labelled.frame.name
        rows.append(
            {"name": name, "frame": f"frames/{name}.png", "mask": f"masks/{name}.png", "network_ms": 10.0 + len(rows)}
        )
        Image.fromarray(labelled.frame.image).save(folder / rows[-1]["frame"])
        mask = mask_picture(runner.run([labelled.frame])[0].probability)
        Image.fromarray(mask).save(folder / rows[-1]["mask"])
    record = {
        "format": 1,
        "package": package.name,
        "package_sha256": saved_package(package).sha256,
        "spec": runner.spec.to_json(),
        "device": {"model": "iPhone16,1", "system": "iOS 18.1"},
        "compute_units": "Core ML, all units",
        "warm_up_ms": 200,
        "frames": rows,
    }
    (folder / "bundle.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def written(small_export: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "bundle", small_export / "segformer_b0.mlpackage", photos)


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def change(bundle: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((bundle / "bundle.json").read_text())
    edit(record)
    (bundle / "bundle.json").write_text(json.dumps(record))


def test_masks_of_the_package_pass_the_gates(cli, small_export, photos, bundle, tmp_path):
    package, out = small_export / "segformer_b0.mlpackage", tmp_path / "parity.json"
    ran = cli("parity", package, *MODEL, "--data", photos, "--from-device", bundle, *BAR, "--out", out)
    assert ran.code == 0, ran.err
    report = json.loads(out.read_text())
    assert report["candidate"] == "iPhone16,1 (iOS 18.1, Core ML, all units)"
    assert report["passed"]
    assert [image["name"] for image in report["images"]] == ["noise", "portrait"]
    assert "2 of 2 frames equal the toolkit's own to the last bit." in report["notes"]
    assert "On the device the network took 10.5 ms (median), 200.0 ms the first time." in report["notes"]


def test_other_masks_fail_the_gates(cli, small_export, photos, bundle):
    for mask in (bundle / "masks").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
    package = small_export / "segformer_b0.mlpackage"
    ran = cli("parity", package, *MODEL, "--data", photos, "--from-device", bundle, *BAR)
    assert ran.code == 1, ran.err


def test_frames_that_were_placed_otherwise_are_noted(cli, small_export, photos, bundle, tmp_path):
    frame = bundle / "frames" / "portrait.png"
    pixels = np.asarray(Image.open(frame)).copy()
    pixels[3, 4, 1] ^= 4
    Image.fromarray(pixels).save(frame)
    out = tmp_path / "parity.json"
    package = small_export / "segformer_b0.mlpackage"
    assert cli("parity", package, *MODEL, "--data", photos, "--from-device", bundle, *BAR, "--out", out).code == 0
    note = "1 of 2 frames equal the toolkit's own to the last bit; the largest difference is 4 of 255, on portrait."
    assert note in json.loads(out.read_text())["notes"]


def test_photographs_that_the_toolkit_does_not_know_are_compared(cli, small_export, bundle, tmp_path):
    package, out = small_export / "segformer_b0.mlpackage", tmp_path / "parity.json"
    assert cli("parity", package, *MODEL, "--from-device", bundle, *BAR, "--out", out).code == 0
    assert not any("toolkit's own" in note for note in json.loads(out.read_text())["notes"])


@pytest.fixture
def for_portraits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models load as if their weights were good enough for portraits alone."""
    load = steps.load
    monkeypatch.setattr(
        steps, "load", lambda *given, **more: [replace(model, kinds=("portrait",)) for model in load(*given, **more)]
    )


def bundle_of(kinds: Sequence[str], small_export: Path, folder: Path) -> Path:
    """A bundle of the first bundled photograph of each kind."""
    (folder / "photos").mkdir()
    for kind in kinds:
        item = next(item for item in calibration_items() if item.kind == kind)
        shutil.copyfile(item.image, folder / "photos" / item.image.name)
    return write_bundle(folder / "of_kinds", small_export / "segformer_b0.mlpackage", folder / "photos")


@pytest.mark.usefixtures("for_portraits")
def test_bundled_photographs_of_kinds_that_a_model_does_not_support_are_left_out(cli, small_export, tmp_path):
    bundle = bundle_of(["portrait", "everyday", "empty"], small_export, tmp_path)
    out = tmp_path / "parity.json"
    ran = cli("parity", small_export / "segformer_b0.mlpackage", *MODEL, "--from-device", bundle, *BAR, "--out", out)
    assert ran.code == 0, ran.err
    assert [image["kind"] for image in json.loads(out.read_text())["images"]] == ["portrait"]
    assert "of kind portrait alone, so 2 of the bundle's 3 photographs are left out." in " ".join(ran.err.split())


@pytest.mark.usefixtures("for_portraits")
def test_photographs_of_unknown_kind_stay_in_the_bundle(cli, small_export, bundle, tmp_path):
    out = tmp_path / "parity.json"
    ran = cli("parity", small_export / "segformer_b0.mlpackage", *MODEL, "--from-device", bundle, *BAR, "--out", out)
    assert ran.code == 0, ran.err
    assert [image["name"] for image in json.loads(out.read_text())["images"]] == ["noise", "portrait"]
    assert "left out" not in ran.err


@pytest.mark.usefixtures("for_portraits")
def test_a_bundle_without_photographs_of_a_supported_kind_is_refused(cli, small_export, tmp_path):
    bundle = bundle_of(["everyday", "empty"], small_export, tmp_path)
    ran = cli("parity", small_export / "segformer_b0.mlpackage", *MODEL, "--from-device", bundle, *BAR)
    assert ran.code == 2, ran.err
    assert "None of the 2 photographs in the bundle can be compared" in " ".join(ran.err.split())


def test_a_bundle_of_another_package_is_refused(cli, small_export, bundle):
    change(bundle, lambda record: record.update(package_sha256="0" * 64))
    ran = cli("parity", small_export / "segformer_b0.mlpackage", *MODEL, "--from-device", bundle)
    assert ran.code == 2
    assert "holds the masks of another package than segformer_b0.mlpackage" in ran.err
    assert "the bundle's package has sha256 00000000" in ran.err


def test_a_spec_that_is_not_the_packages_is_refused(cli, small_export, bundle):
    def fitted(record: dict[str, Any]) -> None:
        record["spec"] = record["spec"].replace('"stretch"', '"fit"')

    change(bundle, fitted)
    ran = cli("parity", small_export / "segformer_b0.mlpackage", *MODEL, "--from-device", bundle)
    assert (ran.code, "another PortraitSpec" in ran.err) == (2, True)


def test_frames_of_a_size_that_the_package_does_not_take_are_refused(cli, small_export, bundle):
    for part in ("frames", "masks"):
        path = bundle / part / "noise.png"
        Image.open(path).resize((32, 48)).save(path)
    ran = cli("parity", small_export / "segformer_b0.mlpackage", *MODEL, "--from-device", bundle)
    assert ran.code == 2
    assert "frames of 48x32 pixels; segformer_b0.mlpackage takes 64x64" in ran.err


@pytest.mark.parametrize("more", [("--size", "64x64"), ("--runtime", "coreml"), ("--arithmetic", "fp32")])
def test_options_of_a_runtime_do_not_go_with_a_bundle(cli, small_export, bundle, more):
    ran = cli("parity", small_export / "segformer_b0.mlpackage", *MODEL, "--from-device", bundle, *more)
    assert (ran.code, "--from-device cannot be used together with" in ran.err) == (2, True)


def outside(bundle: Path) -> None:
    shutil.copy(bundle / "masks" / "noise.png", bundle.parent / "noise.png")
    change(bundle, lambda record: record["frames"][0].update(mask="../noise.png"))


def linked(bundle: Path) -> None:
    mask = bundle / "masks" / "noise.png"
    mask.rename(bundle.parent / "noise.png")
    mask.symlink_to(bundle.parent / "noise.png")


def circle(bundle: Path) -> None:
    mask = bundle / "masks" / "noise.png"
    mask.unlink()
    mask.symlink_to(mask.name)


def spec_with(**values: Any) -> Callable[[Path], object]:
    """Values of the PortraitSpec in the list."""
    return lambda b: change(b, lambda r: r.update(spec=json.dumps({**json.loads(r["spec"]), **values})))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no_list": (lambda b: (b / "bundle.json").unlink(), "it has no bundle.json"),
    "not_json": (lambda b: (b / "bundle.json").write_text("{"), "bundle.json is not JSON"),
    "deep_json": (lambda b: (b / "bundle.json").write_text("[" * 100_000), "bundle.json is not JSON"),
    "huge_json": (lambda b: (b / "bundle.json").write_bytes(b" " * (MAX_LIST_BYTES + 1)), "at most 16,777,216"),
    "a_list": (lambda b: (b / "bundle.json").write_text("[]"), "must be an object of format 1; found list"),
    "another_format": (lambda b: change(b, lambda r: r.update(format=2)), "must be an object of format 1; found 2"),
    "no_device": (lambda b: change(b, lambda r: r.pop("device")), "device must be an object; found nothing"),
    "device_number": (lambda b: change(b, lambda r: r["device"].update(model=3)), "model must be a text"),
    "spec_object": (lambda b: change(b, lambda r: r.update(spec={})), "spec: it must be JSON in a string"),
    "spec_of_depth": (
        lambda b: change(b, lambda r: r.update(spec=r["spec"].replace('["image"]', '["image", "depth"]'))),
        "it reads depth maps, which a bundle does not hold",
    ),
    "spec_without_inputs": (spec_with(inputs=None), "spec: This is not a PortraitSpec: inputs must be"),
    "spec_with_a_number_as_inputs": (spec_with(inputs=5), "spec: This is not a PortraitSpec: inputs must be"),
    "spec_that_is_deep": (lambda b: change(b, lambda r: r.update(spec="[" * 100_000)), "it is nested too deeply"),
    "no_frames": (lambda b: change(b, lambda r: r.update(frames=[])), "a list of 1 to 10,000 entries; found 0"),
    "frame_is_text": (lambda b: change(b, lambda r: r["frames"].append("x")), "frames[2] must be an object"),
    "negative_time": (lambda b: change(b, lambda r: r["frames"][0].update(network_ms=-1)), "must be milliseconds"),
    "not_a_time": (lambda b: change(b, lambda r: r.update(warm_up_ms=float("nan"))), "must be milliseconds"),
    "endless_time": (lambda b: change(b, lambda r: r["frames"][0].update(network_ms=10**400)), "must be milliseconds"),
    "same_name": (lambda b: change(b, lambda r: r["frames"][1].update(name="noise")), "noise is listed twice"),
    "absolute_path": (lambda b: change(b, lambda r: r["frames"][0].update(mask="/etc/passwd")), "leads out of the"),
    "path_outside": (outside, "../noise.png leads out of the bundle"),
    "link_outside": (linked, "masks/noise.png leads out of the bundle"),
    "link_in_a_circle": (circle, "masks/noise.png cannot be read: its links lead in a circle"),
    "surrogate_in_a_path": (lambda b: change(b, lambda r: r["frames"][0].update(mask="\ud800")), "mask must be a text"),
    "long_path": (
        lambda b: change(b, lambda r: r["frames"][0].update(mask="a" * 255 + "/b" * 9)),
        "mask must be a text",
    ),
    "missing_file": (lambda b: (b / "masks" / "noise.png").unlink(), "there is no file masks/noise.png"),
    "damaged_picture": (lambda b: (b / "masks" / "noise.png").write_bytes(b"no"), "noise.png is not a picture"),
    "wrong_size": (
        lambda b: Image.new("L", (8, 9)).save(b / "masks" / "noise.png"),
        "noise: the mask has 9x8 pixels, the frame 64x64",
    ),
    "huge_picture": (
        lambda b: Image.new("1", (5000, 5000)).save(b / "masks" / "noise.png"),
        "the picture is too large",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_bundle_is_refused(bundle: Path, name: str) -> None:
    damage, says = DAMAGE[name]
    damage(bundle)
    with pytest.raises(DataError) as caught:
        open_bundle(bundle)
    assert caught.value.code == "bad-bundle"
    assert says in str(caught.value)


def test_every_fault_is_reported_at_once(bundle: Path) -> None:
    (bundle / "masks" / "noise.png").unlink()
    change(bundle, lambda record: (record.pop("device"), record.update(warm_up_ms="fast")))
    with pytest.raises(DataError, match="5 faults") as caught:
        open_bundle(bundle)
    assert len(caught.value.context) == 5


def test_a_frame_without_a_mask_is_an_error(written: Path, small_export: Path, photos: Path) -> None:
    spec = PackageRunner(small_export / "segformer_b0.mlpackage").spec
    assert spec is not None
    frame = load_frames(photos, spec)[0].frame
    runner = DeviceRunner(open_bundle(written))
    assert runner.run([frame])[0].logits is None
    with pytest.raises(ExecutionError, match="no mask of other"):
        runner.run([replace(frame, name="other")])
