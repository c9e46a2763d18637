"""Capture a module with `torch.export`, in operators that the ONNX exporter gets right."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...utils.quiet import mute
from .complex_pairs import ALWAYS, COMPLEX, MOVES, Pair, as_pair
from .torch_ops import OPERATORS

REGISTRIES = (  # where torch keeps the exporter's operators, newest first
    "torch.onnx._internal.torchscript_exporter.registration",
    "torch.onnx._internal.registration",
)


def rewritten(net: torch.nn.Module, examples: Sequence[torch.Tensor], opset: int) -> torch.nn.Module:
    """The module as `torch.export` sees it, with operators that the exporter to an opset knows.

    Operators that it does not know are decomposed, as PyTorch defines them; those of `torch_ops` are replaced, and
    complex numbers become pairs of real ones.

    Raises whatever `torch.export` does: it refuses Python code that depends on the values in the pictures.
    """
    mute("torch.fx.experimental.symbolic_shapes")  # it warns of what it then raises
    program = torch.export.export(net, tuple(examples), strict=False)
    defaults = getattr(torch.export, "default_decompositions", torch._decomp.core_aten_decompositions)
    table = defaults()
    for operator in list(table):
        if _is_known(operator, opset):
            del table[operator]
    module = _Rewritten(program.run_decompositions(table).module())
    with torch.no_grad():
        module(*examples)  # computes the constant matrices, which a trace then holds as numbers
    return module


def _is_known(operator: Any, opset: int) -> bool:
    name = operator.name().split(".")[0]
    return operator in OPERATORS or name in COMPLEX or bool(_registry().is_registered_op(name, opset))


def _registry() -> Any:
    for name in REGISTRIES:
        try:
            return importlib.import_module(name).registry
        except ImportError:
            continue
    raise ImportError(f"torch {torch.__version__} has no table of the operators that its exporter knows.")


class _Rewritten(torch.nn.Module):
    """Runs a graph operator by operator, with some of them replaced."""

    def __init__(self, graph: torch.nn.Module) -> None:
        super().__init__()
        graph.requires_grad_(False)
        vars(graph)["train"] = lambda mode=True: graph  # its mode is fixed, and the exporter asks every part for one
        self.graph = graph
        self._pairs: dict[str, Pair] = {}

    def forward(self, *inputs: torch.Tensor) -> Any:
        assert isinstance(self.graph, torch.fx.GraphModule)
        return _Interpreter(self.graph, self._pairs).run(*inputs)


class _Interpreter(torch.fx.Interpreter):
    """Runs a graph.

    Args:
        pairs: its complex constants; filled by the first run, so that a trace meets real numbers alone.
    """

    def __init__(self, graph: torch.fx.GraphModule, pairs: dict[str, Pair]) -> None:
        super().__init__(graph)
        self._pairs = pairs

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target not in self._pairs:
            value = super().get_attr(target, args, kwargs)
            if not _has_complex(value):
                return value
            self._pairs[target] = as_pair(value.detach())
        return self._pairs[target]

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = target.name().split(".")[0] if isinstance(target, torch._ops.OpOverload) else ""
        if any(isinstance(value, torch.dtype) and value.is_complex for value in (*args, *kwargs.values())):
            return as_pair(args[0])  # a cast; what it casts is the only tensor
        if name in ALWAYS or _has_complex((args, kwargs)):
            return _on_complex(name, target, args, kwargs)
        if target in OPERATORS:
            return OPERATORS[target](*args, **kwargs)
        return super().call_function(target, args, kwargs)


def _has_complex(value: Any) -> bool:
    if isinstance(value, (Pair, complex)):
        return True
    if isinstance(value, torch.Tensor):
        return value.is_complex()
    if isinstance(value, Mapping):
        return any(map(_has_complex, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_complex, value))


def _on_complex(name: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name in COMPLEX:
        return COMPLEX[name](*args, **kwargs)
    if name not in MOVES:
        raise NotImplementedError(f"{name or target} on complex numbers has no form with real ones")
    parts = [target(*_part(args, index), **_part(kwargs, index)) for index in (0, 1)]
    if isinstance(parts[0], (list, tuple)):
        return [Pair(*both) for both in zip(*parts, strict=True)]
    return Pair(*parts)


def _part(value: Any, index: int) -> Any:
    """Arguments with the real or imaginary part of each complex tensor."""
    if isinstance(value, Pair):
        return value[index]
    if isinstance(value, torch.Tensor) and value.is_complex():
        return (value.real, value.imag)[index]
    if isinstance(value, Mapping):
        return {key: _part(entry, index) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_part(entry, index) for entry in value)
    return value
