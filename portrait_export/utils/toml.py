"""Read a TOML file into a frozen dataclass, with all its errors at once."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin

import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from ..errors import UsageError, nearest
from .lfs import refuse_pointer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
Place = tuple[str | int, ...]  # keys and indices, the outermost first
MAX_BYTES = 1 << 16  # a page of settings
EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_READER = "read"


def setting(read: Callable[[Any], Any], default: Any = None) -> Any:
    """A dataclass field whose TOML value goes through `read`, which raises ValueError with the reason why not."""
    return dataclasses.field(default=default, metadata={_READER: read})


def readers_of(kind: type) -> dict[str, Callable[[Any], Any]]:
    """The readers of a dataclass's settings, by name."""
    return {field.name: field.metadata[_READER] for field in dataclasses.fields(kind) if _READER in field.metadata}


def read_toml(file: Path, kind: type[T]) -> T:
    """Read a file into a dataclass: its fields are the settings, dataclasses in it are tables.

    Types are strict: only a whole number is accepted where a fraction is expected, and one value where a list is.

    Raises:
        UsageError: the file cannot be read or is not TOML; or with every unknown setting and wrong value in it.
    """
    data = _parsed(file)
    try:
        return _converter().structure(data, kind)
    except (ClassValidationError, IterableValidationError, ValueError) as error:
        problems = sorted(_problems(error, ()), key=lambda problem: _position(data, problem[0]))
        lines = [_line(data, path, text) for path, text in problems]
        count = f"{len(lines)} setting{'s' if len(lines) > 1 else ''}"
        raise UsageError(f"{file.name} has {count} that cannot be used.", context=lines) from error


def _parsed(file: Path) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(f"{file.name} has {size:,} bytes; at most {MAX_BYTES:,} are read.")
        refuse_pointer(file, UsageError)
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file.name} is not TOML: {error}.") from error


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    for kind in EXPECTED:
        converter.register_structure_hook(kind, _strict)
    converter.register_structure_hook_factory(dataclasses.is_dataclass, lambda kind: _table_hook(converter, kind))
    converter.register_structure_hook_factory(_is_list, lambda kind: _list_hook(converter, kind))
    return converter


def _strict(value: Any, kind: type) -> Any:
    """A value of exactly this type; whole numbers are numbers as well."""
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"expected {EXPECTED[kind]}")
    return value


def _table_hook(converter: cattrs.Converter, kind: type[T]) -> Callable[[Any, type[T]], T]:
    readers: dict[str, Any] = {
        name: override(struct_hook=_with_reader(read)) for name, read in readers_of(kind).items()
    }
    structure = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **readers)

    def hook(value: Any, _: type[T]) -> T:
        if not isinstance(value, Mapping):
            raise ValueError("expected a table")
        return structure(value, kind)

    return hook


def _with_reader(read: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, _: read(value)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple and len(get_args(kind)) == 2 and get_args(kind)[1] is ...


def _list_hook(converter: cattrs.Converter, kind: Any) -> Callable[[Any, Any], Any]:
    items: Any = GenericAlias(list, (get_args(kind)[0],))

    def hook(value: Any, _: Any) -> Any:
        return tuple(converter.structure(value if isinstance(value, list) else [value], items))

    return hook


def _problems(error: BaseException, path: Place) -> Iterator[tuple[Place, str]]:
    """Every problem in cattrs' tree of errors, and where it is."""
    if isinstance(error, ClassValidationError):
        fields, others = error.group_exceptions()
        for inner, field in fields:
            yield from _problems(inner, (*path, field.name))
        for inner in others:
            yield from _problems(inner, path)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _problems(inner, (*path, item.index))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in dataclasses.fields(error.cl)]
        for name in error.extra_fields:
            yield (*path, name), f"not a setting; {nearest(name, known, what='setting')}"
    else:
        yield path, str(error)


def _position(data: Any, path: Place) -> tuple[int, ...]:
    """Where in the file a value is, to list problems in the file's order."""
    place: list[int] = []
    for key in path:
        if isinstance(data, Mapping):
            place.append(list(data).index(key))
            data = data[key]
        elif isinstance(data, list) and isinstance(key, int):
            place.append(key)
            data = data[key]
    return tuple(place)


def _line(data: Any, path: Place, text: str) -> str:
    """One problem: `phases[0].steps = 'x': expected a whole number`."""
    name = ""
    for key in path:
        if isinstance(key, str):
            name += f".{key}" if name else key
            data = data[key]
        elif isinstance(data, list):
            name += f"[{key}]"
            data = data[key]
    return f"{name}: {text}" if text.startswith("not a setting") else f"{name} = {data!r}: {text}"
