"""Check the arguments of the Python API against its annotations.

The command line's options have types; a call from Python has none until it runs.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ..errors import UsageError, nearest
from .arguments import NetworkOptions, is_size

F = TypeVar("F", bound=Callable[..., Any])
Test = Callable[[Any], bool]

RANGES = {"bar_db": (0.0, 200.0), "tolerance": (0.0, 1.0)}  # others are checked where their meaning is


def checked(function: F) -> F:
    """Let a function of the API refuse unknown arguments, and values of another type than it is annotated with.

    Annotations that are not in `TYPES` are left to the function.

    Raises:
        TypeError: an argument that does not exist, with the nearest that does.
        UsageError: a value of a wrong type, or out of `RANGES`.
    """
    parameters = inspect.signature(function).parameters
    known = [name for name, each in parameters.items() if each.kind is not each.VAR_KEYWORD]
    names = [*known, *NetworkOptions.__annotations__] if len(known) < len(parameters) else known

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        for name in named:
            if name not in names:
                hint = nearest(name, [each for each in names if each != "self"], what="argument")
                raise TypeError(f"{function.__name__}() has no argument {name!r}: {hint}")
        for name, value in [*zip(known, given, strict=False), *named.items()]:
            if name in parameters:
                _check(parameters[name], value)
        return function(*given, **named)

    return cast(F, call)


def _check(parameter: inspect.Parameter, value: Any) -> None:
    alternatives = str(parameter.annotation).split(" | ")
    if value is None and "None" in alternatives:
        return
    known = [TYPES[each] for each in alternatives if each in TYPES]
    if len(known) < len([each for each in alternatives if each != "None"]):
        return
    if not any(test(value) for test, _ in known):
        what = " or ".join(text for _, text in known)
        default = "" if parameter.default in (parameter.empty, None, ()) else f" (by default {parameter.default!r})"
        raise UsageError(f"`{parameter.name}=` is {what}{default}; found {shown(value)}.")
    low, high = RANGES.get(parameter.name, (-math.inf, math.inf))
    if parameter.name in RANGES and not low <= value <= high:
        raise UsageError(f"`{parameter.name}=` is a number from {low:g} to {high:g}; found {value}.")


def shown(value: Any) -> str:
    """A value in an error: short, and never the content of a file or of an array."""
    if isinstance(value, (str, int, float, tuple, list, dict, type(None))):
        return reprlib.repr(value)
    return f"an object of type {type(value).__name__}"


def _each(test: Test) -> Test:
    """A test for a sequence of items."""
    return lambda value: isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)) and _all(value, test)


def _all(values: Iterable[Any], test: Test) -> bool:
    """Whether every item passes. The items of an iterator, which can be taken once, are not looked at."""
    return not isinstance(values, Sequence) or all(map(test, values))


def _is(*types: type) -> Test:
    return lambda value: isinstance(value, types) and not (isinstance(value, bool) and bool not in types)


_text, _path, _number = _is(str), _is(str, os.PathLike), _is(numbers.Real)
# An annotation → whether a value is of it, and what is said otherwise.
TYPES: dict[str, tuple[Test, str]] = {
    "str": (_text, "a string"),
    "StrPath": (_path, "a path"),
    "bool": (_is(bool), "True or False"),
    "int": (_is(numbers.Integral), "a whole number"),
    "float": (_number, "a number"),
    "Size": (is_size, "(height, width) in whole pixels, such as (512, 512)"),
    "Sequence[Size]": (_each(is_size), "a list of (height, width) in whole pixels, such as [(256, 256), (512, 512)]"),
    "Sequence[str]": (lambda value: _text(value) or _each(_text)(value), "a string or a list of strings"),
    "Sequence[StrPath]": (_each(_path), "a list of paths"),
    "Sequence[float]": (_each(_number), "a list of numbers"),
    "Observer": (lambda value: hasattr(value, "stage_started"), "an Observer, such as a SilentObserver"),
}
