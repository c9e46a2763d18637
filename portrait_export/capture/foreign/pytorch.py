"""Load the user's PyTorch code or TorchScript, and export it to ONNX.

Both execute what they are given: `--torch` imports and calls the user's own Python file, `--torchscript` runs the
program in the file. Weights from a checkpoint are read as plain tensors only.
"""

from __future__ import annotations

import importlib.util
import inspect
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import torch

from ...artifacts import DEFAULT_OPSET
from ...errors import CaptureError, CheckpointError, UsageError, first_line
from ...models.remap import unwrap_for
from ...models.weights_io import weights_sha256
from ...preprocessing import PortraitSpec
from ...utils.quiet import quiet
from ..checkpoint.locate import locate
from ..checkpoint.tensors import read_tensors
from ..export import example_inputs, quiet_tracing
from .options import ForeignOptions
from .original import Call

OPSETS = (DEFAULT_OPSET, 20)  # the exporter's newest is used where the network has operators that came since
MOST_LISTED = 12  # weights that do not fit


@dataclass(frozen=True)
class TorchOriginal:
    """A PyTorch module, run by PyTorch. See Original.

    Attributes:
        net: float32, evaluation mode; takes one (1, 3, H, W) tensor.
        outputs: names of what it returns.
    """

    net: torch.nn.Module
    outputs: tuple[str, ...]
    model: onnx.ModelProto
    name: str
    weights: str
    sha256: str

    @classmethod
    def load(cls, options: ForeignOptions, checkpoint: Path | None, size: tuple[int, int]) -> TorchOriginal:
        """Load the network and trace it at a size.

        Raises:
            UsageError: the factory does not exist.
            CheckpointError: the weights do not fit.
            CaptureError: the code, or tracing it, failed.
        """
        if options.torch is not None:
            loaded = _from_factory(options.torch, checkpoint)
        else:
            assert options.torchscript is not None  # established by require_one_source
            loaded = _from_torchscript(options.torchscript)
        (picture,) = example_inputs(PortraitSpec(height=size[0], width=size[1]))
        outputs = tuple(_run(loaded.net, picture))
        model = _export(loaded.net, picture, outputs)
        return cls(loaded.net, outputs, model, loaded.name, loaded.weights, weights_sha256(loaded.net))

    def readable(self, values: Sequence[str]) -> tuple[str, ...]:
        """What the network returns can be read, and nothing inside it."""
        return tuple(value for value in values if value in self.outputs)

    def open(
        self, image: str, fillings: Mapping[str, np.ndarray], values: Sequence[str], *, keep_memory: bool = True
    ) -> Call:
        """The module itself: it has one input, and PyTorch keeps no memory between runs."""
        return self._call

    def _call(self, array: np.ndarray) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in _run(self.net, torch.from_numpy(array)).items()}


@dataclass(frozen=True)
class _Loaded:
    """A module, what reports call it, and where its weights came from."""

    net: torch.nn.Module
    name: str
    weights: str


# The network


def _from_factory(text: str, checkpoint: Path | None) -> _Loaded:
    """Call `FILE.py:FACTORY`, and load a checkpoint into what it returns."""
    path, separator, attribute = text.rpartition(":")
    if not separator or not attribute or not path.endswith(".py"):
        raise UsageError(f"`torch=` takes FILE.py:FACTORY; found {text!r}.", hint="such as `torch=my_net.py:build`")
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"There is no file {file} with the network's code.")
    with _importing_from(file.parent):
        module = _import(file)
        factory = getattr(module, attribute, None)
        if not callable(factory):
            offered = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise UsageError(
                f"{file.name} has no function or class {attribute!r}.", hint=f"it has {', '.join(sorted(offered))}."
            )
        try:
            with torch.random.fork_rng(devices=[]):  # weights that nobody loads are the same at every call
                torch.manual_seed(0)
                net = factory()
        except Exception as error:  # the user's own code raises anything
            raise CaptureError(
                f"{attribute}() of {file.name} failed: {type(error).__name__}: {_message(error)}",
                code="factory-failed",
                hint="it is called without arguments; write a function that returns the finished network.",
            ) from error
    if not isinstance(net, torch.nn.Module):
        raise CaptureError(f"{attribute}() of {file.name} returned a {type(net).__name__}, not a torch.nn.Module.")
    weights = f"as {attribute}() leaves them"
    if checkpoint is not None:
        load_weights(net, checkpoint)
        weights = f"checkpoint {checkpoint.name}"
    return _Loaded(net.float().eval(), f"PyTorch, {attribute}", weights)


