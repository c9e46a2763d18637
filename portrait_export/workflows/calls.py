"""Write what a person calls to make a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..inputs.sources import ModelSource


def export_call(arguments: Mapping[str, Any]) -> str:
    """The call of the Python API that makes a package."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
    return f"pe.export({', '.join(f'{name}={value!r}' for name, value in plain.items())})"


def arguments_of(source: ModelSource) -> dict[str, Any]:
    """The arguments of `export` that select a network; those that have another value than by default."""
    found = _set_fields(source)
    foreign = found.pop("foreign", None)
    if foreign is not None:
        found |= {name: value for name, value in _set_fields(foreign).items() if value not in (None, ())}
        if "fix_inputs" in found:
            found["fix_inputs"] = dict(found["fix_inputs"])
    return found


def _set_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults."""
    return {one.name: getattr(value, one.name) for one in fields(value) if getattr(value, one.name) != one.default}
