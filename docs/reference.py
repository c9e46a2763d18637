"""Write docs/cli.md and docs/python.md from the command line's help and the API's docstrings; cog calls it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import portrait_export


def run(*words: str) -> str:
    """A command and its output, as a Markdown code block."""
    done = subprocess.run(
        [sys.executable, "-m", "portrait_export", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "110"},
    )
    return "```\n$ portrait-export " + " ".join(words) + "\n" + done.stdout.rstrip() + "\n```"


def commands() -> str:
    """The help of every command, each under a heading."""
    from portrait_export.cli import COMMANDS

    return "\n\n".join([run("--help"), *(f"## {name}\n\n{run(name, '--help')}" for name in COMMANDS)])


def python_api() -> str:
    """The signature and docstring of every public name, functions first."""
    objects = {name: getattr(portrait_export, name) for name in portrait_export.__all__ if name != "__version__"}
    functions = [name for name, value in objects.items() if inspect.isfunction(value)]
    classes = [name for name in objects if name not in functions]
    return "\n\n".join(_entry(name, objects[name]) for name in functions + classes)


def _entry(name: str, value: object) -> str:
    parts = [f"## {name}"]
    if inspect.isfunction(value):
        parts.append(_code(_signature(name, value)))
    parts.append(_code(inspect.getdoc(value) or ""))
    if inspect.isclass(value):
        for method_name, method in _methods(value):
            title = f"{name}.{method_name}"
            head = _signature(title, method) if inspect.isfunction(method) else title
            parts.append(_code(f"{head}\n\n{_indented(inspect.getdoc(method) or '')}"))
    return "\n\n".join(parts)


def _methods(value: type) -> list[tuple[str, object]]:
    """The documented public methods and properties that the class itself defines."""
    if value is portrait_export.SilentObserver:
        return []  # Observer's, without effect
    return [
        (name, member)
        for name, member in vars(value).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property))
        and inspect.getdoc(member)
    ]


def _signature(name: str, function: Callable[..., object]) -> str:
    """A call's signature, one argument per line if it is long. Annotations are shown as the source writes them."""
    signature = inspect.signature(function)
    arguments = list(_arguments(signature))
    returns = f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= 100:
        return line
    return f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){returns}"


def _arguments(signature: inspect.Signature) -> Iterator[str]:
    star = False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        yield f"{stars}{parameter.name}: {parameter.annotation}{default}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def _code(text: str) -> str:
    return f"```text\n{text}\n```"
