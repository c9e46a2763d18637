"""Test `depth` from the outside: a MiDaS checkpoint or an ONNX file makes maps for depth models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from portrait_export.imaging.photo import open_depth, open_photo
from portrait_export.models.initialise import empty_net, randomize_
from portrait_export.models.midas import MidasSmall

from ..models.support import reference_keys


@pytest.fixture(scope="module")
def net() -> MidasSmall:
    """Random weights with a raised bias, so that the last ReLU does not zero everything."""
    net = randomize_(empty_net(lambda _: MidasSmall(), None), seed=5).eval()
    with torch.no_grad():
        net.scratch.output_conv[4].bias.fill_(1.0)
    return net


@pytest.fixture(scope="module")
def checkpoint(net: MidasSmall, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half precision, to write fewer bytes, under the published keys."""
    path = tmp_path_factory.mktemp("midas") / "midas_v21_small_256.pt"
    torch.save({key: net.state_dict()[key].half() for key in reference_keys("midas_small")[0]}, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: two photos of different sizes, with masks."""
    for name, size in {"a": (40, 64), "b": (50, 30)}.items():
        pixels = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
        for kind, picture in {"images": pixels, "masks": (pixels[..., 0] > 127).astype(np.uint8) * 255}.items():
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / "data" / kind / f"{name}.png")
    return tmp_path / "data"


def expected_depth(net: MidasSmall, path: Path, size: tuple[int, int]) -> np.ndarray:
    """Run the network by hand: stretch and normalise the photo, resize the result back."""
    pixels = torch.from_numpy(open_photo(path).pixels.copy()).permute(2, 0, 1)[None] / 255
    seen = torch.nn.functional.interpolate(pixels, size=size, mode="bicubic")
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        depth = net((seen - mean) / std)
    return torch.nn.functional.interpolate(depth[None], size=pixels.shape[2:], mode="bicubic")[0, 0].numpy()


def test_a_checkpoint_makes_the_maps_of_a_folder_that_a_depth_model_then_reads(cli, net, checkpoint, data):
    ran = cli("depth", data, "--checkpoint", checkpoint, "--white", "2")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [str(data / "depth/a.png"), str(data / "depth/b.png")]
    for name, size in {"a": (160, 256), "b": (256, 160)}.items():
        found = open_depth(data / f"depth/{name}.png")
        expected = (expected_depth(net, data / f"images/{name}.png", size) / 2).clip(0, 1)
        assert expected.std() > 0.01
        assert np.abs(found - expected).max() < 5e-3  # the file holds half-precision weights
    model = ("-m", "serseg_b0_dam_depth", "--random-weights", "--size", "64x64")
    scores = cli("evaluate", *model, "--data", data, "--json")
    assert scores.code == 0, scores.err
    assert json.loads(scores.out)["images"] == 2


def test_maps_are_kept_unless_forced_and_are_reproducible(cli, checkpoint, data):
    assert cli("depth", data, "--checkpoint", checkpoint, "--white", "photo").code == 0
    first = (data / "depth/a.png").read_bytes()
    (data / "depth/b.png").unlink()
    ran = cli("depth", data, "--checkpoint", checkpoint, "--white", "photo")
    assert ran.out.splitlines() == [str(data / "depth/b.png")]
    assert "1 existing depth maps were kept" in ran.err
    (data / "depth/a.png").write_bytes(b"old")
    assert cli("depth", data, "--checkpoint", checkpoint, "--white", "photo", "--force").code == 0
    assert (data / "depth/a.png").read_bytes() == first
    levels = open_depth(data / "depth/a.png")
    assert (levels.min(), levels.max()) == (0, 1)


def test_a_photo_that_cannot_be_read_does_not_stop_the_others(cli, checkpoint, data, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    photos = [tmp_path / "broken.jpg", data / "images/b.png"]
    ran = cli("depth", *photos, "--checkpoint", checkpoint, "-o", tmp_path / "o")
    assert ran.code == 2
    assert "broken.jpg is not a picture" in ran.err
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["b.png"]


# ---- maps from files, read by everything that takes a depth model ----------------------------------------------------

DEPTH_MODEL = ("-m", "serseg_b0_abg_dbn_depth", "--random-weights", "--size", "64x64")


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A folder with a near map for photo a and a ramp for photo b, 16 bits, of other sizes than the photos."""
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.full((20, 20), 65535, np.uint16)).save(tmp_path / "maps/a.png")
    ramp = np.tile(np.linspace(0, 65535, 30).astype(np.uint16), (10, 1))
    Image.fromarray(ramp).save(tmp_path / "maps/b.png")
    return tmp_path / "maps"


def test_segment_reads_each_photos_own_map(cli, data, maps, tmp_path):
    photos = {name: data / f"images/{name}.png" for name in "ab"}
    ran = cli("segment", *photos.values(), *DEPTH_MODEL, "--depth", maps, "-o", tmp_path / "o")
    assert ran.code == 0, ran.err

    def alone(photo: str, depth: str) -> bytes:
        out = tmp_path / f"{photo}{depth}.png"
        ran = cli("segment", photos[photo], *DEPTH_MODEL, "--depth", maps / f"{depth}.png", "-o", out)
        assert ran.code == 0, ran.err
        return out.read_bytes()

    both = {name: (tmp_path / f"o/{name}-mask.png").read_bytes() for name in "ab"}
    assert both == {"a": alone("a", "a"), "b": alone("b", "b")}
    assert both["a"] != alone("a", "b")


