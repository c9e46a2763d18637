"""Find faults of a stored weight that show without its original.

They are NaN, and scales and tables that collapsed to one value.
"""

from __future__ import annotations

import numpy as np

from ..program import Operation
from .decode import along, spread
from .stored import StoredValues

# Share of a weight's integers. Channels that training left at 1e-6 have scales that are 0 in half precision, and lose
# nothing: they hold at most 0.0052 of the integers where coremltools rounds lite0_fpn.
COLLAPSED = 0.05

# Operator → the parameters that hold the stored integers and their zero points, where scales are applied to them.
_SCALED = {
    "constexpr_affine_dequantize": ("quantized_data", "zero_point"),
    "constexpr_blockwise_shift_scale": ("data", "offset"),
}


def fault_of(values: StoredValues, op: Operation, decoded: np.ndarray) -> str:
    """Why a weight cannot be right, whatever its original is; empty if nothing shows.

    Args:
        decoded: what `values.decode(op)` gave.
    """
    if decoded.dtype.kind == "f":
        own = op.type != "const" or values.is_parameter(op)  # other constants may be infinite, such as masks and limits
        broken = int((~np.isfinite(decoded)).sum()) if own else int(np.isnan(decoded).sum())
        if broken:
            return f"has {broken} of {decoded.size} values that are NaN or infinite"
    if _one_value(values, op, decoded):
        return "has different indices, but a table of one value"
    return ""


def note_of(values: StoredValues, op: Operation, decoded: np.ndarray) -> str:
    """What is unusual about a weight, but may be intended."""
    if decoded.dtype.kind != "f":
        return ""
    infinite, collapsed = int(np.isinf(decoded).sum()), collapsed_scales(values, op)
    if infinite:
        return f"{infinite} infinite values"
    if collapsed:
        return zeroed(collapsed, decoded.size)
    return "" if decoded.any() else "all zeros"


def collapse_of(values: StoredValues, op: Operation, decoded: np.ndarray) -> str:
    """Why scales of 0 are a fault, where the original is not known; empty if they can be those of dead channels."""
    collapsed = collapsed_scales(values, op)
    return f"has {zeroed(collapsed, decoded.size)}" if collapsed > COLLAPSED * decoded.size else ""


def zeroed(count: int, size: int) -> str:
    """How many integers have a scale of 0, in words."""
    return f"{count} of {size} integers that a scale of 0 turns into zeros"


def collapsed_scales(values: StoredValues, op: Operation) -> int:
    """The number of stored integers beside their zero point whose scale is 0: too small for half precision."""
    if op.type not in _SCALED:
        return 0
    arrays = values.arrays(op)
    payload, zeros = _SCALED[op.type]
    data, zero = arrays[payload], arrays.get(zeros, np.zeros((1,) * arrays[payload].ndim))
    if op.type == "constexpr_affine_dequantize":
        scale, zero = along(arrays["scale"], data, arrays["axis"]), along(zero, data, arrays["axis"])
    else:
        scale = spread(arrays["scale"], data.shape)
        zero = spread(zero, data.shape) if zeros in arrays else zero
    return int(((scale == 0) & (data != zero)).sum())


def _one_value(values: StoredValues, op: Operation, decoded: np.ndarray) -> bool:
    """Whether a palette decodes to a single value although its indices differ."""
    if op.type != "constexpr_lut_to_dense":
        return False
    arrays = values.arrays(op)
    index, table = arrays["indices"], arrays["lut"]
    return bool(table.size > 1 and (index != index.flat[0]).any() and (decoded == decoded.flat[0]).all())
