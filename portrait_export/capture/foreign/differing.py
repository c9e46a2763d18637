"""Find the first module of a network whose traced result differs from its own."""

from __future__ import annotations

import inspect
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch

from ..export import quiet_tracing
from ..onnx.check import relative_error, run_once

OPSET = 20  # the exporter's newest


def first_difference(
    flat: torch.nn.Module,
    pictures: Sequence[torch.Tensor],
    names: Sequence[str],
    compared: Sequence[Sequence[np.ndarray]],
    tolerance: float,
) -> list[str]:
    """One line that names the module; none where it cannot be found out.

    Args:
        flat: holds the network as `net`.
        pictures: what it is traced with.
        names: of its inputs.
        compared: photographs on which the trace may differ, each as all of the inputs.
    """
    watched = _Watched(flat)
    try:
        with quiet_tracing(), torch.no_grad():
            model = _traced(watched, pictures, names)
            for arrays in compared:
                values = [value.numpy() for value in watched(*map(torch.from_numpy, arrays))]
                found = run_once(model, dict(zip(names, arrays, strict=True)))
                for place, (expected, output) in enumerate(zip(values, model.graph.output, strict=True)):
                    if not relative_error(expected, found[output.name]) <= tolerance:
                        return [_line(watched.names, place)]
    except Exception:  # only adds detail to an error that is being raised
        return []
    finally:
        watched.close()
    return []


def _line(names: Sequence[str], place: int) -> str:
    after = f", after {names[place - 1]}" if place else ""
    if place == len(names):
        return f"the modules inside agree: what the network's own forward does{after} differs"
    return f"the first module whose result differs: {names[place]}{after}"


def _traced(watched: torch.nn.Module, pictures: Sequence[torch.Tensor], names: Sequence[str]) -> onnx.ModelProto:
    options: dict[str, Any] = {"input_names": list(names), "opset_version": OPSET}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    buffer: Any = io.BytesIO()
    torch.onnx.export(watched, tuple(pictures), buffer, **options)
    return onnx.load_from_string(buffer.getvalue())


class _Watched(torch.nn.Module):
    """Returns what each module inside returns, in order of completion, then the network's outputs.

    Attributes:
        names: of the modules, such as `body.0 (Conv2d)`.
    """

    def __init__(self, flat: torch.nn.Module) -> None:
        super().__init__()
        self.flat = flat
        self.names: list[str] = []
        self._values: list[torch.Tensor] = []
        self._hooks = [
            module.register_forward_hook(self._keeper(f"{name.removeprefix('net.')} ({type(module).__name__})"))
            for name, module in flat.named_modules()
            if name not in ("", "net")
        ]

    def _keeper(self, name: str) -> Any:
        def keep(module: torch.nn.Module, inputs: Any, result: Any) -> None:
            if isinstance(result, torch.Tensor):
                self.names.append(name)
                self._values.append(result + 0)  # a value of its own: one that is written in place, or returned twice

        return keep

    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.names, self._values = [], []
        outputs = self.flat(*images)
        return (*self._values, *outputs)

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
