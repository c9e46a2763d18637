"""Modules are deferred and packages hidden while a block runs, and only then."""

from __future__ import annotations

import importlib
import sys

import pytest

from portrait_export.mil.lean_import import deferred, hidden


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that imports its module `slow`, which sets a mark in `sys` when it runs."""
    name = f"lean_import_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("from . import slow\n")
    (tmp_path / name / "slow.py").write_text(f"import sys\nsys.{name} = True\nvalue = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]
    vars(sys).pop(name, None)


def has_run(package: str) -> bool:
    return hasattr(sys, package)


def test_a_deferred_module_runs_at_its_first_use(package):
    with deferred(f"{package}.slow"):
        module = importlib.import_module(package)
    assert not has_run(package)
    assert module.slow.value == 7
    assert has_run(package)


def test_a_deferred_module_can_be_imported_from_as_usual(package):
    with deferred(f"{package}.slow"):
        importlib.import_module(package)
    assert importlib.import_module(f"{package}.slow").value == 7


def test_looking_through_all_modules_does_not_run_a_deferred_one(package):
    with deferred(f"{package}.slow"):
        module = importlib.import_module(package)
    for each in list(sys.modules.values()):
        hasattr(each, "__file__")
    assert not has_run(package)
    assert module.slow.value == 7


def test_nothing_is_deferred_after_the_block(package):
    before = list(sys.meta_path)
    with deferred(f"{package}.slow"):
        pass
    assert sys.meta_path == before
    importlib.import_module(package)
    assert has_run(package)


def test_a_hidden_package_is_there_again_after_the_block(package):
    with hidden(package), pytest.raises(ModuleNotFoundError):
        importlib.import_module(package)
    assert importlib.import_module(package).slow.value == 7


def test_a_package_imported_before_is_not_hidden(package):
    module = importlib.import_module(package)
    with hidden(package):
        assert importlib.import_module(package) is module
    assert sys.modules[package] is module


def test_the_module_that_coremltools_defers_is_complete_when_used():
    from portrait_export.mil import coreml

    quantization = coreml.coremltools().optimize.torch.quantization
    assert quantization.LinearQuantizer.__module__.startswith("coremltools.optimize.torch.quantization")
