"""Test that packages of recurrent networks carry their values, and that a comparison fails where one does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import portrait_export as pe
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.errors import UsageError
from portrait_export.inputs.sources import ModelSource, load_model
from portrait_export.mil import coreml
from portrait_export.preprocessing import CARRIED_KEY
from portrait_export.runtime.model import CoreMLProgram
from portrait_export.runtime.runner import PackageRunner
from portrait_export.utils.stages import SilentObserver, Stages
from portrait_export.workflows.evaluate import EvaluateRequest, runner_of
from portrait_export.workflows.recurrent import fitted_frames

from ..capture.foreign.recurrent_nets import SIDE, memory, memory_file, rvm, rvm_file, wide_file
from ..capture.foreign.test_carried import pictures, sequence, torch_masks
from .test_serve import answers, message

ZEROS, ONES = (0.0,) * 3, (1.0,) * 3
PLAIN: dict[str, Any] = {"mean": 0, "std": 1, "size": (SIDE, SIDE)}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the frames of a short film."""
    folder = tmp_path_factory.mktemp("film")
    for index, picture in enumerate(pictures(4)):
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, film: Path) -> Callable[..., pe.CoreMLExport]:
    """Export one of the two networks with options, once."""
    kept: dict[str, pe.CoreMLExport] = {}

    def export(name: str, **options: Any) -> pe.CoreMLExport:
        key = f"{name} {options}"
        if key not in kept:
            folder = tmp_path_factory.mktemp(name)
            file = {"rvm": rvm_file, "memory": memory_file, "wide": wide_file}[name](folder / f"{name}.onnx")
            kept[key] = pe.export(onnx=file, data=film, out=folder / "out", **PLAIN, **options)
        return kept[key]

    return export


def source_of(export: pe.CoreMLExport) -> Path:
    return export.folder.parent / f"{export.package.path.stem}.onnx"


NETS = {"rvm": (rvm, 4, 1), "memory": (memory, 2, 0)}


@pytest.mark.parametrize("name", NETS)
def test_the_package_gives_the_modules_masks_frame_after_frame(name, exported):
    build, states, mask = NETS[name]
    export = exported(name)
    assert export.passed
    program = CoreMLProgram.load(export.package.path)
    places = json.loads(program.metadata.user_defined[CARRIED_KEY])
    assert len(places) == states
    shapes = {feature.name: feature.shape for feature in program.inputs}
    carried = {place["input"]: np.zeros(shapes[place["input"]], np.float32) for place in places}
    for picture, expected in zip(pictures(4), torch_masks(build(), states, mask), strict=True):
        outputs = program.predict({"image": Image.fromarray(picture), **carried})
        carried = {place["input"]: outputs[place["output"]] for place in places}
        found = np.asarray(outputs["mask"], np.float32) / 255
        assert np.abs(found - expected).max() < 0.01  # half of a step of 1/255, and half precision


def test_the_report_says_what_was_compared(exported):
    export = exported("rvm")
    assert export.parity is not None
    said = " ".join(export.parity.notes)
    assert "compared on 4 frames in one sequence, in the order of their names" in said
    assert "Each side carried its own r1i, r2i, r3i, r4i from frame to frame, 3 times" in said
    assert "What is carried changes P(person) by up to" in said
    gate = next(gate for gate in export.gates if gate.name == "carried_psnr_db")
    assert gate.passed
    assert gate.value > 40


def test_the_bundled_photographs_are_shown_as_pans(exported):
    export = exported("memory")
    report = pe.check_parity(export.package.path, onnx=source_of(export), mean=0, std=1)
    assert report.passed
    assert len(report.images) == 60
    assert report.images[1].name.endswith("#2")
    assert "60 frames: 12 photographs, each shown as a pan of 5 frames" in " ".join(report.notes)


def test_inputs_and_outputs_say_what_to_pass(exported):
    program = CoreMLProgram.load(exported("memory").package.path)
    texts = {feature.name: feature.description for feature in (*program.inputs, *program.outputs)}
    assert texts["h0"] == "Zeros with the first frame of a sequence, then h0_out of the frame before."
    assert texts["h1_out"] == "To be passed as h1 with the next frame."


