"""Export the user's module to ONNX in whichever way keeps its numbers.

The ways are tracing and `torch.export`: the first whose ONNX gives the module's own numbers is taken.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
import torch

from ...artifacts import DEFAULT_OPSET
from ...errors import CaptureError, first_line
from ..export import quiet_tracing
from ..onnx.check import differences, make_session, run_session
from .differing import first_difference
from .rewritten import rewritten

OPSETS = (DEFAULT_OPSET, 20)  # the exporter's newest is used where the network has operators that came since
# Largest |difference| of an output over its scale on photographs; for whole numbers, the share that differs. Right
# captures gave at most 1e-5 and, in maps of classes, 1e-4; a branch taken the other way gives above 1e-1.
TOLERANCE = 1e-3
REASONS = (
    "usual reasons: a branch or a number in Python that depends on the picture's values (`if x.mean() > 0`, `.item()`),"
    " dropout or noise left on, a view that is written in place, numpy. Write it with torch operators, such as"
    " torch.where; or give an ONNX file of your own with `onnx=`."
)
DATA_DEPENDENT = "data-dependent Python code cannot be traced; an ONNX file of your own can be given with `onnx=`."

# A network as ONNX → photographs as it takes them, each as the arrays of all its inputs.
Pictures = Callable[[onnx.ModelProto], Sequence[Sequence[np.ndarray]]]


@dataclass(frozen=True)
class Exported:
    """A module as ONNX.

    Attributes:
        note: how it was captured.
    """

    model: onnx.ModelProto
    note: str


def flatten(result: Any, name: str = "output") -> dict[str, torch.Tensor]:
    """Tensors in whatever a network returns, by name."""
    if isinstance(result, torch.Tensor):
        return {name: result}
    if isinstance(result, Mapping):
        items = [(str(key), value) for key, value in result.items()]
    elif isinstance(result, (list, tuple)):
        items = [(f"{name}_{index}", value) for index, value in enumerate(result)]
    else:
        items = [(str(key), value) for key, value in getattr(result, "__dict__", {}).items()]
    flat: dict[str, torch.Tensor] = {}
    for key, value in items:
        flat.update(flatten(value, key))
    return flat


class _Flat(torch.nn.Module):
    """A network whose outputs are one tuple of tensors, as the exporter needs them."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(flatten(self.net(*images)).values())


def export(
    net: torch.nn.Module,
    examples: Sequence[torch.Tensor],
    names: Sequence[str],
    pictures: Pictures,
    inputs: Sequence[str] = ("image",),
    carried: Mapping[str, torch.Tensor] | None = None,
) -> Exported:
    """The first capture that gives the module's numbers on photographs.

    Args:
        examples: what the module is traced with, (1, C, H, W) each.
        names: of the outputs.
        pictures: photographs as the network takes them.
        inputs: names of the inputs that take pictures.
        carried: further inputs of a recurrent network, before the first frame.
    Raises:
        CaptureError: no way works, or what was captured computes something else.
    """
    flat = _Flat(net).eval()
    carried = carried or {}
    examples, inputs = (*examples, *carried.values()), (*inputs, *carried)
    failures: dict[str, Exception] = {}
    differing: dict[str, list[str]] = {}
    compared: Sequence[Sequence[np.ndarray]] = []
    for (way, capture), opset in product(_ways(net, flat, examples), OPSETS):
        try:
            with quiet_tracing(), torch.no_grad():
                model = _written(capture(opset), examples, inputs, names, opset)
        except Exception as error:  # the exporter and the network's own code raise anything
            failures.setdefault(way, error)
            continue
        compared = compared or _with_carried(pictures(model), carried)
        try:
            lines = _differences(flat, model, inputs, names, compared)
        except CaptureError as error:  # ONNX Runtime finds the exporter's graph invalid
            failures.setdefault(way, error)
            continue
        if not lines:
            return Exported(model, f"captured by {way}: the module's own numbers on {len(compared)} photographs")
        differing.setdefault(way, lines)
    if not differing:
        raise _not_exported(examples[0], failures)
    failed = {way: error for way, error in failures.items() if way not in differing}
    lines = [f"by {way}: {found[0]}" for way, found in differing.items()]
    raise _differs(flat, examples, inputs, compared, lines, failed)


# The ways


