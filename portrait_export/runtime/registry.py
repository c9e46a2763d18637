"""Kernel functions in; the table of operators that the runtime can execute out.

A kernel is a function named like its operator, whose parameters are named like the operator's inputs:

    @kernel("softmax")
    def softmax(x: Tensor, axis: int = -1) -> Tensor:
        '''exp(x) / sum(exp(x)) along one axis.'''
        return torch.softmax(x, axis)

The annotations say how each input arrives, constants once when the program is loaded, computed values at each call:

    Tensor, Tensor | None       a tensor on the device; float types are float32, see DTYPES for the others
    list[Tensor]                a variadic input, such as `values` of concat
    int, float, bool, str       a Python value (a constant, or a computed tensor of one element)
    list[int], list[float], …   the same for vectors, such as `shape` of reshape
    Any                         as it is: lists and states

A parameter without default is required; an input that the operator has and the kernel lacks is an error at load.
Keyword-only parameters are not inputs: `node` (the Node below), `blocks` (callables for nested blocks) and `env`
(the Environment below) are passed to the kernels that name them.

A kernel returns a tensor, or a tuple for operators with several outputs. It never writes into its inputs. The executor
converts the result to the declared type, rounds it to half where the arithmetic mode asks for it (not for kernels
marked `exact=True`, whose results are copies of input elements or representable anyhow), and compares its shape with
the declared one.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..mil.types import TensorType, ValueType

NOT_INPUTS = ("node", "blocks", "env")


@dataclass(frozen=True)
class Parameter:
    """How one input of an operator arrives at its kernel.

    Attributes:
        kind: the annotation without `| None`: `Tensor`, `list[Tensor]`, `int`, `list[int]`, … or `Any`.
        required: whether it has no default.
    """

    name: str
    kind: str
    required: bool


@dataclass(frozen=True)
class Kernel:
    """One operator's implementation.

    Attributes:
        exact: the result needs no rounding to half: it holds copies of input elements, or values that fit anyhow.
        random: it draws from the generator, so it must not be computed once and kept.
        extras: which of `node`, `blocks` and `env` it takes.
    """

    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    exact: bool
    random: bool
    extras: tuple[str, ...]

    @property
    def owner(self) -> str:
        """Module and function that implement it."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


@dataclass(frozen=True)
class Node:
    """What a kernel may know about the operation it computes.

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
        """Declared shape of the first result; None where a side is known only now."""
        kind = self.outputs[0][1]
        return kind.shape if isinstance(kind, TensorType) else ()


_KERNELS: dict[str, Kernel] = {}


def kernel(
    *names: str, exact: bool = False, random: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the implementation of one or more operators.

    Raises:
        ValueError: if an operator has an implementation already; it names the first owner.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function).parameters.values()
        parameters = {
            p.name: Parameter(p.name, str(p.annotation).replace(" | None", ""), p.default is inspect.Parameter.empty)
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


@cache
def kernels() -> Mapping[str, Kernel]:
    """Every kernel by its operator's name. Imports all families (and so torch) at the first call."""
    from . import kernels as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_KERNELS.items()))
