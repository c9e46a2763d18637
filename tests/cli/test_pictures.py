"""Test networks with further pictures, or a gray one: exported, compared, run, and refused where something is missing.

Wrong pictures (inputs swapped, another normalisation) must fail the comparison.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from portrait_export.errors import ExecutionError
from portrait_export.mil.program import read_program
from tests.capture.foreign.picture_nets import SIDE, four_channels, gray, matting, ordered, saved, siamese, with_trimap

BGM = ("--image-input", "src", "--image-input", "bgr", "--scale", "1/255")
PSNR_DB = 60.0  # of fp32 packages against the user's own file; the lowest of these is 100


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three photographs with drawn masks."""
    folder = tmp_path_factory.mktemp("people")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    rows, columns = np.mgrid[0:80, 0:96]
    for index in range(3):
        ramp = np.stack([rows * 2, columns * 2, 200 - rows * 2], axis=-1)
        person = ((rows - 50) / 28) ** 2 + ((columns - 30 - 15 * index) / 18) ** 2 < 1
        noise = np.random.default_rng(index).integers(-20, 20, ramp.shape)
        pixels = np.where(person[..., None], np.array([230, 190, 60]), ramp) + noise
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"images/p{index}.png")
        Image.fromarray((person * 255).astype(np.uint8)).save(folder / f"masks/p{index}.png")
    return folder


@pytest.fixture(scope="module")
def bgm(tmp_path_factory: pytest.TempPathFactory, people: Path) -> Path:
    """The folder of an exported BackgroundMattingV2-like network, half precision."""
    from portrait_export.cli import run

    folder = tmp_path_factory.mktemp("bgm")
    saved(matting(), folder / "bgm.onnx")
    command = ("coreml", "--onnx", folder / "bgm.onnx", *BGM, "--data", people, "-o", folder / "out", "-q")
    assert run([str(argument) for argument in command]) == 0
    return folder


def record(folder: Path) -> dict:
    return json.loads((folder / "export.json").read_text())


def export(cli, model, people: Path, tmp_path: Path, *arguments: object, name: str = "net") -> dict:
    saved(model, tmp_path / f"{name}.onnx")
    out = tmp_path / f"{name}-out"
    ran = cli(
        "coreml", "--onnx", tmp_path / f"{name}.onnx", "--precision", "fp32", "--data", people, "-o", out, *arguments
    )
    assert ran.code == 0, ran.err + ran.out
    return record(out)


def psnr(made: dict) -> float:
    return next(gate["value"] for gate in made["gates"] if gate["name"] == "logits_psnr_db")


def features(package: Path) -> list[tuple[str, str, str]]:
    return [(feature.name, feature.kind, feature.color) for feature in read_program(package).inputs]


def test_a_photograph_and_its_background_become_two_image_inputs(bgm):
    made = record(bgm / "out")
    assert features(bgm / "out/bgm.mlpackage") == [("image", "image", "rgb"), ("bgr", "image", "rgb")]
    assert made["spec"]["inputs"] == ["image", "bgr"]
    assert [(each["name"], each["shows"]) for each in made["spec"]["pictures"]] == [("bgr", "background")]
    notes = json.loads((bgm / "out/parity.json").read_text())["notes"]
    made_of = "input 'bgr' on 3 of 3 photographs: the photograph with the person painted out by the drawn mask"
    assert made_of in notes
    report = (bgm / "out/report.html").read_text()
    assert report.count('alt="input bgr of') >= 2


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        ("inputs swapped", BGM),
        ("the background 0..2", (*BGM, "--scale", "bgr=2/255")),
        ("the background shifted", (*BGM, "--mean", "bgr=0.1")),
        ("the background in BGR", (*BGM, "--color", "bgr=bgr")),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_a_wrong_second_picture_fails_the_comparison(fault, arguments, cli, bgm, people, tmp_path):
    """The package is right; the network that it is compared with reads its pictures otherwise."""
    other = saved(matting(swapped=fault == "inputs swapped"), tmp_path / "other.onnx")
    package = bgm / "out/bgm.mlpackage"
    right = cli("parity", package, "--onnx", bgm / "bgm.onnx", *BGM, "--data", people)
    assert right.code == 0, right.out
    wrong = cli("parity", package, "--onnx", other, *arguments, "--data", people)
    assert wrong.code == 1, wrong.out
    assert "✗  mean mask IoU" in wrong.out


