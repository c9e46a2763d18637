"""Call one kernel with numpy inputs, converted like the compiler converts constants, and return numpy outputs."""

from __future__ import annotations

from typing import Any, get_origin

import numpy as np
import torch

from portrait_export.mil.types import TensorType
from portrait_export.runtime.environment import Environment
from portrait_export.runtime.registry import OpInfo, kernels


def environment(arithmetic: str = "fp32") -> Environment:
    return Environment("cpu", arithmetic, torch.Generator().manual_seed(0))


def _convert(kind: Any, value: Any) -> Any:
    if kind == list[torch.Tensor]:
        return [_convert(torch.Tensor, one) for one in value]
    if kind is torch.Tensor:
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        if array.dtype == np.int64 and not isinstance(value, (np.ndarray, np.generic)):
            array = array.astype(np.int32)
        return torch.from_numpy(np.array(array))
    if get_origin(kind) is list:
        return np.asarray(value).ravel().tolist()
    return np.asarray(value).item() if kind in (int, float, bool, str) else value


def call(name: str, *, outputs: int = 1, declared: str = "fp32", **inputs: Any) -> Any:
    """Run a kernel.

    Args:
        outputs: how many results the operation declares.
        declared: MIL type of the results.
    Returns:
        A numpy array, or a tuple of them.
    """
    kernel = kernels()[name]
    arguments = {
        key: _convert(kernel.parameters[key].kind, value) for key, value in inputs.items() if value is not None
    }
    op = OpInfo(name, name, tuple((f"out{i}", TensorType(declared, (), ranked=False)) for i in range(outputs)))
    arguments.update({key: {"op": op, "env": environment()}[key] for key in kernel.extras})
    result = kernel.function(**arguments)
    return tuple(r.numpy() for r in result) if isinstance(result, tuple) else result.numpy()
