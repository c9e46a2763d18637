"""Load and run a saved ML Program: `predict`, like coremltools' MLModel, and `trace` for intermediate values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..artifacts import ARITHMETICS
from ..errors import ExecutionError, PackageError, nearest
from ..mil.features import Feature
from ..mil.program import Function, Metadata, Program, read_program
from ..mil.types import StateType, TensorType
from ..utils.memory import keep_freed_memory
from .compiler import compile_function
from .dtypes import CARRIERS, FLOATS, from_numpy, round_to_half
from .environment import Environment
from .executor import Hook, Plan, StopExecution
from .fusion import fuse
from .held import HeldRun
from .images import image_to_tensor, tensor_to_image
from .limits import claim
from .parallel import each
from .registry import kernels

SEED = 0  # for random operators without a seed of their own


@dataclass
class State:
    """Values that persist between calls (iOS18). `make_state` creates them; `predict` reads and changes them."""

    values: dict[str, StateCell] = field(default_factory=dict)

    def read_state(self, name: str) -> np.ndarray:
        """A copy of one state's value. Raises ExecutionError if there is no state of this name."""
        return self._cell(name).value.detach().cpu().numpy().copy()

    def write_state(self, name: str, value: np.ndarray) -> None:
        """Set one state's value. Raises ExecutionError for an unknown name or another shape."""
        cell = self._cell(name)
        new = torch.as_tensor(np.asarray(value, dtype=np.float32)).to(cell.value.device)
        if new.shape != cell.value.shape:
            raise ExecutionError(f"State {name!r} has shape {list(cell.value.shape)}; found {list(new.shape)}.")
        cell.value = new.to(cell.value.dtype)

    def _cell(self, name: str) -> StateCell:
        if name not in self.values:
            if not self.values:
                raise ExecutionError(f"There is no state {name!r}: the program has no states.", code="usage")
            hint = nearest(name, tuple(self.values), what="state")
            raise ExecutionError(f"There is no state {name!r}.", code="usage", hint=hint)
        return self.values[name]


@dataclass
class StateCell:
    """Holds one state's value for the `read_state` and `write_state` operators."""

    value: Tensor


