"""Sweeps: each point is the package that its command makes, finished points are kept, and the frontier is right."""

from __future__ import annotations

import ast
import json
import shlex
import shutil
from pathlib import Path

import pytest

import portrait_export as pe
from portrait_export.quantize.recipes import RECIPES


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, network: Path, photos: Path) -> Path:
    """The folder of a sweep over all recipes."""
    folder = tmp_path_factory.mktemp("sweep") / "out"
    sweep(network, photos, folder)
    return folder


def sweep(network: Path, data: Path, folder: Path, **changed):
    arguments = {"target": "iOS18", "data": data, "out": folder, **changed}
    return pe.sweep(onnx=network, **arguments)


def record(folder: Path) -> dict:
    return json.loads((folder / "sweep.json").read_text())


def points(folder: Path) -> dict[str, dict]:
    return {point["name"]: point for point in record(folder)["points"]}


def test_there_is_a_point_for_every_recipe_and_budget(swept):
    found = points(swept)
    assert set(found) == {name for name in RECIPES if name != "mixed"} | {n for n in found if n.startswith("mixed-")}
    assert len([name for name in found if name.startswith("mixed-")]) == 5
    for name, point in found.items():
        budget = name.removeprefix("mixed-").removesuffix("MB") if name.startswith("mixed-") else ""
        fits = not budget or point["size_bytes"] <= float(budget) * 1e6
        assert fits or not point["passed"], name
    assert found["none"]["mask_iou"] >= found["palette2"]["mask_iou"]


def test_a_point_is_on_the_frontier_if_none_is_smaller_and_better(swept):
    found = list(points(swept).values())
    for point in found:
        size, iou = point["size_bytes"], point["mask_iou"]
        better = [
            other["name"]
            for other in found
            if (other["size_bytes"] < size and other["mask_iou"] >= iou)
            or (other["size_bytes"] <= size and other["mask_iou"] > iou)
        ]
        assert bool(better) == bool(point["beaten_by"])
        assert not better or point["beaten_by"] in better


@pytest.fixture(scope="module")
def commands(swept, network, photos) -> dict[str, dict]:
    """Points of the same sweep with what the command line writes, by recipe."""
    from portrait_export.cli import run

    budget = next(n for n in points(swept) if n.startswith("mixed-")).removeprefix("mixed-").removesuffix("MB")
    copy = shutil.copytree(swept, swept.with_name("copy"))
    words = ["sweep", "--onnx", network, "--data", photos, "--recipes", "int8,palette3,w8a8", "--budgets", budget]
    assert run([*map(str, words), "-o", str(copy), "-q"]) == 0
    return {point["recipe"]: point for point in points(copy).values()}


@pytest.mark.parametrize("recipe", ["int8", "palette3", "w8a8", "mixed"])
def test_the_command_of_a_point_makes_the_same_package(commands, cli, tmp_path, recipe):
    """What a sweep measures once for all of its packages does not change their bytes."""
    point = commands[recipe]
    words = shlex.split(point["command"])
    assert words[:2] == ["portrait-export", "coreml"]
    assert cli(*words[1:], "-o", tmp_path / "out").code in (0, 1)
    export = json.loads((tmp_path / "out" / "export.json").read_text())
    assert export["package"]["sha256"] == point["sha256"]
    assert export["package"]["size_bytes"] == point["size_bytes"]
    ious = [gate["value"] for gate in export["gates"] if gate["name"].startswith("mean_mask_iou")]
    assert min(ious) == point["mask_iou"]


def test_the_python_call_of_a_point_is_an_expression(swept, network, photos, tmp_path):
    made = sweep(network, photos, shutil.copytree(swept, tmp_path / "sweep"), recipes="palette4")
    call = ast.parse(made.points[0].command, mode="eval").body
    assert isinstance(call, ast.Call)
    given = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert given == {"onnx": str(network), "quantize": "palette4", "target": "iOS18", "data": str(photos)}
    assert pe.load(made.points[0].package).path == tmp_path / "sweep" / "palette4" / "net.mlpackage"
    assert points(tmp_path / "sweep")["palette4"]["package"] == "palette4/net.mlpackage"  # the folder may be moved


