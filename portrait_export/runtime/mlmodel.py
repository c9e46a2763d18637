"""MLModel: the interface of coremltools.models.MLModel, run without Core ML.

A script that uses coremltools' class runs here with one import changed:

    from portrait_export.runtime import MLModel  # instead of: from coremltools.models import MLModel

docs/mlmodel.md says what is alike and what is not. The facts about coremltools are from version 9.0, models/model.py.
"""

from __future__ import annotations

import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from enum import Enum
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from ..errors import ExecutionError, UsageError, nearest
from ..mil import coreml
from ..mil.folder import locate_specification, specification_bytes
from ..mil.package import copy_package, write_package
from .binding import InputTypeError, RefusedError, as_python, checked, single
from .model import CoreMLProgram, State


class ComputeUnit(Enum):
    """coremltools' names of processors. They are accepted; everything runs on the CPU."""

    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


class FunctionNameError(UsageError, ValueError):
    """A function that the model does not have; coremltools raises ValueError."""


class FeatureDescriptions:
    """The descriptions of a model's inputs or outputs, by name; setting one changes the model's specification."""

    def __init__(self, features: Any):
        self._features = features

    def __len__(self) -> int:
        return len(self._features)

    def __iter__(self) -> Iterator[str]:
        return (feature.name for feature in self._features)

    def __contains__(self, name: object) -> bool:
        return any(feature.name == name for feature in self._features)

    def __getitem__(self, name: str) -> str:
        return self._find(name, KeyError).shortDescription

    def __setitem__(self, name: str, text: str) -> None:
        self._find(name, AttributeError).shortDescription = text

    def __repr__(self) -> str:
        return f"Features({','.join(self)})"

    def _find(self, name: str, error: type[Exception]) -> Any:
        for feature in self._features:
            if feature.name == name:
                return feature
        raise error(f"No feature with name {name}.")


class MLState:
    """The states of a model between calls of `predict`; `MLModel.make_state` makes one."""

    def __init__(self, state: State):
        self._state = state

    def read_state(self, name: str) -> np.ndarray:
        """A copy of a state's value, float32. Raises RefusedError (a RuntimeError) for an unknown name."""
        return single(_refusing(lambda: self._state.read_state(name)))

    def write_state(self, name: str, value: np.ndarray) -> None:
        """Set a state's value. Raises RefusedError (a RuntimeError) for an unknown name or another shape."""
        _refusing(lambda: self._state.write_state(name, value))


