"""MIL types in; the torch types that carry their values in the runtime out.

Every float type is carried by float32: what a value's declared type costs in precision is put on by rounding, in one
place (`round_to_half`), so that one set of kernels serves all arithmetic modes. Integer types that torch computes with
poorly or not at all are carried by the next larger one.
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
    """The widest float type that a device computes with: double, but for Apple's GPUs."""
    return torch.float32 if device.type == "mps" else torch.float64


def round_to_half(x: Tensor) -> Tensor:
    """Each float32 element as the nearest half, ties to even; beyond 65504 it becomes infinite."""
    return x.half().float()


def from_numpy(array: np.ndarray, dtype: str, device: str) -> Tensor:
    """A decoded constant or an input as a tensor of its carrier type; always a copy."""
    carrier = CARRIERS[dtype]
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch computes with uint8 only
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array)).to(device=device, dtype=carrier)


def convert(x: Tensor, dtype: str) -> Tensor:
    """A value cast to a MIL type.

    float → integer truncates toward zero and saturates, NaN becomes 0; integer → narrower integer wraps around;
    anything → bool is "not zero". Rounding to half is the executor's business.
    """
    carrier = CARRIERS[dtype]
    if carrier == torch.float32 or dtype == "bool":
        return x.to(carrier) if dtype != "bool" else x != 0
    _, low, high = INTEGERS[dtype]
    if x.dtype == torch.float32:
        # Once as float32 (whose 2**31 - 1 is 2**31), so that int64 can hold it, and once more exactly.
        bounded = torch.nan_to_num(x, nan=0.0).clamp(max(low, -(2**62)), min(high, 2**62))
        return bounded.to(torch.int64).clamp(low, high).to(carrier)
    if x.dtype == torch.bool or dtype in ("int64", "uint64"):
        return x.to(carrier)
    span = high - low + 1
    return ((x.to(torch.int64) - low) % span + low).to(carrier)