def test_a_package_that_swaps_its_pictures_fails(cli, bgm, people, monkeypatch, tmp_path):
    """The fault is in the package alone: Core ML's features are declared in the wrong order of roles."""
    from portrait_export.runtime.runner import PackageRunner

    right = PackageRunner.inputs_of

    def swapped(self, frame):
        inputs = right(self, frame)
        return {"image": inputs["bgr"], "bgr": inputs["image"]}

    monkeypatch.setattr(PackageRunner, "inputs_of", swapped)
    ran = cli("parity", bgm / "out/bgm.mlpackage", "--onnx", bgm / "bgm.onnx", *BGM, "--data", people)
    assert ran.code == 1


def test_a_lowering_with_the_wrong_numbers_for_the_second_picture_fails(cli, people, monkeypatch, tmp_path):
    from portrait_export.frontend import inputs

    right = inputs._image_feature

    def wrong(picture, height, width):
        feature = right(picture, height, width)
        return feature if picture.name == "image" else type(feature)(**{**vars(feature), "bias": (-0.1, -0.1, -0.1)})

    monkeypatch.setattr(inputs, "_image_feature", wrong)
    saved(matting(), tmp_path / "bgm.onnx")
    ran = cli("coreml", "--onnx", tmp_path / "bgm.onnx", *BGM, "--data", people, "-o", tmp_path / "out")
    assert ran.code == 1


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_four_channels_become_a_colour_and_a_gray_input(layout, cli, people, tmp_path):
    made = export(cli, four_channels(layout), people, tmp_path, "--scale", "1/255", "--image-input", "input=trimap")
    assert features(tmp_path / "net-out/net.mlpackage") == [("image", "image", "rgb"), ("trimap", "image", "grayscale")]
    assert psnr(made) >= PSNR_DB
    assert any("'trimap' is normalised" in text or "gray picture 'trimap'" in text for text in made["warnings"])


def test_the_fourth_channel_has_numbers_of_its_own(cli, people, tmp_path):
    numbers = ("--mean", "0.4", "--std", "0.3", "--mean", "trimap=0.5", "--std", "trimap=0.25")
    made = export(cli, four_channels(), people, tmp_path, "--image-input", "input=trimap", *numbers)
    [trimap] = made["spec"]["pictures"]
    assert (trimap["mean"], trimap["std"], trimap["color"]) == ([0.5], [0.25], "gray")
    assert made["spec"]["mean"] == [0.4] * 3
    assert psnr(made) >= PSNR_DB


def test_a_trimap_of_its_own_becomes_a_gray_input(cli, people, tmp_path):
    options = ("--scale", "1/255", "--scale", "trimap=1/255", "--image-input", "image", "--image-input", "trimap")
    made = export(cli, with_trimap(), people, tmp_path, *options)
    assert features(tmp_path / "net-out/net.mlpackage") == [("image", "image", "rgb"), ("trimap", "image", "grayscale")]
    assert psnr(made) >= PSNR_DB
    assert made["warnings"] == []


@pytest.mark.parametrize(
    ("options", "numbers"),
    [((), (1 / 255, [0.0], [1.0])), (("--mean", "0.5", "--std", "0.2"), (1 / 255, [0.5], [0.2]))],
)
def test_a_gray_network_takes_the_luma(options, numbers, cli, people, tmp_path):
    made = export(cli, gray(), people, tmp_path, *options)
    assert features(tmp_path / "net-out/net.mlpackage") == [("image", "image", "grayscale")]
    assert (made["spec"]["color"], made["spec"]["scale"], made["spec"]["mean"], made["spec"]["std"]) == (
        "gray",
        *numbers,
    )
    assert psnr(made) >= PSNR_DB
    assert any("pixel/255 is assumed" in text for text in made["warnings"]) == (not options)


