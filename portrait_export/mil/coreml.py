"""The one door to coremltools: nothing else imports it, and it comes in quietly.

coremltools announces untested torch versions, the native libraries that only a Mac has, and a progress bar for every
pass. None of that is news to the person who waits for a mask, so it is silenced here, once.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types as python_types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import PackageError
from ..utils.quiet import mute, quiet
from .lean_import import deferred, left_out

REQUIRED_VERSION = "9.0"  # private parts are used (pass names, MIL internals), so the version is exact

TARGETS = ("iOS16", "iOS17", "iOS18")  # deployment targets that we write; packages are read from iOS15 on

_RECORDED_ELEMENTS = 256  # smaller constants are never compressed by any recipe, and there are thousands of them

_CHATTY_MODULES = (  # where a `tqdm` bar is drawn for each pass
    "coremltools.converters.mil.mil.passes.pass_pipeline",
    "coremltools.optimize.coreml._quantization_passes",
    "coremltools.optimize.coreml._post_training_quantization",
    "coremltools.optimize.coreml.experimental._post_training_quantization",
)

# Not needed to lower or to compress: half of the import's time, as it brings in torch.distributed.
_TRAINING = "coremltools.optimize.torch"
_ONLY_LOOKED_FOR = ("torchaudio", "transformers")  # imported to learn whether they are there, which its tests ask


@cache
def coremltools() -> Any:
    """Import coremltools without its warnings and progress bars (0.6 s once torch is there, once per process)."""
    mute("coremltools")
    with quiet(), left_out(*_ONLY_LOOKED_FOR), deferred(_TRAINING):
        module = importlib.import_module("coremltools")
    if module.__version__ != REQUIRED_VERSION:
        raise PackageError(
            f"coremltools {module.__version__} is installed; this version works with {REQUIRED_VERSION} only.",
            code="coremltools-version",
            hint=f"pip install coremltools=={REQUIRED_VERSION}",
        )
    for name in _CHATTY_MODULES:
        importlib.import_module(name).tqdm = _no_progress_bar  # type: ignore[attr-defined]
    return module


def _no_progress_bar(iterable: Any, *_: Any, **__: Any) -> Any:
    return iterable


def builder() -> Any:
    """The MIL builder, `mb`."""
    coremltools()
    return importlib.import_module("coremltools.converters.mil").Builder


def mil() -> Any:
    """The module of MIL's own classes: Program, Function, Block, Operation, Var, types, get_new_symbol …"""
    coremltools()
    return importlib.import_module("coremltools.converters.mil.mil")


def types() -> Any:
    """The module of MIL's types: fp16, fp32, int32, bool, numpy conversions …"""
    coremltools()
    return importlib.import_module("coremltools.converters.mil.mil.types")


def optimize() -> Any:
    """coremltools.optimize.coreml: configurations of the compression passes."""
    coremltools()
    return importlib.import_module("coremltools.optimize.coreml")


@cache
def recording_pass() -> str:
    """The name of a pass that changes nothing and keeps every large constant, by name, in its option `into`.

    Run between coremltools' own passes and the compression passes, it keeps what the weights were, for the audit.
    """
    mil()
    passes = importlib.import_module("coremltools.converters.mil.mil.passes.pass_registry")
    base = importlib.import_module("coremltools.converters.mil.mil.passes.graph_pass").AbstractGraphPass

    @passes.register_pass(namespace="portrait_export")
    class record_weights(base):  # type: ignore[misc, valid-type]
        into: Any = None

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                for op in function.find_ops(op_type="const"):
                    value = op.outputs[0].val
                    if getattr(value, "size", 0) > _RECORDED_ELEMENTS:
                        self.into[op.outputs[0].name] = value

    return "portrait_export::record_weights"


@contextmanager
def validated_at_the_end(program: Any) -> Iterator[None]:
    """Run passes over a program, and validate it once after them.

    coremltools does so after each of its hundred passes, to say which of them left the program inconsistent: a third
    of the time that compiling takes. What is inconsistent at the end is refused all the same, with the same words.
    """
    program.validate = _not_yet  # on this program alone: its class is everybody's
    try:
        yield
    finally:
        del program.validate
    program.validate(check_essential_scope=True)


def _not_yet(check_essential_scope: bool = False) -> None:
    """Stands in for a program's own validation."""


def target(name: str) -> Any:
    """The deployment target of a name such as `iOS17`."""
    return getattr(coremltools().target, name)


@cache
def _schemas() -> Any:
    """coremltools' protobuf schemas alone, without the seconds of importing coremltools and torch.

    The generated modules need nothing of their parent package, so an empty stand-in for the parent is put in place
    while they load. A later full import of coremltools finds the very same modules.
    """
    if "coremltools" in sys.modules:
        return importlib.import_module("coremltools.proto.Model_pb2")
    spec = importlib.util.find_spec("coremltools")
    if spec is None or spec.submodule_search_locations is None:
        raise PackageError("coremltools is not installed.", hint=f"pip install coremltools=={REQUIRED_VERSION}")
    stand_in = python_types.ModuleType("coremltools")
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules["coremltools"] = stand_in
    try:
        return importlib.import_module("coremltools.proto.Model_pb2")
    finally:
        del sys.modules["coremltools"]


def spec_message(data: bytes) -> Any:
    """Parse the bytes of a `.mlmodel` specification into its protobuf message. Raises PackageError if they are none."""
    from google.protobuf.message import DecodeError

    message = _schemas().Model()
    try:
        message.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise PackageError(f"The specification ({len(data):,} bytes) is not a Core ML protobuf: {error}") from error
    return message


def load_on_mac(package: Path, compute_units: str = "ALL") -> Any:
    """Open a package with Core ML itself. Not run on this platform by our tests: it needs macOS.

    Args:
        package: path of the .mlpackage.
        compute_units: ALL, CPU_ONLY, CPU_AND_GPU or CPU_AND_NE.
    Returns:
        coremltools' MLModel, with `predict`.
    """
    if sys.platform != "darwin":
        raise PackageError(
            f"Core ML itself runs on macOS only; this is {sys.platform}.",
            code="needs-macos",
            hint="leave out `--runtime coreml`: our own runtime executes the same saved package here.",
        )
    ct = coremltools()
    return ct.models.MLModel(os.fspath(package), compute_units=ct.ComputeUnit[compute_units])
