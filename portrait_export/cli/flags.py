"""Rewrite the argument names in the library's messages as command-line options: `size=` becomes --size.

The library writes arguments as Python does (see `PortraitError`). The options of the commands say which flag each one
is, so there is no second table to keep.
"""

from __future__ import annotations

import functools
import importlib
import re
import shlex
from collections.abc import Mapping
from typing import Any

import click

from ..utils.wording import ARGUMENT

_PAIR = re.compile(r"\((\d+), (\d+)\)")  # a size, (height, width)


def with_flags(text: str) -> str:
    """Replace every argument in a message that is an option of some command.

    >>> with_flags("pass `force=True`, or a size such as `size=(512, 384)`")
    'pass --force, or a size such as --size 512x384'
    """
    return ARGUMENT.sub(_flag, text)


def command_line(command: click.Command, arguments: Mapping[str, Any]) -> str:
    """What is typed to run a command with some values of its options.

    >>> command_line(coreml, {"model": "serseg_b0", "size": (384, 512), "tune": True})
    'portrait-export coreml --model serseg_b0 --size 384x512 --tune'
    """
    options = {option.name: option for option in command.params}
    words = ["portrait-export", str(command.name)]
    for name, value in arguments.items():
        flag = max(options[name].opts, key=len)
        for typed in _typed(name, value, repeated=getattr(options[name], "multiple", False)):
            words += [flag, typed] if typed else [flag]
    return shlex.join(words)


def _typed(name: str, value: Any, *, repeated: bool) -> list[str]:
    """What is typed after an option, each time that it is repeated; an empty text is a flag alone."""
    if value is True:
        return [""]
    if isinstance(value, Mapping):
        return [f"{key}={number!r}" for key, number in value.items()]
    if name == "size":
        return ["x".join(map(str, value))]
    if isinstance(value, tuple):
        return list(value) if repeated and isinstance(value[0], str) else [",".join(map(str, value))]
    return [str(value)]


def _flag(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    option = options_by_argument().get(name)
    if option is None:
        return match[0]
    flag = max(option.opts, key=len)
    if value in ("", "True"):
        return flag
    if value == "False":
        return option.secondary_opts[0] if option.secondary_opts else f"no {flag}"
    return f"{flag} {_option_value(value)}"


def _option_value(value: str) -> str:
    """A Python value as it is typed after an option: strings without quotes, (512, 384) as 512x384."""
    sizes = _PAIR.sub(r"\1x\2", value)
    return sizes.strip("()").replace(", ", ",").strip("\"'")


@functools.cache
def options_by_argument() -> dict[str, click.Option]:
    """The options of all commands by the name of the argument that each one sets."""
    from . import COMMANDS

    commands = (getattr(importlib.import_module(f".{name}", __package__), name) for name in COMMANDS)
    options = (param for command in commands for param in command.params if isinstance(param, click.Option))
    return {str(option.name): option for option in options}