def test_a_gray_network_that_normalises_itself_gets_plain_pixels(cli, people, tmp_path):
    made = export(cli, gray(normalises=True), people, tmp_path)
    assert made["spec"]["scale"] == 1.0
    assert psnr(made) >= PSNR_DB


TORCH = """
import torch
from torch import nn

class Joined(nn.Module):
    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(channels, 8, 3, 1, 1), nn.Tanh(), nn.Conv2d(8, 1, 1))
        for parameter in self.parameters():
            parameter.data.mul_(4)

    def run(self, *pictures):
        return self.body(torch.cat(pictures, 1))

class Two(Joined):
    def forward(self, src, bgr):
        return self.run(src, bgr)

class Guided(Joined):
    def forward(self, image, trimap):
        return self.run(image, trimap)

class One(Joined):
    def forward(self, x):
        return self.run(x)

def two(): return Two(6)
def guided(): return Guided(4)
def gray(): return One(1)
def four(): return One(4)
"""


@pytest.mark.parametrize(
    ("factory", "named", "expected"),
    [
        ("two", ("src", "bgr"), [("image", "rgb"), ("bgr", "rgb")]),
        ("two", ("bgr", "src=photo"), [("image", "rgb"), ("bgr", "rgb")]),
        ("guided", ("image", "trimap"), [("image", "rgb"), ("trimap", "grayscale")]),
        ("gray", (), [("image", "grayscale")]),
        ("four", ("x=mask",), [("image", "rgb"), ("mask_input", "grayscale")]),
    ],
)
def test_torch_code_of_several_pictures_becomes_a_package(factory, named, expected, cli, people, tmp_path):
    (tmp_path / "own.py").write_text(TORCH)
    inputs = [part for name in named for part in ("--image-input", name)]
    out = tmp_path / "out"
    options = ("--size", "64x64", "--scale", "1/255", "--positive", "person", "--activation", "logits")
    ran = cli(
        "coreml",
        "--torch",
        f"{tmp_path / 'own.py'}:{factory}",
        *inputs,
        *options,
        "--precision",
        "fp32",
        "--data",
        people,
        "-o",
        out,
    )
    assert ran.code == 0, ran.err + ran.out
    package = next(out.glob("*.mlpackage"))
    assert [(name, color) for name, _, color in features(package)] == expected
    assert psnr(record(out)) >= PSNR_DB


@pytest.mark.parametrize(
    ("factory", "named", "words", "hint"),
    [
        ("two", (), "takes 2 arguments, and not each", "--image-input src --image-input bgr=background"),
        ("two", ("src",), "takes 2 arguments, and not each", "--image-input src --image-input bgr=background"),
        ("two", ("src", "background"), "The network's forward has no argument 'background'.", "bgr"),
        ("four", (), "The network failed on a (1, 3, 64, 64) picture", "a picture in each argument"),
    ],
)
def test_torch_code_is_refused_in_these_words(factory, named, words, hint, cli, people, tmp_path):
    (tmp_path / "own.py").write_text(TORCH)
    inputs = [part for name in named for part in ("--image-input", name)]
    source = f"{tmp_path / 'own.py'}:{factory}"
    ran = cli("coreml", "--torch", source, *inputs, "--size", "64x64", "-o", tmp_path / "out")
    assert ran.code == 2
    text = " ".join(ran.err.split())
    assert words in text
    assert hint in text