def test_a_depth_package_takes_the_map_as_its_second_input(cli, data, maps, tmp_path):
    ran = cli("coreml", *DEPTH_MODEL, "--precision", "fp32", "--data", data, "-o", tmp_path / "p", "--json")
    assert ran.code == 0, ran.err
    assert "2 of 2 photos have no depth map" in json.loads(ran.out)["warnings"][0]
    package = tmp_path / "p/serseg_b0_abg_dbn_depth.mlpackage"
    facts = json.loads(cli("inspect", package, "--json").out)
    image, depth = facts["inputs"]
    assert (image["name"], depth["name"], depth["shape"]) == ("image", "depth", [1, 1, 64, 64])
    assert "relative inverse depth in 0..1, larger is nearer" in depth["description"]
    photo = (data / "images/b.png", "--depth", maps / "b.png")
    assert cli("segment", *photo, *DEPTH_MODEL, "-o", tmp_path / "m.png").code == 0
    assert cli("segment", *photo, "-p", package, "-o", tmp_path / "q.png").code == 0
    by_model, by_package = (np.asarray(Image.open(tmp_path / name), np.int64) for name in ("m.png", "q.png"))
    assert np.abs(by_model - by_package).max() <= 1
    onnx = tmp_path / "p/serseg_b0_abg_dbn_depth.onnx"
    ran = cli("blame", package, "--onnx", onnx, "--image", photo[0], "--no-isolate", "-o", tmp_path / "blame")
    assert ran.code == 0, ran.err
    assert "1 of 1 photos have no depth map: both sides use brightness plus a ramp instead." in ran.err
    assert json.loads((tmp_path / "blame/blame.json").read_text())["stand_in_depth"] == ["b.png"]
    maps.rename(data / "depth")
    ran = cli("parity", package, *DEPTH_MODEL, "--data", data)
    assert ran.code == 0, ran.err
    assert "no depth map" not in ran.err


WITHOUT_MAPS = {
    "none": ((), "The model needs a depth map, and --depth is not given."),
    "one for two": (("--depth", "maps/a.png"), "a.png cannot be the depth map of 2 photos."),
    "missing map": (("--depth", "empty"), "Cannot read the picture"),
}