class MLModel:
    """A Core ML model: its specification, its metadata, and predictions.

    Args:
        model: path of a .mlpackage (or of a .mlmodel that holds an ML Program), or a specification (`Model_pb2.Model`).
        is_temp_package: whether the package at `model` is deleted when this object is.
        mil_program: not supported; None.
        skip_model_load: only read the specification. Such a model can be of any kind, and cannot predict.
        compute_units: a member of coremltools' or this module's `ComputeUnit`. It changes nothing here.
        weights_dir: folder of the weight files that a specification refers to. Needed where `model` is one.
        function_name: a function of a multi-function package; None is its default function.
        optimization_hints: kept as an attribute. They change nothing here.
        arithmetic, device: see `portrait_export.runtime.load`; coremltools' class does not have them.
    Raises:
        PackageError: if the package cannot be read.
        InputTypeError (a TypeError): for another kind of `model` or `compute_units`.
        FunctionNameError (a ValueError): if there is no such function.
    """

    def __init__(
        self,
        model: Any,
        is_temp_package: bool = False,
        mil_program: None = None,
        skip_model_load: bool = False,
        compute_units: Any = ComputeUnit.ALL,
        weights_dir: str | os.PathLike[str] | None = None,
        function_name: str | None = None,
        optimization_hints: dict[str, Any] | None = None,
        *,
        arithmetic: str = "as_typed",
        device: str = "cpu",
    ):
        if not isinstance(compute_units, Enum) or compute_units.name not in ComputeUnit.__members__:
            raise InputTypeError(
                f"`compute_units=` takes a member of ComputeUnit; found {compute_units!r}.",
                hint=f"its members are {', '.join(ComputeUnit.__members__)}.",
            )
        if mil_program is not None:
            raise UsageError("`mil_program=` is not supported.", hint="save the model, and open the package.")
        self.compute_unit = compute_units
        self.optimization_hints = None if optimization_hints is None else dict(optimization_hints)
        path = self._package(model, weights_dir)
        self.is_temp_package = is_temp_package or not isinstance(model, (str, os.PathLike))
        if self.is_temp_package:
            self._cleanup = weakref.finalize(self, rmtree, path, ignore_errors=True)
        self.is_package = path.is_dir()
        self.package_path = str(path) if self.is_package else None
        specification = locate_specification(path)
        self._spec = coreml.spec_message(specification_bytes(specification), specification)
        self.input_description = FeatureDescriptions(self._spec.description.input)
        self.output_description = FeatureDescriptions(self._spec.description.output)
        self.function_name = self._function(function_name)
        self._program: CoreMLProgram | None = None
        self._path = path
        self.load_duration_in_nano_seconds: int | None = None
        self.last_predict_duration_in_nano_seconds: int | None = None
        if not skip_model_load:
            started = time.perf_counter_ns()
            self._program = CoreMLProgram.load(path, arithmetic=arithmetic, function=self.function_name, device=device)
            self.load_duration_in_nano_seconds = time.perf_counter_ns() - started

    @staticmethod
    def _package(model: Any, weights_dir: str | os.PathLike[str] | None) -> Path:
        """The path of the model; a specification is written to a temporary package."""
        if isinstance(model, (str, os.PathLike)):
            return Path(os.path.abspath(os.path.expanduser(os.path.expandvars(os.fspath(model)))))
        if not isinstance(model, type(coreml.spec_message(b""))):
            raise InputTypeError(
                f"`model=` takes the path of a .mlpackage, or a specification; found {type(model).__name__}."
            )
        if weights_dir is None and model.WhichOneof("Type") == "mlProgram":
            raise UsageError(
                "A specification of an ML Program needs `weights_dir=`: the weights are files of their own.",
                hint="pass weights_dir=model.weights_dir; an empty folder if the program has no weight file.",
            )
        folder = Path(tempfile.mkdtemp(suffix=".mlpackage"))
        write_package(folder, model.SerializeToString(), None if weights_dir is None else Path(weights_dir))
        return folder

    def _function(self, name: str | None) -> str | None:
        """The function's name, checked: the given one, or the default of a multi-function package."""
        description = self._spec.description
        name = name or description.defaultFunctionName or None
        if name is None:
            return None
        known = tuple(function.name for function in description.functions)
        if not known and name != "main":
            raise FunctionNameError(f"There is no function {name!r}: the model has one function, 'main'.")
        if known and name not in known:
            hint = nearest(name, known, what="function")
            raise FunctionNameError(f"The model has no function {name!r}.", hint=hint)
        return name

    # -----------------------------------------------------------------------------------------------------------------
    # Specification and metadata

    def get_spec(self) -> Any:
        """A copy of the model's specification, a protobuf message."""
        return deepcopy(self._spec)

    @property
    def weights_dir(self) -> str | None:
        """Folder of the package's weight files, or None."""
        folder = locate_specification(self._path).parent / "weights"
        return str(folder) if self.is_package and folder.is_dir() else None

    @property
    def author(self) -> str:
        """Who made the model."""
        return self._spec.description.metadata.author

    @author.setter
    def author(self, text: str) -> None:
        self._spec.description.metadata.author = text

    @property
    def license(self) -> str:
        """The model's licence."""
        return self._spec.description.metadata.license

    @license.setter
    def license(self, text: str) -> None:
        self._spec.description.metadata.license = text

    @property
    def short_description(self) -> str:
        """What the model does."""
        return self._spec.description.metadata.shortDescription

    @short_description.setter
    def short_description(self, text: str) -> None:
        self._spec.description.metadata.shortDescription = text

    @property
    def version(self) -> str:
        """The model's own version."""
        return self._spec.description.metadata.versionString

    @version.setter
    def version(self, text: str) -> None:
        self._spec.description.metadata.versionString = text

    @property
    def user_defined_metadata(self) -> Any:
        """The exporter's own entries, by name; changes apply to the specification."""
        return self._spec.description.metadata.userDefined

    def __repr__(self) -> str:
        return repr(self._spec.description)

    def save(self, save_path: str | os.PathLike[str]) -> None:
        """Write the model with its changed metadata; an existing file or folder is replaced.

        Args:
            save_path: `.mlpackage` is added if it has no suffix. A model from a .mlmodel file is written as one file.
        Raises:
            UsageError: for another suffix of a package.
        """
        path = Path(os.path.expanduser(os.fspath(save_path)))
        copy_package(self._path, path, self._spec.SerializeToString(deterministic=True))

    # -----------------------------------------------------------------------------------------------------------------
    # Predictions

    def make_state(self) -> MLState:
        """The model's states, all zero, for `predict`."""
        return MLState(self._loaded().make_state())

    def predict(self, data: Any, state: MLState | None = None) -> Any:
        """Run the model.

        Args:
            data: a dictionary with each input by name: PIL images; arrays, tensors, lists or numbers. Or a list of such
                dictionaries, which are left unchanged.
            state: from `make_state`; changed in place. Not with a list.
        Returns:
            Each output by name, or a list of such dictionaries: arrays (float32 for float16), PIL images (RGBA, L or
            F), a classifier's label and {label: probability}.
        Raises:
            InputTypeError (a TypeError): for `data` that is no dictionary, and for values of the wrong kind.
            UnknownInputError (a KeyError): for an input that the model does not have.
            RefusedError (a RuntimeError): for what Core ML refuses: missing inputs, other sizes, shapes and types.
        """
        if not isinstance(data, (dict, list)):
            raise InputTypeError(f"`data=` takes a dict or a list of dicts; found {type(data).__name__}.")
        batch = data if isinstance(data, list) else [data]
        if not all(isinstance(one, dict) for one in batch):
            raise InputTypeError("`data=` takes a list of dicts only; some of its items are no dicts.")
        if isinstance(data, list) and state is not None:
            raise RefusedError("A state can be used only with one dictionary, not with a list.")
        program = self._loaded()
        given = [checked(one, program.inputs) for one in batch]
        started = time.perf_counter_ns()
        if isinstance(data, list):
            found = _refusing(lambda: program.predict(given)) if given else []
        else:
            found = [_refusing(lambda: program.predict(given[0], None if state is None else state._state))]
        self.last_predict_duration_in_nano_seconds = time.perf_counter_ns() - started
        results = [as_python(outputs) for outputs in found]
        return results if isinstance(data, list) else results[0]

    def _loaded(self) -> CoreMLProgram:
        if self._program is None:
            raise RefusedError(
                "The model was opened with `skip_model_load=True`, so it cannot predict.",
                hint="open it without `skip_model_load=True`.",
            )
        return self._program


def _refusing(run: Callable[[], Any]) -> Any:
    """What `run` returns; the runtime's errors become RefusedError."""
    try:
        return run()
    except ExecutionError as error:
        raise RefusedError(error.message, code=error.code, context=error.context, hint=error.hint) from error
