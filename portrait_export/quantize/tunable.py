"""Values of a stored weight that gradients can improve: tables, scales, biases and norms; indices and integers stay.

    value = round(start + rms(start) · θ)

θ is what an optimizer changes. It starts at 0, so that one learning rate suits values of any size. Rounding is to the
type that is stored, and gradients pass through it unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..mil.encoded import EncodedWeight, Part

PLAIN = "const"  # the operator of a constant that is not compressed


class Tunable:
    """The stored form of one constant, with the values that can change.

    Attributes:
        parameters: θ by part, such as `lut`, `scale`, `data.lut` (the table of a scaled palette) or `val`.
    """

    def __init__(self, weight: EncodedWeight):
        self.weight = weight
        self.parameters: dict[str, Tensor] = {}
        self._starts: dict[str, Tensor] = {}
        for path, part in _trainable(weight).items():
            start = torch.from_numpy(part.values.astype(np.float32))
            self._starts[path] = start
            self.parameters[path] = torch.zeros_like(start).requires_grad_()
        self._codes = torch.from_numpy(codes_of(weight)) if weight.operator != PLAIN else torch.zeros(0)

    def value(self, path: str) -> Tensor:
        """A part as it will be stored, in float32, differentiable."""
        start = self._starts[path]
        moved = start + start.square().mean().sqrt() * self.parameters[path]
        dtype = _trainable(self.weight)[path].dtype
        with torch.no_grad():
            stored = moved.round().clamp(-127, 127) if dtype == "int8" else _stored(moved, dtype)
        return moved + (stored - moved).detach()

    def decoded(self) -> Tensor:
        """The constant that its readers get, in float32, differentiable."""
        if self.weight.operator == PLAIN:
            return self.value("val")
        if self.weight.operator == "constexpr_lut_to_dense":
            return _looked_up(self.value("lut"), self._codes, self.weight)
        data = self.weight.parts.get("data")
        if isinstance(data, EncodedWeight):
            integers = _looked_up(self.value("data.lut"), self._codes, data)
        else:
            integers = self._codes.float()
        return integers * _spread(self.value("scale"), self.weight)

    def encoded(self) -> EncodedWeight:
        """The stored form with the present values."""
        with torch.no_grad():
            changed = {path: self.value(path).numpy() for path in self.parameters}
            decoded = self.decoded().numpy().astype(self.weight.decoded.dtype)
        return _rebuilt(self.weight, changed, decoded)


def tunable(weight: EncodedWeight) -> Tunable | None:
    """The values of a stored form that can change; None for forms that have none."""
    return Tunable(weight) if weight.operator in _FORMS else None


def plain(values: np.ndarray, dtype: str) -> EncodedWeight:
    """A constant that is stored as it is: a bias, or the factors of a norm."""
    return EncodedWeight(PLAIN, {"val": Part(dtype, values)}, dtype, values)


_FORMS: dict[str, tuple[str, ...]] = {
    PLAIN: ("val",),
    "constexpr_lut_to_dense": ("lut",),
    "constexpr_blockwise_shift_scale": ("scale",),
    "constexpr_affine_dequantize": ("scale",),
}


def _trainable(weight: EncodedWeight) -> dict[str, Part]:
    found: dict[str, Part] = {}
    for name, part in weight.parts.items():
        if isinstance(part, EncodedWeight):
            found.update({f"{name}.{inner}": value for inner, value in _trainable(part).items()})
        elif name in _FORMS.get(weight.operator, ()):
            found[name] = part
    return found


def codes_of(weight: EncodedWeight) -> np.ndarray:
    """The indices or integers of a stored form, one per element (or per vector) of the weight."""
    from ..mil.weights import BITS, unpack_bits

    data = weight.parts.get("data")
    if isinstance(data, EncodedWeight):
        return codes_of(data)
    key = next(key for key in ("indices", "data", "quantized_data") if key in weight.parts)
    part = weight.parts[key]
    assert isinstance(part, Part)
    if "shape" not in weight.parts:
        return part.values.astype(np.int64)
    shape, bits = weight.decoded.shape, BITS[weight.dtype]  # iOS16 packs the indices into bytes
    count = int(np.prod(shape))
    flat = unpack_bits(part.values, bits, count, signed=False) if bits < 8 else part.values[:count]
    return flat.astype(np.int64).reshape(shape)


def _looked_up(table: Tensor, codes: Tensor, weight: EncodedWeight) -> Tensor:
    axis = weight.parts.get("vector_axis")
    if not isinstance(axis, Part):
        return table.flatten()[codes]
    side = int(axis.values)
    vectors = table.reshape(-1, table.shape[-1])[codes]
    return vectors.movedim(-1, side + 1).flatten(side, side + 1)


def _spread(scale: Tensor, weight: EncodedWeight) -> Tensor:
    """A scale per output channel or block, repeated to the weight's shape."""
    shape = weight.decoded.shape
    axis = weight.parts.get("axis")
    if isinstance(axis, Part):
        return scale.reshape([-1 if i == int(axis.values) else 1 for i in range(len(shape))])
    for i, (side, blocks) in enumerate(zip(shape, scale.shape, strict=True)):
        if blocks not in (1, side):
            scale = scale.repeat_interleave(side // blocks, i)
    return scale


def _stored(values: Tensor, dtype: str) -> Tensor:
    return values.half().float() if dtype == "fp16" else values


def _rebuilt(weight: EncodedWeight, changed: dict[str, np.ndarray], decoded: np.ndarray) -> EncodedWeight:
    parts: dict[str, Part | EncodedWeight] = {}
    for name, part in weight.parts.items():
        if isinstance(part, EncodedWeight):
            inner = {path.removeprefix(f"{name}."): value for path, value in changed.items()}
            table = inner["lut"].astype(np.int8)
            parts[name] = _rebuilt(part, inner, table.ravel()[codes_of(part)])
        elif name in changed:
            parts[name] = replace(part, values=changed[name].astype(part.values.dtype))
        else:
            parts[name] = part
    return replace(weight, parts=parts, decoded=decoded)


def parameters_of(tunables: dict[str, Tunable]) -> list[Tensor]:
    """θ of all constants."""
    return [parameter for each in tunables.values() for parameter in each.parameters.values()]


Loss = Callable[[dict[str, Tensor], int], Tensor]  # of decoded constants by name, on one photograph


def improve(
    tunables: dict[str, Tunable],
    loss: Loss,
    *,
    fitted: int,
    held_out: int,
    steps: int,
    rate: float,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[float, float]:
    """Change θ of all constants to lower the loss, and keep the best of what was seen on held-out photographs.

    Args:
        loss: photographs 0 … fitted - 1 are for fitting, the next `held_out` judge.
        steps: of Adam, one photograph each, in order; so the result is the same in every run.
        rate: of the first steps; it falls to a tenth along a cosine.
    Returns:
        the loss on the held-out photographs before and after. θ is 0 again if nothing was better.
    """
    parameters = parameters_of(tunables)
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.95))
    judged = range(fitted, fitted + held_out)

    def judge() -> float:
        with torch.no_grad():
            decoded = {name: each.decoded() for name, each in tunables.items()}
            return float(sum(loss(decoded, index) for index in judged)) / held_out

    before = best = judge()
    kept = [parameter.detach().clone() for parameter in parameters]
    pause = max(1, steps // JUDGED)
    for step in range(steps):
        on_step(step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * step / steps)))
        optimizer.zero_grad()
        loss({name: each.decoded() for name, each in tunables.items()}, step % fitted).backward()
        optimizer.step()
        if (step + 1) % pause == 0 or step + 1 == steps:
            now = judge()
            if now < best:
                best, kept = now, [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return before, best


JUDGED = 4  # times that the held-out photographs are looked at