def test_a_torchscript_of_two_pictures_becomes_a_package(cli, people, tmp_path):
    import torch

    space: dict = {}
    exec(TORCH.replace("self.run(src, bgr)", "self.body(torch.cat([src, bgr], 1))"), space)
    picture = torch.rand(1, 3, SIDE, SIDE)
    torch.jit.trace(space["two"]().eval(), (picture, picture)).save(tmp_path / "net.pt")
    options = ("--scale", "1/255", "--size", "64x64", "--precision", "fp32", "--positive", "person")
    inputs = ("--image-input", "src", "--image-input", "bgr")
    ran = cli(
        "coreml", "--torchscript", tmp_path / "net.pt", *inputs, *options, "--data", people, "-o", tmp_path / "out"
    )
    assert ran.code == 0, ran.err + ran.out
    assert psnr(record(tmp_path / "out")) >= PSNR_DB


# ---- what is refused --------------------------------------------------------------------------------------------


def retyped(model, name, kind):
    """The model with an input of another type, which is cast inside."""
    for node in model.graph.node:
        node.input[:] = [f"{name}_float" if each == name else each for each in node.input]
    (value,) = (value for value in model.graph.input if value.name == name)
    value.type.tensor_type.elem_type = kind
    model.graph.node.insert(0, helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
    return model


REFUSED = {
    "two_pictures_unnamed": (
        matting, (), "2 of the network's inputs are pictures, and which of them the photograph is was not said.",
        "--image-input src --image-input bgr=background",
    ),
    "a_fourth_channel_unnamed": (
        four_channels, (), "The fourth channel of the network's input may show several things.",
        "--image-input input=trimap",
    ),
    "a_fourth_channel_unsaid": (
        four_channels, ("--image-input", "input"), "It is not known what 'input' shows in its fourth channel.",
        "--image-input input=KIND",
    ),
    "two_channels": (
        lambda: with_trimap(2), ("--image-input", "image", "--image-input", "trimap"),
        "The network's input 'trimap' is not a picture: it needs 1, 3 or 4 channels", "export the network again",
    ),
    "three_channels_of_a_trimap": (
        lambda: with_trimap(3), ("--image-input", "image", "--image-input", "trimap"),
        "shows a trimap in three channels: gray three times, or a channel each", "make them from one gray channel",
    ),
    "truth_values": (
        lambda: retyped(with_trimap(), "trimap", TensorProto.BOOL),
        ("--image-input", "image", "--image-input", "trimap"),
        "pixels are floats or integers, and its values are bool", "export the network again",
    ),
    "two_channels_unnamed": (
        lambda: with_trimap(2), (), "the network takes 1 inputs that nothing would fill", "2 channels are no picture",
    ),
    "one_left": (
        matting, ("--image-input", "src"), "Besides the photograph 'src' the network takes 1 inputs",
        "--image-input NAME",
    ),
    "no_photograph": (
        matting, ("--image-input", "src=mask", "--image-input", "bgr"),
        "None of the inputs that were named shows the photograph.", "--image-input src=photo",
    ),
    "an_unknown_kind": (
        matting, ("--image-input", "src", "--image-input", "bgr=backdrop"), "'bgr=backdrop' is not NAME or NAME=KIND",
        "",
    ),
    "numbers_for_no_picture": (
        matting, (*BGM, "--mean", "bg=0.5"), "There is no picture 'bg' to normalise.", "bgr",
    ),
    "three_numbers_for_gray": (
        gray, ("--mean", "0.1,0.2,0.3"), "`mean=` gives three numbers".replace("`mean=`", "--mean"), "--mean x=0.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_these_words(name, cli, people, tmp_path):
    build, options, words, hint = REFUSED[name]
    saved(build(), tmp_path / "net.onnx")
    ran = cli("coreml", "--onnx", tmp_path / "net.onnx", *options, "--data", people, "-o", tmp_path / "out")
    assert ran.code == 2
    text = " ".join(ran.err.split())
    assert words in text
    assert hint in text
    assert not (tmp_path / "out").exists()


def test_a_picture_that_its_name_contradicts_is_doubted(cli, people, tmp_path):
    options = ("--image-input", "bgr=photo", "--image-input", "src=background", "--scale", "1/255")
    made = export(cli, matting(), people, tmp_path, *options)
    assert "by its name the input 'bgr' shows the background without the person" in " ".join(made["warnings"])


def test_pictures_in_the_wrong_order_are_doubted(cli, people, tmp_path):
    """Names that tell nothing, and a network whose masks are better with the two exchanged."""
    model = ordered()
    options = ("--scale", "1/255", "--positive", "person")
    right = export(cli, model, people, tmp_path, "--image-input", "a", "--image-input", "b=background", *options)
    assert "swapped" not in " ".join(right["warnings"])
    wrong = ("--image-input", "b", "--image-input", "a=background")
    made = export(cli, model, people, tmp_path, *wrong, *options, name="wrong")
    assert "with the photograph and the picture of 'a' swapped, a pixel of the person has the larger" in " ".join(
        made["warnings"]
    )


def test_shared_weights_are_divided_by_each_pictures_own_std(cli, people, tmp_path):
    """Two pictures pass one convolution with different stds: each gets weights of its own."""
    options = ("--mean", "0.5", "--std", "0.2,0.3,0.4", "--std", "bgr=0.5,0.4,0.2")
    inputs = ("--image-input", "src", "--image-input", "bgr")
    made = export(cli, siamese(), people, tmp_path, *inputs, *options)
    assert psnr(made) >= PSNR_DB


# ---- the other commands -----------------------------------------------------------------------------------------


def test_segment_takes_the_users_own_background(cli, bgm, people, tmp_path):
    photo = Image.open(people / "images/p0.png")
    empty = np.asarray(photo).copy()
    empty[:, :] = [10, 20, 30]
    Image.fromarray(empty).resize((192, 160)).save(tmp_path / "empty.png")
    run = ("segment", people / "images/p0.png", "-p", bgm / "out/bgm.mlpackage", "--no-refine")
    masks = {}
    for name, file in (("room", tmp_path / "empty.png"), ("itself", people / "images/p0.png")):
        ran = cli(*run, "--image", f"bgr={file}", "-o", tmp_path / f"{name}.png")
        assert ran.code == 0, ran.err
        masks[name] = np.asarray(Image.open(tmp_path / f"{name}.png"))
    assert masks["room"].mean() > 200, "everything differs from the empty room"
    assert masks["itself"].mean() < 60, "nothing differs from itself"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "The model takes pictures besides the photo, and for 'bgr' none is given."),
        (("--image", "background=x.png"), "The model takes no further picture 'background'."),
        (("--image", "bgr"), "'bgr' is not NAME=FILE."),
    ],
)
def test_segment_says_which_picture_is_missing(arguments, words, cli, bgm, people, tmp_path):
    run = ("segment", people / "images/p0.png", "-p", bgm / "out/bgm.mlpackage", "-o", tmp_path / "m.png")
    ran = cli(*run, *arguments)
    assert ran.code == 2
    assert words in ran.err


