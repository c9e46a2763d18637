"""`evaluate` from the outside: the same network gives the same scores however it comes, on data of every layout."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from portrait_export.cli.render import Silence
from portrait_export.inputs.sources import ModelSource
from portrait_export.models.registry import model_spec

SIDE = 64
SHARP = 200.0  # logits per unit of brightness: a step
# Of mean IoU over 29 photographs with people at 64x64. ONNX Runtime against torch: 0; a half-precision package: 4e-4.
SAME, HALF_PRECISION = 1e-4, 5e-3


def person(height: int, width: int) -> np.ndarray:
    """(height, width) bool: an ellipse in the middle of the lower half."""
    y, x = np.mgrid[0:height, 0:width]
    return ((y / height - 0.65) / 0.3) ** 2 + ((x / width - 0.4) / 0.25) ** 2 < 1


def photograph(height: int, width: int, *, blue: bool = False) -> Image.Image:
    """Gray 200 where the person is, gray 60 elsewhere; or the person blue and the rest red."""
    here = person(height, width)[..., None]
    pixels = np.where(here, (0, 0, 200), (200, 0, 0)) if blue else np.where(here, 200, 60).repeat(3, 2)
    return Image.fromarray(pixels.astype(np.uint8))


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs of different sizes with gray masks."""
    for name, size in {"a": (64, 64), "b": (80, 60), "c": (48, 96)}.items():
        save(photograph(*size), tmp_path / f"data/images/{name}.png")
        save(Image.fromarray(person(*size).astype(np.uint8) * 255), tmp_path / f"data/masks/{name}.png")
    return tmp_path / "data"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """EasyPortrait's layout: class ids, three splits, in `val` a mask that is half wrong."""
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            ids = person(SIDE, SIDE).astype(np.uint8) * (3 if name == "a" else 8)
            if split == "val" and name == "b":
                ids[: int(0.65 * SIDE)] = 0
            save(photograph(SIDE, SIDE), tmp_path / f"tree/images/{split}/{name}.jpg")
            save(Image.fromarray(ids), tmp_path / f"tree/annotations/{split}/{name}.png")
    return tmp_path / "tree"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The bundled segformer_b0 at 64x64 in every form that `evaluate` takes."""
    from portrait_export.workflows.export import export_coreml
    from portrait_export.workflows.requests import CoreMLRequest

    out = tmp_path_factory.mktemp("evaluate")
    source = ModelSource(model="segformer_b0", size=(SIDE, SIDE))
    export_coreml(CoreMLRequest(source=source, out=out, parity=None), Silence())
    weights = model_spec("segformer_b0").weights_path
    return {
        "model": ["--model", "segformer_b0", "--size", "64x64"],
        "checkpoint": ["--checkpoint", str(weights), "--size", "64x64"],
        "onnx": ["--onnx", str(out / "segformer_b0.onnx")],
        "package": ["--package", str(out / "segformer_b0.mlpackage")],
    }


def scored(cli, *arguments: object) -> dict:
    ran = cli("evaluate", *arguments, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def bright_net(path: Path, weights=(1 / 3, 1 / 3, 1 / 3)) -> Path:
    """An ONNX file whose logit is SHARP · (weights · pixel − 0.5): it finds what is brighter than half of the range."""
    kernel = np.array(weights, np.float32).reshape(1, 3, 1, 1) * SHARP
    node = helper.make_node("Conv", ["x", "w", "b"], ["out"])
    shapes = [("x", [1, 3, SIDE, SIDE]), ("out", [1, 1, SIDE, SIDE])]
    given, taken = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes)
    tensors = [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(np.array([-SHARP / 2], np.float32), "b")]
    graph = helper.make_graph([node], "bright", [given], [taken], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_same_network_scores_the_same_in_every_form(cli, kinds, tmp_path):
    results, rows = {}, {}
    for kind, arguments in kinds.items():
        results[kind] = scored(cli, *arguments, "--split", "evaluate", "--csv", tmp_path / f"{kind}.csv")
        rows[kind] = list(csv.DictReader((tmp_path / f"{kind}.csv").open()))
    model = results["model"]
    assert model["images"] == 32
    assert {kind: group["images"] for kind, group in model["kinds"].items()} == {
        "portrait": 16,
        "everyday": 13,
        "empty": 3,
    }
    assert 0.05 < model["iou_mean"] < 0.95  # at an eighth of its size: neither empty masks nor perfect ones
    for kind, bar in {"checkpoint": SAME, "onnx": SAME, "package": HALF_PRECISION}.items():
        assert abs(results[kind]["iou_mean"] - model["iou_mean"]) < bar, kind
        assert abs(results[kind]["iou_set"] - model["iou_set"]) < bar, kind
        assert abs(results[kind]["boundary_f_mean"] - model["boundary_f_mean"]) < 10 * bar, kind
        assert [row["name"] for row in rows[kind]] == [row["name"] for row in rows["model"]]
    assert {row["split"] for row in rows["package"]} == {"evaluate"}


def test_a_network_of_the_users_own_scores_by_its_preprocessing(cli, folder, tmp_path):
    file = bright_net(tmp_path / "bright.onnx")
    right = scored(cli, "--onnx", file, "--mean", "0", "--std", "1", "--data", folder)
    assert right["iou_worst"] > 0.97  # all but the edge of stretched photographs
    dark = scored(cli, "--onnx", file, "--mean", "0.5", "--std", "1", "--data", folder)
    assert dark["iou_mean"] == 0
    (tmp_path / "bright.toml").write_text("mean = [0, 0, 0]\nstd = [1, 1, 1]\n")
    assert scored(cli, "--onnx", file, "--data", folder)["iou_mean"] == right["iou_mean"]


def test_a_network_of_the_users_own_sees_letterboxed_photographs_with_their_masks(cli, folder, tmp_path):
    file = bright_net(tmp_path / "bright.onnx")
    fitted = ["--onnx", file, "--mean", "0", "--std", "1", "--resize", "fit", "--data", folder]
    assert scored(cli, *fitted)["iou_worst"] > 0.95
    assert scored(cli, *fitted, "--positive", "background")["iou_mean"] < 0.05


def test_channel_order_is_honoured(cli, tmp_path):
    save(photograph(SIDE, SIDE, blue=True), tmp_path / "data/images/a.png")
    save(Image.fromarray(person(SIDE, SIDE)), tmp_path / "data/masks/a.png")
    file = bright_net(tmp_path / "first.onnx", weights=(1, 0, 0))  # reads the first channel
    arguments = ["--onnx", file, "--mean", "0", "--std", "1", "--data", tmp_path / "data"]
    assert scored(cli, *arguments, "--color", "bgr")["iou_mean"] == 1
    assert scored(cli, *arguments, "--color", "rgb")["iou_mean"] == 0


def test_splits_of_an_easyportrait_tree(cli, tree, tmp_path):
    own = ["--onnx", bright_net(tmp_path / "bright.onnx"), "--mean", "0", "--std", "1", "--data", tree]
    whole = scored(cli, *own, "--csv", tmp_path / "all.csv", "--sheet", tmp_path / "worst.png", "--worst", "2")
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert whole["images"] == 6
    assert [(row["split"], row["name"]) for row in rows] == [(s, n) for s in ("train", "val", "test") for n in "ab"]
    assert scored(cli, *own, "--split", "test")["iou_worst"] > 0.97
    val = scored(cli, *own, "--split", "val")
    assert val["images"] == 2
    assert val["iou_worst"] < 0.6 < 0.97 < val["iou_median"] * 2 - val["iou_worst"]
    with Image.open(tmp_path / "worst.png") as sheet:
        assert sheet.size == (480, 14 + 2 * 174)  # the line of headings comes first
    ran = cli("evaluate", *own, "--split", "tset")
    assert ran.code == 2
    assert "the splits are: train, val, test." in ran.err


def test_every_file_at_fault_is_reported_at_once(cli, folder):
    save(Image.new("L", (60, 81), 255), folder / "masks/b.png")
    (folder / "images/c.png").write_bytes(b"broken")
    (folder / "masks/a.png").unlink()
    ran = cli("evaluate", "-m", "segformer_b0", "--size", "64x64", "--data", folder)
    assert (ran.code, ran.out) == (2, "")
    assert "3 faults" in ran.err
    assert "b.png is 60x81 pixels, its photograph b.png is 60x80." in ran.err
    assert "c.png is not a picture" in ran.err
    assert "images/a.png: nothing for it in masks" in ran.err


def test_photographs_without_masks_are_refused(cli, photos):
    ran = cli("evaluate", "-m", "segformer_b0", "--size", "64x64", "--data", photos)
    assert ran.code == 2
    assert "There is nothing to compare with: 2 of 2 photographs have no mask." in ran.err


DEPTH = ("-m", "serseg_b0_abg_dbn_depth", "--random-weights", "--size", "64x64")


def test_a_depth_model_reads_16_bit_maps_and_refuses_to_score_without(cli, folder):
    ran = cli("evaluate", *DEPTH, "--data", folder)
    assert ran.code == 2
    assert "serseg_b0_abg_dbn_depth needs depth maps; 3 of 3 photos have none." in ran.err

    def with_depth(change: float) -> dict:
        for name, size in {"a": (64, 64), "b": (40, 30), "c": (48, 96)}.items():
            ramp = np.linspace(0, 1, size[0])[:, None] * np.ones(size[1]) * change
            save(Image.fromarray((ramp * 65535).astype(np.uint16)), folder / f"depth/{name}.png")
        return scored(cli, *DEPTH, "--data", folder)

    far, near = with_depth(0.0), with_depth(1.0)
    assert far["images"] == 3
    assert far["iou_set"] != near["iou_set"]
    save(Image.new("RGB", (8, 8)), folder / "depth/a.png")
    ran = cli("evaluate", *DEPTH, "--data", folder)
    assert ran.code == 2
    assert "a depth map is 8- or 16-bit grayscale, these pixels are 'RGB'" in ran.err


def test_a_package_is_scored_at_a_size_that_it_lists(cli, folder, tmp_path):
    from portrait_export.capture.foreign.options import ForeignOptions
    from portrait_export.workflows.export import export_coreml
    from portrait_export.workflows.requests import CoreMLRequest

    net = ForeignOptions(onnx=bright_net(tmp_path / "bright.onnx"), mean=(0, 0, 0), std=(1, 1, 1))
    request = CoreMLRequest(
        source=ModelSource(foreign=net), sizes=((SIDE, SIDE), (32, 96)), out=tmp_path / "two", parity=None
    )
    package = ("--package", export_coreml(request, Silence()).package.path, "--data", folder)
    assert scored(cli, *package)["iou_worst"] > 0.97
    wide = scored(cli, *package, "--size", "32x96", "--csv", tmp_path / "wide.csv")
    assert wide["iou_worst"] > 0.94  # fewer pixels, softer edges
    areas = [int(row["union"]) for row in csv.DictReader((tmp_path / "wide.csv").open())]
    assert max(areas) < 32 * 96 / 3
    ran = cli("evaluate", *package, "--size", "48x48")
    assert ran.code == 2
    assert "takes 64x64 or 32x96; found --size 48x48." in ran.err


def test_empty_pictures_of_a_users_folder_are_found_by_their_masks(cli, folder, tmp_path):
    for name, brightness in {"dark": 20, "bright": 220}.items():
        save(Image.new("RGB", (SIDE, SIDE), (brightness,) * 3), folder / f"images/{name}.png")
        save(Image.new("L", (SIDE, SIDE), 0), folder / f"masks/{name}.png")
    own = ["--onnx", bright_net(tmp_path / "bright.onnx"), "--mean", "0", "--std", "1", "--data", folder]
    found = scored(cli, *own)
    assert found["iou_worst"] > 0.97  # the bright picture is not part of it
    assert (found["empty"], found["empty_with_person"], found["empty_with_person_share"]) == (2, 1, 0.5)
    assert list(found["kinds"]) == ["other", "empty"]
    ran = cli("evaluate", *own, "--min-iou", "0.97")
    assert ran.code == 0, ran.err
    table = ran.out.splitlines()[1:5]
    assert [line.split()[0] for line in table] == ["kind", "other", "empty", "all"]
    assert ["1 of 2" in line for line in table] == [False, False, True, True]
    assert ran.out.splitlines()[7].split() == ["bright", "–", "–", "100.0%"]  # the worst: a person in an empty picture
    assert ran.out.rstrip().endswith("required 0.97: passed")


def test_a_folder_of_empty_pictures_has_no_iou_to_reach(cli, tmp_path):
    save(Image.new("RGB", (SIDE, SIDE), (20, 20, 20)), tmp_path / "data/images/a.png")
    save(Image.new("L", (SIDE, SIDE), 0), tmp_path / "data/masks/a.png")
    own = ["--onnx", bright_net(tmp_path / "bright.onnx"), "--mean", "0", "--std", "1", "--data", tmp_path / "data"]
    assert scored(cli, *own)["iou_mean"] is None
    ran = cli("evaluate", *own, "--min-iou", "0.1")
    assert ran.code == 1
    assert "mean IoU –, required 0.1: FAILED" in ran.out


def test_kinds_and_tags_of_the_calibration_set_are_printed(cli, tmp_path):
    own = ["--onnx", bright_net(tmp_path / "bright.onnx"), "--mean", "0", "--std", "1", "--split", "evaluate"]
    ran = cli("evaluate", *own)
    assert ran.code == 0, ran.err
    first = [line.split()[0] for line in ran.out.splitlines() if line.strip()]
    assert first[1:6] == ["kind", "portrait", "everyday", "empty", "all"]
    assert {"tag", "group", "monochrome", "statue"} - set(first) == {"statue"}  # the statue is in the other half
    assert "worst" in first


REFUSED = {
    "nothing": (
        [],
        "Nothing to evaluate: pass exactly one of --package; --onnx, --torch or --torchscript;",
    ),
    "two": (["-m", "segformer_b0", "--onnx", "x.onnx"], "--onnx, --torch or --torchscript and --model or --checkpoint"),
    "package with random weights": (
        ["--package", "x", "--random-weights"],
        "--package and --random-weights cannot be used together",
    ),
    "settings alone": (["--mean", "0.5"], "describes a network of your own, and none is given"),
    "missing package": (["--package", "missing.mlpackage"], "missing.mlpackage"),
    "missing onnx": (["--onnx", "missing.onnx"], "There is no ONNX file at missing.onnx."),
    "missing data": (["-m", "segformer_b0", "--size", "64x64", "--data", "nowhere"], "nowhere is not a folder."),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_evaluated_is_refused(cli, arguments, words):
    ran = cli("evaluate", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