class CoreMLProgram:
    """One function of a saved ML Program, ready to run."""

    def __init__(self, program: Program, function: Function, plan: Plan, environment: Environment):
        self.program = program
        self.function = function
        self.plan = plan
        self.environment = environment
        self._types = dict(function.inputs)
        self._features_in = {feature.name: feature for feature in function.features_in}
        self._features_out = {feature.name: feature for feature in function.features_out}
        self._state_names = [name for name, kind in function.inputs if isinstance(kind, StateType)]
        self._fused: dict[tuple[str, ...], Plan] = {}  # names of kept values → the fused plan that returns them too
        self._lock = Lock()

    @classmethod
    def load(
        cls, path: Path | str, *, arithmetic: str = "as_typed", function: str | None = None, device: str = "cpu"
    ) -> CoreMLProgram:
        """Read and compile a package. See `portrait_export.runtime.load`."""
        keep_freed_memory()
        if arithmetic not in ARITHMETICS:
            hint = nearest(arithmetic, ARITHMETICS, what="arithmetic mode")
            raise ExecutionError(f"There is no arithmetic mode {arithmetic!r}.", code="usage", hint=hint)
        program = read_program(path)
        name = function or program.default_function
        if name not in program.functions:
            hint = nearest(name, tuple(program.functions), what="function")
            raise ExecutionError(f"{program.path.name} has no function {name!r}.", code="usage", hint=hint)
        environment = Environment(_device(device), arithmetic, torch.Generator().manual_seed(SEED))
        chosen = program.functions[name]
        _require_described(program, chosen)
        with torch.inference_mode():
            return cls(program, chosen, compile_function(chosen, environment), environment)

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """The inputs of `predict`."""
        return self.function.features_in

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """The outputs of `predict`."""
        return self.function.features_out

    @property
    def states(self) -> tuple[Feature, ...]:
        """The states that `make_state` creates."""
        return self.function.states

    @property
    def metadata(self) -> Metadata:
        """Author, licence, version, description, and the exporter's own entries."""
        return self.program.metadata

    @property
    def names(self) -> tuple[str, ...]:
        """Every value that a run computes, in order."""
        return self.plan.names

    def predict(
        self,
        data: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        state: State | None = None,
        *,
        hook: Hook | None = None,
    ) -> Any:
        """Run the program, as coremltools' `MLModel.predict` does.

        Args:
            data: each input by name: a PIL image for image inputs; a numpy array, torch tensor or number otherwise.
                Optional inputs can be omitted. A list of such dictionaries runs them all, several at a time.
            state: from `make_state`, for programs with states; changed in place.
            hook: called with the name and value of each computed tensor; what it returns, unless None, replaces it.
        Returns:
            Each output by name: a PIL image for image outputs; a numpy array of the declared type (float32 instead of
            float16 under `fp32` arithmetic) for arrays; the label (str or int) and {label: probability} of a
            classifier. For a list of inputs, a list of such dictionaries.
        Raises:
            ExecutionError: for missing, unknown or unsuitable inputs (all at once), for a program with states that is
                called without `state`, or if an operation fails.
        """
        if not isinstance(data, Mapping):
            alone = state is not None or hook is not None or not self.parallel
            return each(lambda one: self.predict(one, state, hook=hook), data, workers=1 if alone else None)
        return self.predict_and_keep(data, (), state, hook=hook)[0]

    def predict_and_keep(
        self, data: Mapping[str, Any], names: Iterable[str], state: State | None = None, *, hook: Hook | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Run the program, and return what `predict` returns and the values of some names.

        It is faster than a hook, for which every value must be computed on its own. Values inside of nested blocks and
        unknown names are left out.
        """
        kept = tuple(dict.fromkeys(names))
        with torch.inference_mode():
            values = self._run(self._inputs(data, state), kept, hook)
            outputs = {name: self._output(name, values[name]) for name, _ in self.plan.outputs}
            return outputs, {name: _to_numpy(values[name]) for name in kept if name in values}

    def _run(self, inputs: Mapping[str, Any], kept: tuple[str, ...], hook: Hook | None) -> dict[str, Any]:
        """Run the fused plan where that gives the same values: without a hook and on the CPU.

        If it fails, the plain plan runs, which says where and why. A program with states would change them twice.
        """
        if hook is None and self.environment.device == "cpu" and not self._state_names:
            before = self.environment.generator.get_state()
            try:
                return self._fused_plan(kept).run(inputs)
            except ExecutionError:
                self.environment.generator.set_state(before)
        return self.plan.with_outputs(kept).run(inputs, hook)

    def _fused_plan(self, kept: tuple[str, ...]) -> Plan:
        with self._lock:
            if kept not in self._fused:
                self._fused[kept] = fuse(self.plan.with_outputs(kept))
            return self._fused[kept]

    def tensors(self, data: Mapping[str, Any], names: Iterable[str], *, hook: Hook | None = None) -> dict[str, Tensor]:
        """Run a program without states and return computed values as they are, with gradients if constants need them.

        The run stops after the last of them. Values that the program does not compute are left out. A hook, as for
        `predict`, may replace values.
        For gradients the plan must have been compiled outside of inference mode: see `gradients.py`.
        """
        found: dict[str, Tensor] = {}
        self._collect(self._inputs(data, None), set(names), found, lambda value: value, hook)
        return found

    def trace(
        self, data: Mapping[str, Any], names: Iterable[str] | None = None, state: State | None = None
    ) -> dict[str, np.ndarray]:
        """Run the program and return intermediate values.

        Args:
            data: as for `predict`.
            names: names of values or constants; None is every computed value. The run stops after the last of them.
            state: as for `predict`.
        Returns:
            name → float32, integer or bool array, in the order of computation.
        Raises:
            ExecutionError: for names that are not in the program.
        """
        wanted = set(self.plan.names if names is None else names)
        constants = {name for name in wanted if name in self.plan.constants}
        unknown = sorted(wanted - constants - set(self.plan.names) - set(self._types))
        if unknown:
            hints = [nearest(name, self.plan.names, what="value").split("? ")[0] for name in unknown]
            raise ExecutionError(f"The program has no value named {', '.join(map(repr, unknown))}.", context=hints)
        with torch.inference_mode():
            inputs = self._inputs(data, state)
            found = {name: _to_numpy(inputs[name]) for name in wanted & set(inputs)}
            found.update({name: _to_numpy(self.plan.constants[name]()) for name in sorted(constants)})
            missing = wanted - set(found)
            if missing:
                self._collect(inputs, missing, found, _to_numpy)
        return found

    def held(self, data: Mapping[str, Any]) -> HeldRun:
        """Run the program once and hold every value, to follow changed values from there."""
        return HeldRun(self.plan, self._inputs(data, None))

    def _collect(
        self,
        inputs: Mapping[str, Any],
        names: set[str],
        found: dict[str, Any],
        convert: Callable[[Tensor], Any],
        hook: Hook | None = None,
    ) -> None:
        """Run the program and add the named values to `found`, converted; stop as soon as all are there."""

        def collect(name: str, value: Any) -> Any:
            replaced = None if hook is None else hook(name, value)
            value = value if replaced is None else replaced
            if name in names and isinstance(value, Tensor):
                found[name] = convert(value)
            if names <= found.keys() and not self._loops:
                raise StopExecution
            return replaced

        try:
            self.plan.run(inputs, collect)
        except StopExecution:
            return

    @property
    def parallel(self) -> bool:
        """Whether several inputs can run at once: on the CPU, and without random numbers, whose order matters."""
        random = any(kernels()[op.type].random for op in self.function.block.walk() if op.type != "const")
        return self.environment.device == "cpu" and not random

    @property
    def _loops(self) -> bool:
        """Whether a value can be computed more than once, so that only the end of the run has its last value."""
        return any(operation.type == "while_loop" for operation in self.function.block.walk())

    def make_state(self) -> State:
        """Create the program's states, all zero."""
        cells = {}
        for name in self._state_names:
            kind = self._types[name]
            wrapped = kind.wrapped if isinstance(kind, StateType) else kind
            if not isinstance(wrapped, TensorType) or not wrapped.static:
                raise ExecutionError(f"State {name!r} is a {kind}; only tensors of a fixed shape are supported.")
            shape = [side or 0 for side in wrapped.shape]
            claim(shape)
            cells[name] = StateCell(torch.zeros(shape, dtype=CARRIERS[wrapped.dtype], device=self.environment.device))
        return State(cells)

    # -----------------------------------------------------------------------------------------------------------------

    def _inputs(self, data: Mapping[str, Any], state: State | None) -> dict[str, Any]:
        """The function's inputs as carrier tensors. Raises one error that lists every problem."""
        given: dict[str, Any] = {}
        problems = [f"unknown input {name!r}" for name in data if name not in self._types]
        given.update(self._state_cells(state))
        for name, kind in self.function.inputs:
            if name in given:
                continue
            feature = self._features_in.get(name)
            if data.get(name) is None and not (feature and feature.optional):
                problems.append(f"missing input {name!r} ({_expected(feature, kind)})")
                continue
            try:
                given[name] = self._input(name, feature, kind, data.get(name))
            except ExecutionError as error:
                problems.append(error.message)
                hint = error.hint
                if len(data) == 1 and len(problems) == 1:
                    raise ExecutionError(error.message, hint=hint) from error
        if problems:
            takes = ", ".join(
                f"{name} ({_expected(self._features_in.get(name), kind)})" for name, kind in self.function.inputs
            )
            raise ExecutionError("The inputs do not match the program.", context=problems, hint=f"it takes {takes}.")
        return given

    def _state_cells(self, state: State | None) -> dict[str, StateCell]:
        """The cells of the program's states. Core ML does not run a program with states without them either."""
        found = set(state.values) if state is not None else set()
        if found == set(self._state_names):
            return dict(state.values) if state is not None else {}
        takes = ", ".join(self._state_names) or "none"
        given = (", ".join(sorted(found)) or "none") if state is not None else "no `state`"
        raise ExecutionError(
            f"The program's states are: {takes}. Found: {given}.",
            code="usage",
            hint="pass state=program.make_state(), and the same object again to continue from it."
            if self._state_names
            else "leave out `state`.",
        )

    def _input(self, name: str, feature: Feature | None, kind: Any, value: Any) -> Tensor:
        device = self.environment.device
        if not isinstance(kind, TensorType) or kind.dtype not in CARRIERS:
            raise ExecutionError(f"Input {name!r} is a {kind}; such inputs are not supported.")
        if value is None and feature is not None:
            tensor = _omitted(feature, kind, device)
        elif feature is not None and feature.kind == "image":
            tensor = _in_shape(image_to_tensor(value, feature, device), kind, feature)
        else:
            tensor = _array_input(name, feature, kind, value, device)
        return round_to_half(tensor) if self.environment.rounds(kind.dtype) else tensor

    def _output(self, name: str, value: Any) -> Any:
        feature = self._features_out.get(name)
        if not isinstance(value, Tensor):
            return value
        if feature is not None and feature.kind == "image":
            return tensor_to_image(value, feature)
        if feature is not None and feature.kind in _NUMBERS:
            return _NUMBERS[feature.kind](value.item())
        array = np.atleast_1d(_to_numpy(value))  # Core ML returns scalars as (1,): it has no arrays of rank 0
        if feature is None or not feature.dtype:
            return array
        if feature.dtype == "fp16" and self.environment.arithmetic == "fp32":
            return array
        return array.astype(_ARRAYS[feature.dtype])


_NUMBERS = {"int64": int, "double": float}  # kinds of outputs that are a Python number, such as a class label
_ARRAYS = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64, "int8": np.int8, "int32": np.int32}