def test_a_picture_of_another_view_is_refused(cli, bgm, people, tmp_path):
    Image.new("RGB", (300, 100)).save(tmp_path / "wide.png")
    run = ("segment", people / "images/p0.png", "-p", bgm / "out/bgm.mlpackage", "-o", tmp_path / "m.png")
    ran = cli(*run, "--image", f"bgr={tmp_path / 'wide.png'}")
    assert ran.code == 2
    assert "they do not show the same view" in ran.err


def test_evaluate_needs_pictures_that_do_not_tell_the_answer(cli, bgm, people, tmp_path):
    run = ("evaluate", "--package", bgm / "out/bgm.mlpackage", "--data")
    ran = cli(*run, people)
    assert ran.code == 2
    assert "such a picture would tell the model its answer" in ran.err
    own = tmp_path / "own"
    for name in ("images", "masks"):
        (own / name).mkdir(parents=True)
        for file in (people / name).iterdir():
            (own / name / file.name).write_bytes(file.read_bytes())
    (own / "bgr").mkdir()
    for file in (people / "images").iterdir():
        Image.new("RGB", (96, 80), (0, 0, 0)).save(own / "bgr" / file.name)
    ran = cli(*run, own)
    assert ran.code == 0, ran.err


def test_parity_uses_the_folder_of_the_users_pictures(cli, bgm, people, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "bgr").mkdir()
    for file in (people / "images").iterdir():
        (tmp_path / "images" / file.name).write_bytes(file.read_bytes())
    Image.new("RGB", (96, 80), (200, 0, 0)).save(tmp_path / "bgr/p1.png")
    run = (
        "parity",
        bgm / "out/bgm.mlpackage",
        "--onnx",
        bgm / "bgm.onnx",
        *BGM,
        "--data",
        tmp_path,
        "-o",
        tmp_path / "r",
    )
    ran = cli(*run)
    assert ran.code == 0, ran.out
    assert "input 'bgr' on 2 photographs without a drawn mask: the photograph, blurred" in ran.out


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_what_has_no_second_picture_refuses_the_package(command, cli, bgm, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "App.swift").touch()
    arguments = ("--package", bgm / "out/bgm.mlpackage", "--app", tmp_path / "app") if command == "demo" else ()
    ran = cli(command, *(arguments or (bgm / "out/bgm.mlpackage",)))
    assert ran.code == 2
    assert "bgr" in ran.err


