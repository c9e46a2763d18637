"""Speed up the import of a heavy package by deferring or hiding modules that it does not need."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


@contextmanager
def deferred(name: str) -> Iterator[None]:
    """Import without one submodule while the block runs; it is imported when it is first used afterwards.

    Until then it is not in `sys.modules`: code that looks at every module there, as `inspect` and `pickle` do, would
    otherwise trigger its import in the middle of another one.

    Args:
        name: such as `package.part`; modules imported in the block may import it, but not use it.
    """
    if name in sys.modules:
        yield
        return
    finder = _Deferring(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if sys.modules.pop(name, None) is not None:
            _import_on_first_use(*name.rpartition(".")[::2])


def _import_on_first_use(package: str, part: str) -> None:
    """Make `package.part` import itself at its first use (PEP 562)."""
    if package not in sys.modules:
        return
    attributes = vars(sys.modules[package])
    attributes.pop(part, None)
    before = attributes.get("__getattr__")

    def get(attribute: str) -> Any:
        if attribute == part:
            return importlib.import_module(f"{package}.{part}")
        if before is not None:
            return before(attribute)
        raise AttributeError(f"module {package!r} has no attribute {attribute!r}")

    attributes["__getattr__"] = get


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Make packages appear not installed while the block runs, except those that are already imported."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import` fail
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


class _Deferring(MetaPathFinder, Loader):
    """Provides an empty module in place of one module."""

    def __init__(self, name: str):
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module empty."""
