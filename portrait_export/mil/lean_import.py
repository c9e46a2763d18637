"""A package that imports more than it is used for in; the time of that saved, by leaving it for later or out."""

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
    """Let what is imported meanwhile go without one submodule; it is imported when it is first asked for afterwards.

    Until then it is nowhere in `sys.modules`: those who look at every module there, as `inspect` and `pickle` do,
    would have it run in the midst of somebody else's import.

    Args:
        name: such as `package.part`; what is imported meanwhile may import it, but not use it.
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
            _import_when_asked_for(*name.rpartition(".")[::2])


def _import_when_asked_for(package: str, part: str) -> None:
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
def left_out(*names: str) -> Iterator[None]:
    """Let packages seem not installed to what is imported meanwhile. Those that are imported already are left alone."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # what `import` takes for "there is none"
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


class _Deferring(MetaPathFinder, Loader):
    """Finds an empty module in one module's place."""

    def __init__(self, name: str):
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""
