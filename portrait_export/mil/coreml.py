"""Import coremltools, silently; no other module imports it.

coremltools prints warnings about untested torch versions and native libraries that exist on macOS only, and a progress
bar for every pass. None of that concerns a user of this package, so it is silenced here.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types as python_types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import PackageError, first_line
from ..utils.quiet import mute, quiet
from .balanced import halves
from .lean_import import deferred, hidden

REQUIRED_VERSION = "9.0"  # private parts are used (pass names, MIL internals), so the version is exact

TARGETS = (
    "iOS16",
    "iOS17",
    "iOS18",
    "iOS26",
)  # deployment targets that can be written; packages are read from iOS15 on

_RECORDED_ELEMENTS = 256  # no recipe compresses smaller constants, and there are thousands of them
_LOST_IN_HALF = 1e-3  # relative error of rounding to half precision; 2e-4 unless values are below its normal range
_SMALL = 0.06  # weights with larger values than this lose less, whatever the others are

_CHATTY_MODULES = (  # those that draw a `tqdm` bar for each pass
    "coremltools.converters.mil.mil.passes.pass_pipeline",
    "coremltools.optimize.coreml._quantization_passes",
    "coremltools.optimize.coreml._post_training_quantization",
    "coremltools.optimize.coreml.experimental._post_training_quantization",
)

# Not needed to lower or compress, and half of the import time, because it imports torch.distributed.
_TRAINING = "coremltools.optimize.torch"
_OPTIONAL = ("torchaudio", "transformers")  # coremltools imports them only to tell its tests whether they are installed


@cache
def coremltools() -> Any:
    """Import coremltools without its warnings and progress bars (0.6 s once torch is there, once per process)."""
    mute("coremltools")
    with quiet(), hidden(*_OPTIONAL), deferred(_TRAINING):
        module = importlib.import_module("coremltools")
    if module.__version__ != REQUIRED_VERSION:
        raise PackageError(
            f"coremltools {module.__version__} is installed, but {REQUIRED_VERSION} is required.",
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
    """The name of a pass that changes nothing and stores every large constant, by name, in its option `into`.

    It runs after coremltools' own passes, to keep the weights for the audit as they are before compression.
    """
    return _recorder("record_weights", lambda value: True)


@cache
def underflow_pass() -> str:
    """The name of a pass that stores the constants that half precision cannot hold, by name, in its option `into`.

    They are too small: rounding loses more of them than of other weights. It runs before the cast to half precision,
    after which their original values are gone.
    """
    return _recorder("record_underflow", _underflows)


@cache
def balancing_pass() -> str:
    """The name of a pass that gives weights the halves that `balanced` chooses, before the cast to half precision.

    Its option `becomes_half` says of an operation whether the cast will take it. Other operations' weights stay.
    """
    mb, passes, base = builder(), *_passes()

    @passes.register_pass(namespace="portrait_export")
    class balance_weights(base):  # type: ignore[misc, valid-type]
        becomes_half: Any = None

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                for op in function.find_ops(op_type="const"):
                    self._balance(op)

        def _balance(self, op: Any) -> None:
            (var,) = op.outputs
            axes = {_output_axis(child, var) for child in var.child_ops}
            if len(axes) != 1 or None in axes or not all(map(self.becomes_half, var.child_ops)):
                return
            rounded = halves(var.val, axes.pop())
            if rounded is None:
                return
            block, name = op.enclosing_block, var.name
            with block:
                new = mb.const(val=rounded, name=name, before_op=op)
            block.replace_uses_of_var_after_op(anchor_op=op, old_var=var, new_var=new, no_check_var_types=True)
            block.remove_ops([op])

    return "portrait_export::balance_weights"


def _output_axis(op: Any, weight: Any) -> int | None:
    """The axis of a layer's output channels in its weight; None if the operation is no layer or reads it otherwise."""
    if op.op_type in ("conv", "linear") and op.weight is weight:
        return 0
    if op.op_type == "matmul" and op.y is weight and weight.rank == 2:
        return 0 if op.transpose_y.val else 1
    return None


def _passes() -> tuple[Any, Any]:
    """The module where passes are registered, and their base class."""
    mil()
    folder = "coremltools.converters.mil.mil.passes"
    base = importlib.import_module(f"{folder}.graph_pass").AbstractGraphPass
    return importlib.import_module(f"{folder}.pass_registry"), base


def _recorder(name: str, wanted: Callable[[Any], bool]) -> str:
    """Register a pass that stores some of the large constants, and return its full name."""
    passes, base = _passes()

    class Recorder(base):  # type: ignore[misc, valid-type]
        into: Any = None

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                for op in function.find_ops(op_type="const"):
                    value = op.outputs[0].val
                    if getattr(value, "size", 0) > _RECORDED_ELEMENTS and wanted(value):
                        self.into[op.outputs[0].name] = value

    Recorder.__name__ = name  # what the registry calls it by
    passes.register_pass(namespace="portrait_export")(Recorder)
    return f"portrait_export::{name}"