def test_blame_and_quantized_packages_get_both_pictures(cli, bgm, people, tmp_path):
    package = bgm / "out/bgm.mlpackage"
    ran = cli("blame", package, "--onnx", bgm / "out/bgm.onnx", "-o", tmp_path / "blame")
    assert ran.code == 0, ran.err + ran.out
    refused = cli("blame", package, "--onnx", bgm / "bgm.onnx", "-o", tmp_path / "blame2")
    assert refused.code == 2
    assert "pass the simplified .onnx" in refused.err


def test_predict_and_inspect_know_every_input(cli, bgm, people, tmp_path):
    package, photo = bgm / "out/bgm.mlpackage", people / "images/p0.png"
    Image.open(photo).resize((SIDE, SIDE)).save(tmp_path / "p.png")
    given = [part for name in ("image", "bgr") for part in ("--input", f"{name}={tmp_path / 'p.png'}")]
    ran = cli("predict", package, *given, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    shown = cli("inspect", package)
    assert shown.code == 0
    assert "bgr" in shown.out


def test_mlmodel_takes_a_picture_for_every_input(bgm, people):
    """As coremltools' own class does on a Mac: a PIL image for each."""
    from portrait_export.runtime.mlmodel import MLModel

    model = MLModel(str(bgm / "out/bgm.mlpackage"))
    photo = Image.open(people / "images/p0.png").resize((SIDE, SIDE))
    same = np.asarray(model.predict({"image": photo, "bgr": photo})["mask"])
    other = np.asarray(model.predict({"image": photo, "bgr": Image.new("RGB", (SIDE, SIDE))})["mask"])
    assert same.mean() < 60 < 200 < other.mean()
    with pytest.raises(ExecutionError, match="Input 'bgr' is an image"):
        model.predict({"image": photo})


def test_audit_and_evaluate_read_a_gray_package(cli, people, tmp_path):
    saved(gray(), tmp_path / "net.onnx")
    out = tmp_path / "out"
    assert cli("coreml", "--onnx", tmp_path / "net.onnx", "--scale", "1/255", "--data", people, "-o", out).code == 0
    audit = cli("audit", out / "net.mlpackage", "--against", out / "net.onnx")
    assert audit.code == 0, audit.err + audit.out
    scores = cli("evaluate", "--package", out / "net.mlpackage", "--data", people)
    assert scores.code == 0, scores.err
    blamed = cli("blame", out / "net.mlpackage", "--onnx", tmp_path / "net.onnx", "-o", tmp_path / "blame")
    assert blamed.code == 0, blamed.err + blamed.out