# States


IOS18: dict[str, Any] = {"target": "iOS18", "states": True}


def test_with_states_an_app_passes_the_picture_alone(exported):
    export = exported("memory", **IOS18)
    assert export.passed
    program = CoreMLProgram.load(export.package.path)
    assert [feature.name for feature in program.inputs] == ["image"]
    assert [(feature.name, feature.dtype) for feature in program.states] == [("h0", "fp16"), ("h1", "fp16")]
    state = program.make_state()
    for picture, expected in zip(pictures(4), torch_masks(memory(), 2, 0), strict=True):
        outputs = program.predict({"image": Image.fromarray(picture)}, state)
        assert np.abs(np.asarray(outputs["mask"], np.float32) / 255 - expected).max() < 0.02
    warnings = export.record["warnings"]
    assert any("Core ML stores states in half precision" in line for line in warnings)


def test_states_start_anew_with_each_sequence_and_are_gated(exported):
    export = exported("memory", **IOS18)
    assert {gate.name for gate in export.gates if gate.passed} >= {"carried_psnr_db"}
    runner = PackageRunner(export.package.path)
    one, two = (runner.run([frame])[0] for frame in sequence(2))
    again = runner.run([sequence(2)[0]])[0]
    np.testing.assert_array_equal(one.probability, again.probability)
    assert np.abs(one.carried["h0"] - two.carried["h0"]).max() > 1e-2


def test_states_that_are_never_written_fail(exported, film, tmp_path):
    export = exported("memory", **IOS18)
    package = tmp_path / "forgets.mlpackage"
    shutil.copytree(export.package.path, package)
    file = package / "Data/com.apple.CoreML/model.mlmodel"
    spec = coreml.spec_message(file.read_bytes())
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    kept = [operation for operation in block.operations if operation.type != "write_state"]
    assert len(kept) == len(block.operations) - 2
    copies = [type(operation).FromString(operation.SerializeToString()) for operation in kept]
    del block.operations[:]
    block.operations.extend(copies)
    file.write_bytes(spec.SerializeToString())
    report = pe.check_parity(package, onnx=source_of(export), mean=0, std=1, data=film)
    failed = {gate.name: gate.value for gate in report.gates if not gate.passed}
    assert failed["carried_psnr_db"] < 15
    assert abs(failed["carried_margin_db"]) < 0.5
    assert any(name.startswith("worst_mask_iou") for name in failed)


NO_STATES = {
    "older_target": ({"target": "iOS17"}, "States need `target=iOS18` or newer; found `target=iOS17`"),
    "auto_precision": ({"target": "iOS18", "precision": "auto"}, "`states=True` cannot be used with"),
    "distillation": ({"target": "iOS18", "quantize": "palette4", "tune": True}, "`states=True` cannot be used with"),
}


@pytest.mark.parametrize("name", NO_STATES)
def test_options_without_states_are_refused_at_once(name):
    options, message = NO_STATES[name]
    with pytest.raises(UsageError, match=message):
        pe.export(onnx="there_is_no_file.onnx", states=True, **options)


def test_networks_that_carry_nothing_have_no_states(tmp_path):
    with pytest.raises(UsageError, match="is for networks that carry values"):
        pe.export("segformer_b0", random_weights=True, size=(64, 64), target="iOS18", states=True, out=tmp_path / "o")


# Planted faults