def _underflows(value: Any) -> bool:
    """Whether more than a thousandth of an array is lost in half precision, although none of it becomes infinite."""
    import numpy as np

    largest = np.abs(value).max() if value.dtype == np.float32 else 0.0
    if not 0 < largest < _SMALL:
        return False
    wide = value.astype(np.float64) / largest
    lost = value.astype(np.float16).astype(np.float64) / largest - wide
    return bool(np.sqrt(np.mean(lost**2) / np.mean(wide**2)) > _LOST_IN_HALF)


@contextmanager
def validated_at_the_end(program: Any) -> Iterator[None]:
    """Validate a program once after all passes, instead of after each.

    coremltools validates after each of its hundred passes, to name the one that made the program inconsistent. That is
    a third of the compile time. An inconsistent program is still rejected at the end, with the same error.
    """
    program.validate = _skip_validation  # on this program only, not on its class
    try:
        yield
    finally:
        del program.validate
    program.validate(check_essential_scope=True)


def _skip_validation(check_essential_scope: bool = False) -> None:
    """Replace a program's own validation."""


def target(name: str) -> Any:
    """The deployment target of a name such as `iOS17`."""
    return getattr(coremltools().target, name)


@cache
def _schemas() -> Any:
    """coremltools' protobuf schemas, without importing all of coremltools and torch, which takes seconds.

    The generated modules need nothing from their parent package, so an empty module replaces it while they are
    imported. A later full import of coremltools finds the same modules.
    """
    if "coremltools" in sys.modules:
        return importlib.import_module("coremltools.proto.Model_pb2")
    spec = importlib.util.find_spec("coremltools")
    if spec is None or spec.submodule_search_locations is None:
        raise PackageError("coremltools is not installed.", hint=f"pip install coremltools=={REQUIRED_VERSION}")
    empty = python_types.ModuleType("coremltools")
    empty.__path__ = list(spec.submodule_search_locations)
    sys.modules["coremltools"] = empty
    try:
        return importlib.import_module("coremltools.proto.Model_pb2")
    finally:
        del sys.modules["coremltools"]


def spec_message(data: bytes, file: Path | None = None) -> Any:
    """Parse the bytes of a `.mlmodel` specification.

    Args:
        file: that they are from, for the error.
    Raises:
        PackageError: they are not a Core ML protobuf.
    """
    from google.protobuf.message import DecodeError

    message = _schemas().Model()
    try:
        message.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise PackageError(
            f"{file or 'The specification'} ({len(data):,} bytes) is not a Core ML model that can be read.",
            context=(first_line(error),),
            hint="pass a .mlpackage, or an .mlmodel with an ML Program. If it is one, it is damaged: copy it again.",
        ) from error
    return message


def load_on_mac(package: Path, compute_units: str = "ALL") -> Any:
    """Open a package with Core ML itself. It needs macOS, so tests on Linux do not cover it.

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
            hint="omit `runtime=coreml`: the built-in runtime executes the same saved package on any platform.",
        )
    ct = coremltools()
    return ct.models.MLModel(os.fspath(package), compute_units=ct.ComputeUnit[compute_units])


# Divides the scales of both inputs of an addition by one of them, and that of its rounded sum. The values in between
# overflow half precision where one scale is over 511 times the other, and other scales are stored than were chosen.
_SCALE_NORMALIZATION = "common::distributive_quantized_binary_op_scale_normalization"


def with_quantized_activations(package: Path, config: Any, statistics: dict[str, dict[str, float]]) -> Any:
    """A package's program with `quantize` and `dequantize` around operations, as an MLModel that is not loaded.

    These are the passes of coremltools' `linear_quantize_activations`, which itself needs a Mac: it runs the model to
    get the statistics.

    Args:
        config: an OptimizationConfig, see `optimize`.
        statistics: `rmin` and `rmax` of every input and output of the operations that `config` names.
    """
    ct = coremltools()
    passes = importlib.import_module("coremltools.converters.mil.mil.passes.pass_registry").PASS_REGISTRY
    option = importlib.import_module("coremltools.converters.mil.mil.passes.graph_pass").PassOption
    convert = importlib.import_module("coremltools.converters.mil.converter").mil_convert
    read = importlib.import_module("coremltools.converters.mil.frontend.milproto.load").load
    pairs = [passes[f"compression::insert_{side}_quantize_dequantize_pair"] for side in ("prefix", "suffix")]
    for inserting in pairs:
        inserting.set_options([option("config", config), option("activation_stats", statistics)])
    pipeline = ct.PassPipeline()
    pipeline.remove_passes({_SCALE_NORMALIZATION})
    with quiet():
        model = ct.models.MLModel(str(package), skip_model_load=True)
        spec = model.get_spec()
        version = max(spec.specificationVersion, ct.target.iOS17)
        program = read(model_spec=spec, specification_version=version, file_weights_dir=model.weights_dir)
        with validated_at_the_end(program):
            for step in (*pairs, passes["common::dequantize_quantize_pair_elimination"]):
                step.apply(program)
            return convert(
                program,
                convert_to="mlprogram",
                convert_from="milinternal",
                specification_version=version,
                compute_units=ct.ComputeUnit.ALL,
                model_description=spec.description,
                skip_model_load=True,
                pass_pipeline=pipeline,
            )
