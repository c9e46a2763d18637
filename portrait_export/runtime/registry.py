"""Register kernels: the functions that implement MIL operators.

A kernel is named like its operator, and its parameters are the operator's inputs with the operator's defaults:

    @kernel("softmax")
    def softmax(x: Tensor, axis: int = -1) -> Tensor:
        '''exp(x) / sum(exp(x)) along one axis.'''
        return torch.softmax(x, axis)

The annotation of a parameter, evaluated with typing.get_type_hints, selects the form in which the kernel receives it.
Constants are converted once, when the program is loaded; computed values are converted at each call:

    Tensor, Tensor | None       a tensor on the device; float types are float32, see CARRIERS for the others
    list[Tensor]                a variadic input, such as `values` of concat
    int, float, bool, str       a Python value (from a constant, or from a computed tensor of one element)
    list[int], list[float], …   a list of Python values, such as `shape` of reshape
    Any                         no conversion: lists and states

A parameter without a default is required. An input of the operator that the kernel does not have is an error at load.
Three parameters are not inputs, and are passed to the kernels that name them: `op` (an OpInfo), `blocks` (callables for
the nested blocks) and `env` (the Environment).

A kernel returns a tensor, or a tuple for operators with several outputs. It never writes into its inputs. The executor
converts the result to the declared type, rounds it to half where the arithmetic mode requires it, and checks its shape
against the declared one. Kernels marked `exact=True` are not rounded: their results are copies of input elements, or
values that half precision represents exactly.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..mil.types import TensorType, ValueType

NOT_INPUTS = ("op", "blocks", "env")


@dataclass(frozen=True)
class Parameter:
    """One input of an operator, as its kernel declares it.

    Attributes:
        kind: the annotation without `| None`: Tensor, list[Tensor], int, list[int], … or Any.
        required: whether it has no default.
    """

    name: str
    kind: Any
    required: bool

    @property
    def kind_name(self) -> str:
        """The kind as it is written in the source."""
        return self.kind.__name__ if isinstance(self.kind, type) and not get_args(self.kind) else str(self.kind)


@dataclass(frozen=True)
class Kernel:
    """One operator's implementation.

    Attributes:
        exact: whether the result needs no rounding to half.
        random: whether it draws from the random generator, so that two calls give different results.
        extras: which of `op`, `blocks` and `env` it takes.
    """

    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    exact: bool
    random: bool
    extras: tuple[str, ...]

    @property
    def owner(self) -> str:
        """Module and name of the function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


@dataclass(frozen=True)
class OpInfo:
    """The operation that a kernel computes, for kernels that need more than its inputs.

    Attributes:
        type, name: the operator and the operation's name.
        outputs: (name, declared type) of each result.
    """

    type: str
    name: str
    outputs: tuple[tuple[str, ValueType], ...]

    @property
    def dtype(self) -> str:
        """Declared element type of the first result."""
        kind = self.outputs[0][1]
        return kind.dtype if isinstance(kind, TensorType) else ""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Declared shape of the first result; None for sides that are known only at run time."""
        kind = self.outputs[0][1]
        return kind.shape if isinstance(kind, TensorType) else ()


_KERNELS: dict[str, Kernel] = {}


def kernel(
    *names: str, exact: bool = False, random: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the implementation of one or more operators.

    Raises:
        ValueError: if an operator already has an implementation; the message names it.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function).parameters.values()
        hints = get_type_hints(function)
        parameters = {
            p.name: Parameter(p.name, _without_none(hints.get(p.name, Any)), p.default is inspect.Parameter.empty)
            for p in signature
            if p.name not in NOT_INPUTS
        }
        extras = tuple(p.name for p in signature if p.name in NOT_INPUTS)
        for name in names:
            made = Kernel(name, function, parameters, exact, random, extras)
            if name in _KERNELS:
                raise ValueError(f"{made.owner} implements {name!r}, which {_KERNELS[name].owner} already does.")
            _KERNELS[name] = made
        return function

    return register


def _without_none(hint: Any) -> Any:
    """`T | None` as T."""
    if get_origin(hint) not in (UnionType, Union):  # Python 3.10 turns a parameter with default None into a Union
        return hint
    (kind,) = (one for one in get_args(hint) if one is not NoneType)
    return kind


@cache
def kernels() -> Mapping[str, Kernel]:
    """Every kernel by its operator's name. The first call imports all kernel modules, and so torch."""
    from . import kernels as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_KERNELS.items()))
