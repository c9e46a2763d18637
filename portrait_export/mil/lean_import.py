"""A package that imports more than it is used for in; the time of that saved, by leaving it for later or out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


@contextmanager
def deferred(name: str) -> Iterator[None]:
    """Let a module that is imported meanwhile run only when something of it is first used; it may be used as ever."""
    finder = _Deferring(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


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


class _Deferring(MetaPathFinder):
    """Finds one module where it is, and has it run later."""

    def __init__(self, name: str):
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self._name else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec
