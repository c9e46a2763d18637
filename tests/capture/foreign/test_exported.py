"""Test that an ONNX file of this project is read back as it was exported: prepared alike, from its own metadata."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from portrait_export.capture.export import export_onnx, spec_of
from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.capture.onnx.load import load_onnx
from portrait_export.capture.runners import carried_places
from portrait_export.errors import UsageError
from portrait_export.preprocessing import SPEC_KEY, PortraitSpec
from tests.capture.foreign.guesses import guesses
from tests.capture.foreign.picture_nets import four_channels, gray, matting, saved, with_trimap
from tests.capture.foreign.recurrent_nets import rvm_file

SPEC = PortraitSpec(
    height=32,
    width=48,
    color="bgr",
    scale=1 / 127.5,
    mean=(1.0, 0.9, 0.8),
    std=(0.5, 0.6, 0.7),
    resize="fit",
    positive="background",
    threshold=0.4,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as this project exports it."""
    file = tmp_path_factory.mktemp("exported") / "net.onnx"
    torch.manual_seed(0)
    onnx.save(export_onnx(nn.Conv2d(3, 1, 3, padding=1), spec=SPEC), file)
    return file


def test_its_preprocessing_is_taken_from_its_metadata(exported):
    network = load_foreign(ForeignOptions(onnx=exported))
    assert network.spec == PortraitSpec(**{**SPEC.to_dict(), "positive": "person"})  # its outputs are of the person
    assert "preprocessing from the file's own metadata" in network.notes
    assert guesses(network) == ()
    assert network.head.output == "mask"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": (0.9, 0.9, 0.9)}, "say mean 1,0.9,0.8, and 0.9,0.9,0.9 is specified (`mean=`)"),
        ({"scale": 1 / 255}, "say scale 0.00784314, and 0.00392157 is specified (`scale=`)"),
        ({"color": "rgb"}, "say color bgr, and rgb is specified (`color=`)"),
    ],
)
def test_an_option_counts_first_and_a_contradiction_is_told(exported, given, said):
    network = load_foreign(ForeignOptions(onnx=exported, **given))
    assert {name: getattr(network.spec, name) for name in given} == given
    assert any(said in warning for warning in network.warnings)


def test_options_that_repeat_the_metadata_are_no_contradiction(exported):
    same = {"mean": (1.0, 0.9, 0.8), "std": (0.5, 0.6, 0.7), "scale": 0.00784, "color": "bgr"}
    assert guesses(load_foreign(ForeignOptions(onnx=exported, **same))) == ()


def test_a_file_next_to_it_counts_before_its_metadata(exported, tmp_path):
    (tmp_path / "net.onnx").write_bytes(exported.read_bytes())
    (tmp_path / "net.toml").write_text('resize = "fill"\nmean = 0.5\nstd = 0.5\n')
    network = load_foreign(ForeignOptions(onnx=tmp_path / "net.onnx"))
    assert (network.spec.resize, network.spec.mean, network.spec.color) == ("fill", (0.5, 0.5, 0.5), "bgr")
    assert any("say mean 1,0.9,0.8" in warning for warning in network.warnings)


def test_metadata_of_another_graph_are_not_used(exported, tmp_path):
    model = onnx.load(exported)
    (value,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = ["photo" if name == value.name else name for name in node.input]
    value.name = "photo"
    onnx.save(model, tmp_path / "net.onnx")
    network = load_foreign(ForeignOptions(onnx=tmp_path / "net.onnx"))
    assert network.spec.mean != SPEC.mean
    assert any("describe other inputs than it has" in warning for warning in network.warnings)


def test_damaged_metadata_are_refused(exported, tmp_path):
    model = onnx.load(exported)
    next(entry for entry in model.metadata_props if entry.key == SPEC_KEY).value = '{"mean": 1}'
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="not a PortraitSpec"):
        load_foreign(ForeignOptions(onnx=tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (matting, ("--image-input", "src", "--image-input", "bgr", "--scale", "1/255", "--mean", "bgr=0.5")),
        (with_trimap, ("--image-input", "image", "--image-input", "trimap=trimap", "--mean", "0.5", "--std", "0.25")),
        (four_channels, ("--image-input", "input=trimap", "--scale", "1/255", "--std", "0.5")),
        (gray, ("--mean", "0.5", "--std", "0.25")),
        (None, ("--mean", "0.4", "--std", "0.5")),
    ],
    ids=["background", "trimap", "four channels", "gray", "recurrent"],
)
def test_exporting_an_export_changes_nothing_of_its_pictures(cli, tmp_path, make, options):
    first, again = tmp_path / "first.onnx", tmp_path / "again.onnx"
    if make is None:
        rvm_file(tmp_path / "net.onnx")
    else:
        saved(make(), tmp_path / "net.onnx")
    for source, out, more in ((tmp_path / "net.onnx", first, options), (first, again, ())):
        ran = cli("onnx", "--onnx", source, *more, "-o", out)
        assert ran.code == 0, ran.err
    once, twice = load_onnx(first), load_onnx(again)
    assert spec_of(twice) == spec_of(once)
    assert len(carried_places(twice)) == len(carried_places(once))
