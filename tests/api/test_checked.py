"""Test that calls from Python refuse values of a wrong type, or out of range, before any work."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import portrait_export as pe
from portrait_export.api.checked import TYPES

MODEL = {"model": "segformer_b0", "random_weights": True}
# A call with a value that it cannot use → what the error says.
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "one_side": (pe.export, {"size": 256}, r"`size=` is \(height, width\) in whole pixels, .* found 256"),
    "text_size": (pe.export, {"size": "64x64"}, r"found '64x64'"),
    "one_size_as_sizes": (pe.export, {"sizes": (256, 256)}, r"`sizes=` is a list of \(height, width\)"),
    "no_recipe": (pe.export, {"quantize": None}, r"`quantize=` is a string \(by default 'none'\); found None"),
    "text_as_bar": (pe.export, {"min_iou": "0.9"}, "`min_iou=` is a number; found '0.9'"),
    "text_as_switch": (pe.export, {"parity": "no"}, "`parity=` is True or False .* found 'no'"),
    "number_as_path": (pe.export, {"out": 3}, "`out=` is a path; found 3"),
    "bytes_as_path": (pe.load, {"path": b"x" * 5000}, "`path=` is a path; found an object of type bytes"),
    "function_as_observer": (pe.export, {"observer": print}, "`observer=` is an Observer, .* builtin_function"),
    "numbers_as_types": (pe.audit, {"package": "a", "stored_as": [8]}, "`stored_as=` is a string or a list of strings"),
    "text_as_budget": (pe.sweep, {"budgets": ["a"]}, "`budgets=` is a number or a list of numbers"),
    "text_as_photos": (pe.sweep, {"photos": "4"}, "`photos=` is a whole number; found '4'"),
    "switch_as_number": (pe.export_onnx, {"opset": True}, "`opset=` is a whole number; found True"),
    "number_as_name": (pe.create_model, {"name": 3}, "`name=` is a string; found 3"),
    "number_as_package": (pe.segment, {"image": "a.png", "package": 3}, "A path is a string or a pathlib.Path"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_of_another_type_is_a_usage_error(name):
    function, arguments, message = REFUSED[name]
    with pytest.raises(pe.UsageError, match=message):
        function(**arguments)


def test_positional_arguments_are_checked_too():
    with pytest.raises(pe.UsageError, match="`model=` is a string; found an object of type PosixPath"):
        pe.export(Path("net.onnx"))  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers():
    with pytest.raises(pe.UsageError, match="leaves no photograph"):
        pe.sweep(**MODEL, photos=np.int64(0), size=(np.int32(64), np.int32(64)), budgets=np.float32(1.5))


UNKNOWN = {
    "of_the_function": (pe.export, "quantise", "quantize"),
    "of_networks": (pe.export, "person_clas", "person_class"),
    "without_networks": (pe.find_blame, "bar", "bar_db"),
    "a_method": (pe.Package.predict, "refined", "refine"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_argument_is_a_type_error_with_the_nearest_of_all(name):
    function, wrong, right = UNKNOWN[name]
    with pytest.raises(TypeError, match=f"has no argument '{wrong}': did you mean `{right}`") as caught:
        function(**{wrong: 1})
    listed = str(caught.value).partition("The arguments are: ")[2].rstrip(".").split(", ")
    assert {each for each in inspect.signature(function).parameters if each not in ("self", "network")} <= set(listed)


def test_every_simple_annotation_of_the_api_is_checked():
    functions = [each for name in pe.__all__ if inspect.isfunction(each := getattr(pe, name))]
    found = {part for each in functions for p in inspect.signature(each).parameters.values() for part in parts(p)}
    own = {"Unpack[NetworkOptions]", "Package", "Image.Image", "np.ndarray", "Mapping[str, StrPath", "np.ndarray]"}
    assert found - set(TYPES) == own  # these are checked where they are used


def parts(parameter: inspect.Parameter) -> list[str]:
    return [part for part in str(parameter.annotation).split(" | ") if part != "None"]


# The function of the API for a command, and arguments that it needs.
CALLS = {
    "coreml": (pe.export, {**MODEL, "quantize": "mixed"}),
    "onnx": (pe.export_onnx, MODEL),
    "parity": (pe.check_parity, {"package": "a.mlpackage", **MODEL}),
    "blame": (pe.find_blame, {"package": "a.mlpackage", **MODEL}),
    "sweep": (pe.sweep, MODEL),
}


def bounded() -> list[tuple[str, str, float]]:
    """A number beyond each bound of each option of these commands that is an argument from Python, too."""
    rows = []
    for command, (function, _) in CALLS.items():
        options = getattr(importlib.import_module(f"portrait_export.cli.{command}"), command).params
        for option in options:
            if option.name not in inspect.signature(function).parameters or not hasattr(option.type, "min"):
                continue
            bounds = (option.type.min, -1), (option.type.max, 1)
            rows += [(command, option.name, bound + step) for bound, step in bounds if bound is not None]
    assert rows
    return rows


@pytest.mark.parametrize(("command", "argument", "value"), bounded())
def test_what_the_command_line_bounds_is_bounded(command, argument, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, needed = CALLS[command]
    with pytest.raises(pe.PortraitError, match=r"found|leaves no photograph|the opsets are"):
        function(**needed, **{argument: value})
