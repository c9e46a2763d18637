"""Find the range of pixels that a quantized network was calibrated with.

The 8-bit integers that it stores its input as tell it.
"""

from __future__ import annotations

from onnx import TensorProto

from ..onnx.graph import Graph
from .interface import ImageInput
from .leading import BYTES, IMAGENET, SIGNED, UNIT, Numbers

CLOSE = 0.1  # of the span: calibration sees photographs that are not black or white everywhere
_LEVELS: dict[int, tuple[int, int]] = {TensorProto.UINT8: (0, 255), TensorProto.INT8: (-128, 127)}


def stored_range(graph: Graph, image: ImageInput) -> tuple[float, float] | None:
    """The least and the largest number that a QuantizeLinear keeps of the input; None where none reads it."""
    for node in graph.uses(image.name):
        scale = graph.scalar(node.input(1)) if node.op == "QuantizeLinear" else None
        levels = _LEVELS.get(graph.dtype(node.output))
        zero = graph.scalar(node.input(2)) if node.input(2) else 0.0
        if scale is not None and zero is not None and levels is not None:
            return (levels[0] - zero) * scale, (levels[1] - zero) * scale
    return None


def pixels_within(low: float, high: float) -> tuple[Numbers, ...]:
    """The pixels whose numbers fill a range, and then those of which a symmetric range stores both signs."""
    full, half = [], []
    symmetric = abs(low + high) <= (high - low) / 100
    for numbers in (BYTES, UNIT, SIGNED, IMAGENET):
        least = min(-mean / std for mean, std in zip(numbers.mean, numbers.std, strict=True))
        most = max((255 * numbers.scale - mean) / std for mean, std in zip(numbers.mean, numbers.std, strict=True))
        if _alike((low, high), (least, most)):
            full.append(numbers)
        elif symmetric and _alike((low, high), (-most, most)):
            half.append(numbers)
    return (*full, *half)


def _alike(found: tuple[float, float], known: tuple[float, float]) -> bool:
    return max(abs(a - b) for a, b in zip(found, known, strict=True)) <= CLOSE * (known[1] - known[0])