def _import(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code raises anything
        del sys.modules[file.stem]
        raise CaptureError(
            f"{file.name} cannot be imported: {type(error).__name__}: {_message(error)}", code="import-failed"
        ) from error
    return module


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let the user's file import its neighbours."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def load_weights(net: torch.nn.Module, checkpoint: Path) -> None:
    """Load a checkpoint, strictly, without the wrappers that training scripts put around one.

    Raises CheckpointError with every missing, unexpected or misshapen weight.
    """
    tensors: dict[str, Any] = {}
    for file in locate(checkpoint)[0]:
        tensors.update(read_tensors(file))
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = unwrap_for(tensors, set(wanted), source=checkpoint.name)
    lines = [f"missing: {name} {shape}" for name, shape in wanted.items() if name not in found]
    lines += [f"unexpected: {name} {tuple(tensor.shape)}" for name, tensor in found.items() if name not in wanted]
    lines += [
        f"{name}: {tuple(tensor.shape)} in the file, {wanted[name]} in the network"
        for name, tensor in found.items()
        if name in wanted and tuple(tensor.shape) != wanted[name]
    ]
    if lines:
        more = len(lines) - MOST_LISTED
        shown = [*lines[:MOST_LISTED], *([f"and {more} more"] if more > 0 else [])]
        raise CheckpointError(
            f"{checkpoint.name} does not fit the network: {len(lines)} of its weights.",
            code="weights-do-not-fit",
            context=shown,
            hint="the factory must build the network with the options that it was trained with.",
        )
    net.load_state_dict(found)


def _from_torchscript(file: Path) -> _Loaded:
    if not file.is_file():
        raise CaptureError(f"There is no TorchScript file at {file}.", code="no-such-file")
    try:
        with quiet():
            loaded = torch.jit.load(str(file), map_location="cpu")
    except Exception as error:  # RuntimeErrors of the C++ reader, of many kinds
        raise CaptureError(
            f"{file.name} is not a TorchScript program: {_message(error)}",
            code="not-torchscript",
            hint="`torch.jit.save` writes one; weights alone go with `torch=FILE.py:FACTORY` and `checkpoint=FILE`.",
        ) from error
    return _Loaded(loaded.float().eval(), f"TorchScript, {file.name}", f"file {file.name}")


# Running and exporting it


def _run(net: torch.nn.Module, picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs by name: keys of a dictionary, else `output`, or `output_0`, `output_1`, …"""
    try:
        with torch.no_grad():
            result = net(picture)
    except Exception as error:  # the user's own code raises anything
        shape = tuple(picture.shape)
        hint = "its forward must take one (1, 3, H, W) tensor; `size=` gives another size."
        if isinstance(net, torch.jit.ScriptModule):
            hint += " A traced program may hold the size of its trace: trace it at this size, or use torch.jit.script."
        raise CaptureError(
            f"The network failed on a {shape} picture: {type(error).__name__}: {_message(error)}",
            code="network-failed",
            hint=hint,
        ) from error
    named = flatten(result)
    if not named:
        raise CaptureError(f"The network returned {type(result).__name__}, with no tensor in it.", code="no-tensor")
    return named


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

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(flatten(self.net(image)).values())


def _export(net: torch.nn.Module, picture: torch.Tensor, names: Sequence[str]) -> onnx.ModelProto:
    options: dict[str, Any] = {"input_names": ["image"], "output_names": list(names)}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    try:
        with quiet_tracing(), torch.no_grad():
            flat: Any = _Flat(net).eval()
            if isinstance(net, torch.jit.ScriptModule):  # the exporter's own tracer does not follow a script
                flat = torch.jit.trace(flat, (picture,), strict=False)
            return onnx.load_from_string(_written(flat, picture, options))
    except Exception as error:  # the exporter and the network's own code raise anything
        raise CaptureError(
            f"The network could not be exported to ONNX at {picture.shape[2]}x{picture.shape[3]}:"
            f" {type(error).__name__}: {_message(error)}",
            hint="data-dependent Python code cannot be traced; an ONNX file of your own can be given with `onnx=`.",
        ) from error


def _written(net: torch.nn.Module, picture: torch.Tensor, options: Mapping[str, Any]) -> bytes:
    """The ONNX bytes, at the first opset that has all of the network's operators."""
    for opset in OPSETS:
        buffer: Any = io.BytesIO()
        try:
            torch.onnx.export(net, (picture,), buffer, opset_version=opset, **options)
        except torch.onnx.errors.UnsupportedOperatorError:
            if opset == OPSETS[-1]:
                raise
            continue
        break
    return buffer.getvalue()


def _message(error: BaseException) -> str:
    """The line with the cause: TorchScript puts it last, below its own traceback."""
    first = first_line(error)
    if first.startswith("The following operation failed in the TorchScript interpreter"):
        return str(error).strip().splitlines()[-1].removeprefix("RuntimeError: ")[:300]
    return first[:300]
