"""Choose the torch type that carries the values of each MIL type, and convert between them.

float32 carries every float type. The precision of a value's declared type is applied by rounding, in one place
(`round_to_half`), so that one set of kernels implements all arithmetic modes. A larger integer type carries the integer
types that torch supports poorly or not at all.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FLOATS = ("fp16", "fp32", "fp64", "bf16", "fp8e4m3fn", "fp8e5m2")

# MIL type → (carrier, smallest, largest value) of the integer types.
INTEGERS = {
    "int4": (torch.int8, -8, 7),
    "int8": (torch.int8, -(2**7), 2**7 - 1),
    "int16": (torch.int16, -(2**15), 2**15 - 1),
    "int32": (torch.int32, -(2**31), 2**31 - 1),
    "int64": (torch.int64, -(2**63), 2**63 - 1),
    "uint1": (torch.uint8, 0, 1),
    "uint2": (torch.uint8, 0, 3),
    "uint3": (torch.uint8, 0, 7),
    "uint4": (torch.uint8, 0, 15),
    "uint6": (torch.uint8, 0, 63),
    "uint8": (torch.uint8, 0, 2**8 - 1),
    "uint16": (torch.int32, 0, 2**16 - 1),
    "uint32": (torch.int64, 0, 2**32 - 1),
    "uint64": (torch.int64, 0, 2**63 - 1),
}

CARRIERS: dict[str, torch.dtype] = {
    "bool": torch.bool,
    **dict.fromkeys(FLOATS, torch.float32),
    **{name: carrier for name, (carrier, _, _) in INTEGERS.items()},
}


def widest(device: torch.device) -> torch.dtype:
    """The widest float type that a device supports: double, except on Apple GPUs."""
    return torch.float32 if device.type == "mps" else torch.float64


def round_to_half(x: Tensor) -> Tensor:
    """Round float32 elements to half precision, ties to even. Values that round beyond 65504 become infinite."""
    return x.half().float()


def from_numpy(array: np.ndarray, dtype: str, device: str) -> Tensor:
    """Copy a decoded constant or an input into a tensor of its carrier type."""
    carrier = CARRIERS[dtype]
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # the only unsigned type that torch computes with is uint8
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array)).to(device=device, dtype=carrier)


def convert(x: Tensor, dtype: str) -> Tensor:
    """Cast a value to a MIL type.

    float → integer truncates toward zero and saturates, NaN becomes 0; integer → narrower integer wraps around;
    anything → bool is "not zero". The executor does the rounding to half.
    """
    carrier = CARRIERS[dtype]
    if carrier == torch.float32 or dtype == "bool":
        return x.to(carrier) if dtype != "bool" else x != 0
    _, low, high = INTEGERS[dtype]
    if x.dtype == torch.float32:
        # First in float32 (where 2**31 - 1 is 2**31), so that the value fits int64; then exactly.
        bounded = torch.nan_to_num(x, nan=0.0).clamp(max(low, -(2**62)), min(high, 2**62))
        return bounded.to(torch.int64).clamp(low, high).to(carrier)
    if x.dtype == torch.bool or dtype in ("int64", "uint64"):
        return x.to(carrier)
    span = high - low + 1
    return ((x.to(torch.int64) - low) % span + low).to(carrier)