@pytest.mark.parametrize(("arguments", "words"), WITHOUT_MAPS.values(), ids=WITHOUT_MAPS)
def test_segment_without_the_maps_it_needs_is_refused(cli, data, maps, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    photos = [data / f"images/{name}.png" for name in "ab"]
    ran = cli("segment", *photos, *DEPTH_MODEL, *arguments, "-o", tmp_path / "o")
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert not (tmp_path / "o").exists()


def test_a_map_for_a_model_without_depth_is_refused(cli, data, maps, tmp_path):
    model = ("-m", "segformer_b0", "--random-weights", "--size", "64x64")
    ran = cli("segment", data / "images/a.png", *model, "--depth", maps / "a.png", "-o", tmp_path / "o.png")
    assert ran.code == 2
    assert "--depth is for depth models; this model takes no depth map." in ran.err


def test_training_reads_the_maps_of_the_photos(cli, data, maps, tmp_path):
    maps.rename(data / "depth")
    config = f"""
model = "serseg_b0_abg_dbn_depth"
data = "{data}"
out = "{tmp_path}/run"
holdout = 2
every = 1
pictures = 1
[[phases]]
steps = 2
size = 32
batch = 1
"""
    (tmp_path / "run.toml").write_text(config)
    ran = cli("train", tmp_path / "run.toml", "--json")
    assert ran.code == 0, ran.err
    best = json.loads(ran.out)["best"]
    scores = cli("evaluate", "--checkpoint", best, "--size", "64x64", "--data", data, "--json")
    assert scores.code == 0, scores.err
    assert json.loads(scores.out)["images"] == 2


# ---- checkpoints of other networks ----------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return print, ("this must never be printed",)


def other_widths(state: dict) -> dict:
    return {**state, "scratch.layer1_rn.weight": torch.zeros(256, 256, 3, 3), "scratch.extra": torch.zeros(1)}


def without_decoder(state: dict) -> dict:
    return {key: tensor for key, tensor in state.items() if not key.startswith("scratch.")}


def with_nan(state: dict) -> dict:
    return {**state, "scratch.output_conv.4.bias": torch.full((1,), torch.nan)}


BAD = {
    "other widths": (other_widths, "checkpoint-mismatch", "mis-shaped: scratch.layer1_rn.weight: [256, 256, 3, 3]"),
    "unexpected key": (other_widths, "checkpoint-mismatch", "unexpected: scratch.extra [1]"),
    "encoder alone": (without_decoder, "checkpoint-mismatch", "missing: scratch.layer1_rn.weight [64, 32, 3, 3]"),
    "other network": (
        lambda state: {"conv.weight": torch.zeros(3)},
        "checkpoint-mismatch",
        "410 keys missing, 1 unexpected",
    ),
    "not finite": (with_nan, "not-finite", "scratch.output_conv.4.bias: 1 of 1 values"),
    "runs code": (lambda state: {"model": Evil()}, "unsafe-pickle", "nothing in it was executed"),
    "no tensors": (lambda state: {"a": 1}, "no-weights", "holds no tensors"),
}


@pytest.mark.parametrize(("change", "code", "words"), BAD.values(), ids=BAD)
def test_other_checkpoints_are_refused_with_what_does_not_fit(cli, net, data, tmp_path, change, code, words):
    torch.save(change(net.state_dict()), tmp_path / "other.pt")
    ran = cli("depth", data, "--checkpoint", tmp_path / "other.pt")
    assert (ran.code, ran.out) == (2, "")
    assert f"error: {code}" in ran.err
    assert words in ran.err
    assert "never be printed" not in ran.err
    if code == "checkpoint-mismatch":
        assert "hint: MiDaS v2.1 small is read, midas_v21_small_256.pt of release v2_1" in ran.err
    assert not (data / "depth").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02garbage", b"PK\x03\x04 cut off"])
def test_damaged_files_are_refused(cli, data, tmp_path, content):
    (tmp_path / "m.pt").write_bytes(content)
    ran = cli("depth", data, "--checkpoint", tmp_path / "m.pt")
    assert (ran.code, ran.out) == (2, "")
    assert "error: internal" not in ran.err


def test_a_trainers_wrapper_is_removed(cli, net, data, tmp_path):
    wrapped = {"optimizer": {"step": 3}, "model": {f"module.{key}": t for key, t in net.state_dict().items()}}
    torch.save(wrapped, tmp_path / "trained.pt")
    ran = cli("depth", data / "images/b.png", "--checkpoint", tmp_path / "trained.pt", "-o", tmp_path / "b.png")
    assert ran.code == 0, ran.err


# ---- ONNX -----------------------------------------------------------------------------------------------------------


def red_net(path: Path, *, side: int | str = 32, normalises: bool = False, outputs: int = 1) -> Path:
    """An ONNX file whose depth is 100 times the red channel of its input."""
    pick = numpy_helper.from_array(np.array([100, 0, 0], np.float32).reshape(1, 3, 1, 1), "pick")
    nodes, tensors, source = [], [pick], "image"
    if normalises:
        tensors += [
            numpy_helper.from_array(np.array(values, np.float32).reshape(1, 3, 1, 1), name)
            for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225)))
        ]
        nodes += [helper.make_node("Sub", ["image", "mean"], ["c"]), helper.make_node("Div", ["c", "std"], ["n"])]
        source = "n"
    nodes.append(helper.make_node("Conv", [source, "pick"], ["depth"]))
    taken = [helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, 1, side, side])]
    if outputs == 2:
        nodes.append(helper.make_node("Relu", ["depth"], ["again"]))
        taken.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, [1, 1, side, side]))
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
    graph = helper.make_graph(nodes, "red", [given], taken, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("normalises", [False, True], ids=["normalised_outside", "normalised_inside"])
@pytest.mark.parametrize("side", [32, "S"], ids=["fixed", "open"])
def test_an_onnx_network_gets_the_pixels_that_its_graph_expects(cli, tmp_path, side, normalises):
    pixels = np.full((40, 60, 3), 230, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    file = red_net(tmp_path / "red.onnx", side=side, normalises=normalises)
    ran = cli("depth", tmp_path / "a.png", "--onnx", file, "-o", tmp_path / "d.png")
    assert ran.code == 0, ran.err
    depth = open_depth(tmp_path / "d.png")
    assert depth.shape == (40, 60)
    # Either way the net sees (230/255 − 0.485) / 0.229, and white is 1000.
    assert depth == pytest.approx(np.full((40, 60), 100 * (230 / 255 - 0.485) / 0.229 / 1000), abs=1e-4)


def test_an_onnx_network_with_several_outputs_is_refused(cli, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    file = red_net(tmp_path / "red.onnx", outputs=2)
    ran = cli("depth", tmp_path / "a.png", "--onnx", file, "-o", tmp_path / "d.png")
    assert ran.code == 2
    assert "red.onnx does not give one map of depth." in ran.err
    assert "again: 1x1x32x32" in ran.err


REFUSED = {
    "no network": ([], "No depth network: neither --checkpoint nor --onnx is given, and none is bundled."),
    "both": (["--checkpoint", "a.pt", "--onnx", "b.onnx"], "--checkpoint and --onnx cannot be used together."),
    "missing checkpoint": (["--checkpoint", "missing.pt"], "There is no checkpoint at missing.pt."),
    "white of 0": (["--checkpoint", "a.pt", "--white", "0"], "'0' is neither a number above 0 nor `photo`."),
    "white of words": (["--checkpoint", "a.pt", "--white", "snow"], "'snow' is neither a number above 0 nor `photo`."),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_unusable_arguments_are_refused(cli, data, arguments, words):
    ran = cli("depth", data, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