def with_metadata(package: Path, path: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Path:
    """A copy of a package whose entry of carried values is changed."""
    shutil.copytree(package, path)
    file = path / "Data/com.apple.CoreML/model.mlmodel"
    spec = coreml.spec_message(file.read_bytes())
    entries = spec.description.metadata.userDefined
    entries[CARRIED_KEY] = json.dumps(change(json.loads(entries[CARRIED_KEY])))
    file.write_bytes(spec.SerializeToString())
    return path


def swapped(places: list[dict[str, str]]) -> list[dict[str, str]]:
    one, two = places
    return [{**one, "output": two["output"]}, {**two, "output": one["output"]}]


def test_values_that_are_carried_in_each_others_place_fail(exported, film, tmp_path):
    export = exported("memory")
    package = with_metadata(export.package.path, tmp_path / "swapped.mlpackage", swapped)
    report = pe.check_parity(package, onnx=source_of(export), mean=0, std=1, data=film)
    failed = {gate.name: gate.value for gate in report.gates if not gate.passed}
    assert failed["carried_psnr_db"] < 15
    assert failed["carried_margin_db"] < 0.5
    assert any(name.startswith("worst_mask_iou") for name in failed)


def test_a_package_that_carries_nothing_fails_and_says_so(exported, film, tmp_path):
    export = exported("memory")
    fixed = pe.export(onnx=source_of(export), fix_inputs={"h0": 0, "h1": 0}, data=film, out=tmp_path / "fixed", **PLAIN)
    assert fixed.passed  # as what it claims to be
    report = pe.check_parity(fixed.package.path, onnx=source_of(export), mean=0, std=1, data=film)
    failed = {gate.name: gate.value for gate in report.gates if not gate.passed}
    assert np.isnan(failed["carried_psnr_db"])
    assert any(name.startswith("worst_mask_iou") for name in failed)
    assert any("The package does not carry h0, h1." in note for note in report.notes)


def test_a_recurrent_package_is_not_compared_with_a_network_that_carries_nothing(exported, film):
    export = exported("memory")
    report = pe.check_parity(
        export.package.path, onnx=source_of(export), mean=0, std=1, data=film, fix_inputs={"h0": 0, "h1": 0}
    )
    assert not report.passed


# Recipes and blame


def test_recipes_are_fitted_to_frames_with_carried_values(exported):
    network = load_model(ModelSource(foreign=ForeignOptions(onnx=source_of(exported("memory")), mean=ZEROS, std=ONES)))
    frames = [labelled.frame for labelled in fitted_frames(network, "calibrate")]
    assert len(frames) == 16
    assert [frame.carried is None for frame in frames[:4]] == [True, False, False, False]
    assert not any(frame.continues for frame in frames)
    assert frames[1].carried is not None
    assert np.abs(frames[1].carried["h0"]).max() > 0.1


QUANTIZED = {
    "activations_and_states": ("w8a8", IOS18),
    "hessians": ("int4-block32", {"target": "iOS18"}),
    "distilled_tables": ("palette4", {"tune": True}),
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_recipes_work_and_their_carried_values_are_gated(name, exported):
    recipe, options = QUANTIZED[name]
    export = exported("wide", quantize=recipe, min_iou=0.5, **options)
    values = {gate.name: gate.value for gate in export.gates}
    assert values["carried_margin_db"] > 10
    assert export.audit.passed
    assert len(export.audit.applied) > 0
    assert export.passed


def test_float32_where_half_precision_is_not_enough_can_be_found(exported):
    assert exported("memory", precision="auto").passed


@pytest.mark.parametrize("options", [{}, IOS18], ids=["inputs_and_outputs", "states"])
def test_blame_runs_both_sides_with_the_same_carried_values(options, exported):
    export = exported("memory", **options)
    found = pe.find_blame(export.package.path, onnx=source_of(export))
    assert found.passed
    carried = {op.name: op for op in found.found.ops}["h1_out"]
    assert carried.snr_db > 40


# Segmenting


@pytest.mark.parametrize("options", [{}, IOS18], ids=["inputs_and_outputs", "states"])
def test_segment_takes_numbered_photos_as_one_film(options, exported, cli, tmp_path):
    export, film = exported("memory", **options), tmp_path / "film"
    film.mkdir()
    for index, picture in enumerate(pictures(11)):
        Image.fromarray(picture).save(film / f"frame{index}.png")
    done = cli("segment", film, "-p", export.package.path, "--sequence", "--no-refine", "-o", tmp_path / "masks")
    assert done.code == 0
    assert done.out.splitlines()[-1].endswith("frame10-mask.png")
    masks = torch_masks(memory(), 2, 0, 11)
    for index, expected in enumerate(masks):
        found = np.asarray(Image.open(tmp_path / f"masks/frame{index}-mask.png"), np.float32) / 255
        assert np.abs(found - expected).max() < 0.02


def test_photos_one_by_one_start_anew_and_that_is_said(exported, film, cli, tmp_path):
    package = exported("memory").package.path
    done = cli("segment", film, "-p", package, "--no-refine", "-o", tmp_path / "masks")
    assert done.code == 0
    assert "carries h0, h1 from frame to frame, and each of the 4 photos starts anew; --sequence" in done.err


def test_a_sequence_needs_a_network_that_carries(film, cli, tmp_path):
    done = cli(
        "segment", film, "--model", "segformer_b0", "--random-weights", "--size", "64x64", "--sequence", "-o", tmp_path
    )
    assert done.code == 2
    assert "--sequence is for networks that carry values from frame to frame" in done.err


# Refusals


def test_python_takes_photos_as_one_film_or_one_by_one_and_says_so(exported, film):
    package = pe.load(exported("memory").package.path)
    frames = sorted(film.glob("*.png"))
    expected = torch_masks(memory(), 2, 0)
    for frame, mask in zip(package.predict_sequence(frames, refine=False), expected, strict=True):
        assert np.abs(frame.probability - mask).max() < 0.01
        alone = package.predict(frames[2], refine=False)  # in between: it leaves the film alone
    assert any("h0, h1 from frame to frame, and each photo is run as a first frame" in note for note in alone.notes)
    assert np.abs(alone.probability - expected[2]).max() > 0.05


def test_a_film_needs_a_network_that_carries_in_python_too(small_export):
    with pytest.raises(UsageError, match="`predict_sequence` is for networks that carry values"):
        pe.load(small_export / "segformer_b0.mlpackage").predict_sequence([])


def test_evaluate_says_that_each_photo_is_a_first_frame(exported):
    stages = Stages(SilentObserver())
    with stages.stage("load") as stage:
        runner_of(EvaluateRequest(ModelSource(), exported("memory").package.path), stage)
        assert any("each photo is run as a first frame" in warning for warning in stage.warnings)


def test_served_frames_continue_where_they_say_so(exported, small_export):
    def frames(continues: bool) -> list[bytes]:
        head = {"height": SIDE, "width": SIDE}
        return [
            message({"id": index, **head, "continues": continues and index > 0}, picture.tobytes())
            for index, picture in enumerate(pictures(3))
        ]

    path, expected = exported("memory").package.path, torch_masks(memory(), 2, 0)
    (hello, _), *film = answers(path, *frames(True))
    assert hello["carried"] == ["h0", "h1"]
    for (_, payload), mask in zip(film, expected, strict=False):
        assert np.abs(np.frombuffer(payload, "<f4").reshape(SIDE, SIDE) - mask).max() < 0.01
    alone = np.frombuffer(answers(path, *frames(False))[3][1], "<f4").reshape(SIDE, SIDE)
    assert np.abs(alone - expected[2]).max() > 0.05
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    continued = message({"id": 4, "height": SIDE, "width": SIDE, "continues": True}, image.tobytes())
    _, (header, _) = answers(small_export / "segformer_b0.mlpackage", continued)
    assert "carries nothing from frame to frame" in header["error"]["message"]


def test_several_sizes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="a package has one size"):
        pe.export(onnx=rvm_file(tmp_path / "rvm.onnx"), mean=0, std=1, sizes=[(64, 64), (96, 96)])


def test_photographs_one_by_one_are_refused(exported, tmp_path):
    export = exported("memory")
    with pytest.raises(UsageError, match="compares photographs one by one"):
        pe.check_parity(export.package.path, onnx=source_of(export), mean=0, std=1, runtime="coreml")