def _ways(
    net: torch.nn.Module, flat: torch.nn.Module, examples: Sequence[torch.Tensor]
) -> list[tuple[str, Callable[[int], torch.nn.Module]]]:
    """Names of the ways, and what prepares a module for the exporter to an opset."""
    if _has_script(net):  # the exporter's own tracer does not follow a script
        return [("tracing", lambda opset: torch.jit.trace(flat, tuple(examples), strict=False))]
    return [("tracing", lambda opset: flat), ("torch.export", lambda opset: rewritten(flat, examples, opset))]


def _has_script(net: torch.nn.Module) -> bool:
    """Whether a module is a TorchScript program, or runs one."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in net.modules())


def _written(
    module: torch.nn.Module, examples: Sequence[torch.Tensor], inputs: Sequence[str], names: Sequence[str], opset: int
) -> onnx.ModelProto:
    options: dict[str, Any] = {"input_names": list(inputs), "output_names": list(names), "opset_version": opset}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    buffer: Any = io.BytesIO()
    torch.onnx.export(module, tuple(examples), buffer, **options)
    return onnx.load_from_string(buffer.getvalue())


# Comparing


def _with_carried(
    pictures: Sequence[Sequence[np.ndarray]], carried: Mapping[str, torch.Tensor]
) -> list[list[np.ndarray]]:
    """Photographs with the carried inputs after their pictures: zeros with the first photograph, then random."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for arrays in pictures:
        found.append([*arrays, *(value.numpy() for value in carried.values())])
        carried = {name: torch.rand(value.shape, generator=generator) - 0.5 for name, value in carried.items()}
    return found


def _differences(
    flat: torch.nn.Module,
    model: onnx.ModelProto,
    inputs: Sequence[str],
    names: Sequence[str],
    pictures: Sequence[Sequence[np.ndarray]],
) -> list[str]:
    """One line per output and photograph that differs."""
    lines, session = [], make_session(model, keep_memory=False)
    for number, arrays in enumerate(pictures, start=1):
        with torch.no_grad():
            outputs = flat(*map(torch.from_numpy, arrays))
        expected = {name: tensor.numpy() for name, tensor in zip(names, outputs, strict=True)}
        found = run_session(session, dict(zip(inputs, arrays, strict=True)))
        lines += [f"{line}, photograph {number}" for line in differences(expected, found, tolerance=TOLERANCE)]
    return lines


def _not_exported(picture: torch.Tensor, failures: Mapping[str, Exception]) -> CaptureError:
    first, *others = failures.items()
    error = CaptureError(
        f"The network could not be exported to ONNX at {picture.shape[2]}x{picture.shape[3]}:"
        f" {type(first[1]).__name__}: {message(first[1])}",
        context=[f"by {way}: {type(other).__name__}: {message(other)}" for way, other in others],
        hint=DATA_DEPENDENT if _is_data_dependent(failures) else "an ONNX file of your own can be given with `onnx=`.",
    )
    error.__cause__ = first[1]
    return error


def _is_data_dependent(failures: Mapping[str, Exception]) -> bool:
    return any("data-dependent" in str(error).lower() for error in failures.values())


def _differs(
    flat: torch.nn.Module,
    examples: Sequence[torch.Tensor],
    inputs: Sequence[str],
    compared: Sequence[Sequence[np.ndarray]],
    lines: Sequence[str],
    failures: Mapping[str, Exception],
) -> CaptureError:
    context = [*lines, *(f"by {way}: {type(error).__name__}: {message(error)}" for way, error in failures.items())]
    if _is_random(flat, compared[0]):
        context.append("two runs of the module on one picture differ: dropout or noise is left on")
    elif not _has_script(flat):  # what is inside a program is not called from Python
        context += first_difference(flat, examples, inputs, compared, TOLERANCE)
    return CaptureError(
        "PyTorch's ONNX of the network gives another result than the network itself.",
        code="trace-differs",
        context=context,
        hint=REASONS,
    )


def _is_random(flat: torch.nn.Module, arrays: Sequence[np.ndarray]) -> bool:
    with torch.no_grad():
        one, two = (flat(*map(torch.from_numpy, arrays)) for _ in range(2))
    return not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, two, strict=True))


def message(error: BaseException) -> str:
    """The line with the cause: TorchScript puts it last, below its own traceback."""
    first = first_line(error)
    if first.startswith("The following operation failed in the TorchScript interpreter"):
        return str(error).strip().splitlines()[-1].removeprefix("RuntimeError: ")[:300]
    return first[:300]
