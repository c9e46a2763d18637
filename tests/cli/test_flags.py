"""The library's argument names become the command line's flags."""

from __future__ import annotations

import inspect

import pytest

import portrait_export as pe
from portrait_export.cli.flags import options_by_argument, with_flags

SHOWN = {
    "name": ("`size=` is missing", "--size is missing"),
    "switch": ("pass `force=True` to replace it.", "pass --force to replace it."),
    "switch_off": ("`parity=False` skips it", "--no-parity skips it"),
    "size": ("`size=(512, 384)` and", "--size 512x384 and"),
    "sizes": ("`sizes=((64, 64), (96, 32))`", "--sizes 64x64,96x32"),
    "text": ('`look="replace"`', "--as replace"),
    "number": ("`white=900`", "--white 900"),
    "other_name": ("`keep_outputs=` and `fix_inputs=`", "--keep-output and --fix-input"),
    "several": ("`mean=`, `std=` and `scale=`", "--mean, --std and --scale"),
    "unknown": ("`any_size=True`", "`any_size=True`"),
    "no_argument": ("did you mean `depth`? `portrait-export depth` makes one", None),
}


@pytest.mark.parametrize("name", SHOWN)
def test_arguments_are_shown_as_flags(name):
    text, expected = SHOWN[name]
    assert with_flags(text) == (text if expected is None else expected)


PYTHON_ONLY = {"observer", "network", "kwargs"}


@pytest.mark.parametrize("function", [pe.export, pe.export_onnx, pe.check_parity, pe.segment], ids=lambda f: f.__name__)
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