def _device(name: str) -> str:
    """Check that a device exists by allocating a tensor on it."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ExecutionError(
            f"Device {name!r} is not available: {reason}", hint="`cpu` is always available."
        ) from error
    return name


def _require_described(program: Program, function: Function) -> None:
    """Raise PackageError unless the inputs and outputs that an app sees are the program's, and there is an output."""
    faults = [] if function.features_out else ["no output is described"]
    for what, features, has in (
        ("input", function.features_in, [name for name, _ in function.inputs]),
        ("output", function.features_out, list(function.block.outputs)),
    ):
        names = [feature.name for feature in features]
        unknown = [name for name in names if name not in has]
        faults += [f"{what} {name!r} is described; the program has {', '.join(has) or 'none'}" for name in unknown]
        # coremltools describes an output that a module returns twice by two equal entries.
        faults += [
            f"{what} {name!r} is described twice"
            for name, count in Counter(each.name for each in set(features)).items()
            if count > 1
        ]
    if faults:
        raise PackageError(
            f"{program.path.name} describes other inputs or outputs than function {function.name!r} has.",
            code="other-features",
            context=faults,
            hint="export the package again.",
        )


def _omitted(feature: Feature, kind: TensorType, device: str) -> Tensor:
    """What an optional input is if it is left out: its default everywhere, or black."""
    shape = feature.shape
    if feature.kind == "image":
        shape = (1, 1 if feature.color.startswith("grayscale") else 3, *shape)
    claim(shape)
    tensor = torch.full(shape, feature.default or 0, dtype=CARRIERS[kind.dtype], device=device)
    return _in_shape(tensor, kind, feature) if feature.kind == "image" else tensor


