"""The library's argument names become the command line's flags."""

from __future__ import annotations

import inspect
import shlex
from pathlib import Path

import pytest

import portrait_export as pe
from portrait_export.cli.coreml import coreml
from portrait_export.cli.flags import command_line, options_by_argument, with_flags

SHOWN = {
    "name": ("`size=` is missing", "--size is missing"),
    "switch": ("pass `force=True` to replace it.", "pass --force to replace it."),
    "switch_off": ("`parity=False` skips it", "--no-parity skips it"),
    "size": ("`size=(512, 384)` and", "--size 512x384 and"),
    "sizes": ("`sizes=((64, 64), (96, 32))`", "--sizes 64x64,96x32"),
    "text": ('`look="replace"`', "--as replace"),
    "number": ("`white=900`", "--white 900"),
    "other_name": ("`keep_outputs=` and `fix_inputs=`", "--keep-output and --fix-input"),
    "digits_in_the_name": ("`keep_fp32=` and `keep_fp32=softmax`", "--keep-fp32 and --keep-fp32 softmax"),
    "several": ("`mean=`, `std=` and `scale=`", "--mean, --std and --scale"),
    "unknown": ("`any_size=True`", "`any_size=True`"),
    "no_argument": ("did you mean `depth`? `portrait-export depth` makes one", None),
}


@pytest.mark.parametrize("name", SHOWN)
def test_arguments_are_shown_as_flags(name):
    text, expected = SHOWN[name]
    assert with_flags(text) == (text if expected is None else expected)


TYPED = {
    "switch": ({"random_weights": True}, "--random-weights"),
    "size": ({"size": (384, 512)}, "--size 384x512"),
    "path with a space": ({"checkpoint": Path("my weights.pth")}, "--checkpoint 'my weights.pth'"),
    "numbers": ({"mean": (0.5, 0.25, 1 / 3), "scale": 1 / 255}, f"--mean 0.5,0.25,{1 / 3!r} --scale {1 / 255!r}"),
    "classes": ({"person_class": (1, 2)}, "--person-class 1,2"),
    "repeated": ({"keep_outputs": ("a", "b;c")}, "--keep-output a --keep-output 'b;c'"),
    "pairs": ({"fix_inputs": {"r1i": 0.0, "ratio": 0.25}}, "--fix-input r1i=0.0 --fix-input ratio=0.25"),
}


@pytest.mark.parametrize("name", TYPED)
def test_a_command_line_is_read_as_the_arguments_that_it_was_written_for(name, monkeypatch):
    """By the command itself: it gets the same source as `pe.export` would."""
    from portrait_export.api.arguments import source_of

    arguments, expected = TYPED[name]
    given = {"onnx": Path("net.onnx"), **arguments} if name not in ("switch", "path with a space") else arguments
    line = command_line(coreml, {**given, "quantize": "int8"})
    assert expected in line
    words = shlex.split(line)
    assert words[:2] == ["portrait-export", "coreml"]
    found = {}
    monkeypatch.setattr("portrait_export.workflows.export.export_coreml", lambda request, _: found.update(r=request))
    monkeypatch.setattr("portrait_export.cli.export_summary.show", lambda *_: None)
    with pytest.raises(AttributeError):  # there is no result
        coreml.main(words[2:], standalone_mode=False)
    network = {
        key: value for key, value in given.items() if key not in ("onnx", "random_weights", "size", "checkpoint")
    }
    selected = {key: value for key, value in given.items() if key not in network}
    assert found["r"].source == source_of(**selected, network=network)
    assert found["r"].recipe == "int8"


@pytest.mark.parametrize("name", options_by_argument())
def test_every_option_is_shown_as_its_flag(name):
    assert with_flags(f"`{name}=`") == max(options_by_argument()[name].opts, key=len)


PYTHON_ONLY = {"observer", "network", "kwargs"}


@pytest.mark.parametrize(
    "function",
    [pe.export, pe.export_coreai, pe.export_onnx, pe.check_parity, pe.segment, pe.sweep],
    ids=lambda f: f.__name__,
)
def test_every_keyword_of_the_python_api_is_an_option(function):
    keywords = {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.POSITIONAL_ONLY and name not in PYTHON_ONLY
    }
    own_network = set(pe.NetworkOptions.__annotations__)
    arguments = {"package", "image"}  # of the commands `parity` and `segment`
    assert (keywords | own_network) - set(options_by_argument()) - arguments == set()


def test_one_error_in_both_languages(cli, small_export):
    out = small_export
    with pytest.raises(pe.PortraitError) as caught:
        pe.export("segformer_b0", random_weights=True, size=(64, 64), out=out)
    assert caught.value.hint == "pass `force=True` to replace it, or another `name=` or `out=` to keep both."
    ran = cli("coreml", "-m", "segformer_b0", "--random-weights", "--size", "64x64", "-o", out)
    assert "hint: pass --force to replace it, or another --name or --out to keep both." in ran.err
    assert caught.value.message in ran.err


def test_listed_values_are_typed_with_commas():
    line = command_line(coreml, {"model": "serseg_b0", "kinds": ("portrait", "empty")})
    assert line == "portrait-export coreml --model serseg_b0 --kinds portrait,empty"
