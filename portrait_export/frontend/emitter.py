"""Write MIL operations into the current function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .names import UniqueNames
from .refusals import Unsupported, one_line
from .values import Argument, Tensor, Var, check_shape

# What coremltools' MIL builder raises for an operation that MIL does not have in this form.
REFUSALS = (ValueError, TypeError, AssertionError, IndexError, NotImplementedError, AttributeError)


def build(builder: Any, op: str, name: str, **inputs: Argument) -> tuple[Var, ...]:
    """Write one MIL operation with coremltools' builder and return its outputs.

    Raises Unsupported if MIL does not accept the operation with these inputs.
    """
    try:
        result = getattr(builder, op)(name=name, **inputs)
    except REFUSALS as error:
        raise Unsupported(f"MIL's {op} rejects it: {one_line(error)}") from error
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


@dataclass
class Emitter:
    """Writes MIL operations into the current function, each under a unique name.

    Attributes:
        builder: coremltools' `mb`.
        types: coremltools' MIL types.
        target: deployment target, such as `iOS17`.
        names: names in use.
    """

    builder: Any
    types: Any
    target: str
    names: UniqueNames = field(default_factory=UniqueNames)

    def emit_all(self, op: str, name: str, **inputs: Argument) -> tuple[Var, ...]:
        """Write one MIL operation and return all of its outputs.

        Raises Unsupported if Core ML does not support it: its rank, an empty result, its types.
        """
        outputs = build(self.builder, op, self.names.take(name), **inputs)
        for var in outputs:
            check_shape(tuple(var.shape))
        return outputs

    def emit(self, op: str, name: str, **inputs: Argument) -> Var:
        """Write one MIL operation and return its only output. Raises Unsupported as `emit_all` does."""
        (var,) = self.emit_all(op, name, **inputs)
        return var

    def rename(self, var: Var, name: str) -> None:
        """Rename an emitted value, and its operation if that has no other output, to a free name like `name`."""
        free = self.names.take(name)
        if var.op is not None and len(var.op.outputs) == 1:
            var.op.name = free
        var.name = free

    def np_type(self, value: Tensor) -> np.dtype:
        """The numpy type of a value, constant or computed."""
        if isinstance(value, np.ndarray | np.generic):
            return value.dtype
        return np.dtype(self.types.nptype_from_builtin(value.dtype))