def _array_input(name: str, feature: Feature | None, kind: TensorType, value: Any, device: str) -> Tensor:
    """Convert an array, tensor or number to a carrier tensor; its shape must be an allowed one."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().float().numpy() if value.dtype == torch.bfloat16 else value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ExecutionError(f"Input {name!r} is not an array: {error}.") from error
    if array.dtype.kind not in "fiub":
        raise ExecutionError(f"Input {name!r} takes numbers; found {type(value).__name__} of {array.dtype}.")
    declared = kind.shape
    if kind.ranked and not declared and array.shape == (1,):
        array = array.reshape(())
    fits = feature.allows(array.shape) if feature and (declared or not kind.ranked) else True
    if kind.ranked:
        fits = fits and len(array.shape) == len(declared)
        fits = fits and all(side in (None, size) for size, side in zip(array.shape, declared, strict=False))
    if not fits:
        raise ExecutionError(f"Input {name!r} takes {_expected(feature, kind)}; found shape {list(array.shape)}.")
    claim(array.shape)
    if kind.dtype in FLOATS:
        array = array.astype(np.float32)
    return from_numpy(array, kind.dtype, device)


def _in_shape(image: Tensor, kind: TensorType, feature: Feature) -> Tensor:
    """Reshape a (1, C, H, W) image to the declared shape; flexible sides have the picture's size."""
    channels, height, width = image.shape[1:]
    lead = [1 if side is None else side for side in kind.shape[:-2]]
    if lead != [*[1] * (len(lead) - 1), channels]:
        raise ExecutionError(f"Input {feature.name!r} is a {feature.color} image, but the program takes a {kind}.")
    return image.reshape([*lead, height, width])


def _expected(feature: Feature | None, kind: Any) -> str:
    if feature is None:
        return str(kind)
    if feature.kind == "image":
        return f"a {feature.color} image of {feature.allowed}"
    return f"an array of {feature.allowed}, {feature.dtype}" if feature.kind == "array" else feature.kind


def _to_numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(getattr(value, "value", value))