def test_bundled_photographs_are_of_the_kinds_asked_for(cli, network, tmp_path):
    words = ["--recipes", "int8", "--kinds", "empty,everyday", "--photos", "40"]
    assert cli("sweep", "--onnx", network, *words, "-o", tmp_path / "out").code == 0
    assert record(tmp_path / "out")["photographs"] == 16  # of each kind, the half that judges
    point = points(tmp_path / "out")["int8"]
    assert [kind["kind"] for kind in point["kinds"]] == ["everyday", "empty"]
    assert "--kinds empty,everyday" in point["command"]


class Interrupted(pe.SilentObserver):
    """Stops a run when a stage starts, and lists what has finished."""

    def __init__(self, at: str = ""):
        self.at = at
        self.finished: dict[str, str] = {}

    def stage_started(self, name: str) -> None:
        if name == self.at:
            raise KeyboardInterrupt

    def stage_finished(self, stage: pe.Stage) -> None:
        self.finished[stage.name] = stage.summary


def test_an_interrupted_sweep_goes_on_where_it_was(network, photos, tmp_path):
    recipes = ["none", "int8", "palette4"]
    with pytest.raises(KeyboardInterrupt):
        sweep(network, photos, tmp_path, recipes=recipes, observer=Interrupted("palette4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8", "none"]
    again = Interrupted()
    first = sweep(network, photos, tmp_path, recipes=recipes, observer=again)
    assert {name: "made before" in again.finished[name] for name in recipes} == {
        "none": True,
        "int8": True,
        "palette4": False,
    }
    whole = (tmp_path / "sweep.json").read_bytes(), (tmp_path / "frontier.png").read_bytes()
    (tmp_path / "int8" / "net.mlpackage" / "Manifest.json").write_text("damaged")
    (tmp_path / "none" / "point.json").write_text('{"key": [')
    mended = Interrupted()
    assert sweep(network, photos, tmp_path, recipes=recipes, observer=mended).points == first.points
    assert [name for name in recipes if "made before" in mended.finished[name]] == ["palette4"]
    assert whole == ((tmp_path / "sweep.json").read_bytes(), (tmp_path / "frontier.png").read_bytes())
    fewer = Interrupted()
    made = sweep(network, photos, tmp_path, recipes=recipes[:1], photos=1, observer=fewer)
    assert "made before" not in fewer.finished["none"]  # other photographs
    assert any("1 of 2 photographs" in note for note in made.notes)


def test_recipes_that_the_target_does_not_support_are_left_out_with_the_reason(network, photos, tmp_path, monkeypatch):
    few = {name: RECIPES[name] for name in ("none", "int4-block32")}
    monkeypatch.setattr("portrait_export.quantize.recipes.RECIPES", few)
    made = sweep(network, photos, tmp_path, target="iOS17")
    assert [point.name for point in made.points] == ["none"]
    assert made.left_out == {"int4-block32": "it needs iOS18; the target is iOS17."}


def test_the_report_has_a_row_and_a_command_for_every_point(swept, network, photos):
    made = sweep(network, photos, swept)
    page, markdown = made.report.read_text(), (swept / "sweep.md").read_text()
    for point in made.points:
        assert page.count(f'<th scope="row">{point.name}</th>') == 2
        assert point.command in markdown
    assert "data:image/png;base64," in page


REFUSED = {
    "a recipe that does not exist": (["--recipes", "int8,palette5"], "there is no recipe `palette5`"),
    "a recipe for another target": (["--recipes", "palette3", "--target", "iOS16"], "needs iOS18"),
    "a budget of nothing": (["--budgets", "1.4,0"], "0 is not in the range"),
    "no photographs": (["--photos", "0"], "0 is not in the range"),
    "a package as folder": (["-o", "net.mlpackage"], "is the name of a package"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_before_any_work(cli, network, case):
    words, complaint = REFUSED[case]
    ran = cli("sweep", "--onnx", network, *words)
    assert ran.code == 2
    assert complaint in ran.err
