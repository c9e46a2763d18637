"""A user's PyTorch code or TorchScript file in; the same network as ONNX, and as something to call, out.

Both run what they are given: `--torch` imports and calls the user's own Python file, `--torchscript` runs the program
in the file. Weights from a checkpoint are read as plain tensors only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CaptureError, CheckpointError, UsageError
from ...utils.quiet import quiet
from .head import Head
from .interface import DEFAULT_SIZE, ImageInput
from .options import ForeignOptions
from .reference import Call, Open

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import onnx
    import torch

OPSETS = (17, 20)  # the one that everything reads, and the exporter's newest, for operators that came since
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "ema", "params")
_PREFIXES = ("module.", "model.", "net.", "_orig_mod.")


def torch_network(options: ForeignOptions, checkpoint: Path | None) -> tuple[onnx.ModelProto, Any, dict[str, str]]:
    """The network as ONNX at the size asked for; what says how it is run, once its head is known; where it came from.

    Raises:
        UsageError: the factory is not where it was said to be.
        CheckpointError: the weights do not fit.
        CaptureError: the code, or tracing it, failed.
    """
    if options.torch is not None:
        net, reference, weights = _from_factory(options.torch, checkpoint)
    else:
        assert options.torchscript is not None
        net, reference, weights = _from_torchscript(options.torchscript)
    height, width = options.size or DEFAULT_SIZE
    picture = _example(height, width)
    names, _ = _run(net, picture)
    model = _export(net, picture, names)

    def opener(head: Head, fillings: Mapping[str, np.ndarray], image: ImageInput) -> tuple[Open, bool]:
        import torch

        def call(array: np.ndarray) -> dict[str, np.ndarray]:
            found, tensors = _run(net, torch.from_numpy(array))
            return {name: tensor.numpy() for name, tensor in zip(found, tensors, strict=True)}

        def open_it(*, keep_memory: bool) -> Call:
            return call  # it is in memory as it is, and PyTorch keeps none between runs

        return open_it, head.source in (None, *names)

    return model, opener, {"reference": reference, "weights": weights, "sha256": _sha256(net)}


# The network


def _from_factory(said: str, checkpoint: Path | None) -> tuple[torch.nn.Module, str, str]:
    import torch

    path, separator, attribute = said.rpartition(":")
    if not separator or not attribute or not path.endswith(".py"):
        raise UsageError(f"--torch takes FILE.py:FACTORY; found {said!r}.", hint="such as --torch my_net.py:build")
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
                f"{attribute}() of {file.name} failed: {type(error).__name__}: {_first_line(error)}",
                code="factory-failed",
                hint="it is called without arguments; write a function that gives the network ready-made.",
            ) from error
    if not isinstance(net, torch.nn.Module):
        raise CaptureError(f"{attribute}() of {file.name} gave a {type(net).__name__}, not a torch.nn.Module.")
    weights = f"as {attribute}() leaves them"
    if checkpoint is not None:
        load_weights(net, checkpoint)
        weights = f"checkpoint {checkpoint.name}"
    return net.float().eval(), f"PyTorch, {attribute}", weights


def _import(file: Path) -> Any:
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
            f"{file.name} cannot be imported: {type(error).__name__}: {_first_line(error)}", code="import-failed"
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
    """Load a checkpoint, strictly, after taking off the wrappers that training scripts put around one.

    Raises CheckpointError with every missing, unexpected or misshapen weight.
    """
    from ..checkpoint.locate import locate
    from ..checkpoint.tensors import read_tensors

    tensors: dict[str, Any] = {}
    for file in locate(checkpoint)[0]:
        tensors.update(read_tensors(file))
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = _unwrapped(tensors, set(wanted))
    lines = [f"missing: {name} {shape}" for name, shape in wanted.items() if name not in found]
    lines += [f"unexpected: {name} {tuple(tensor.shape)}" for name, tensor in found.items() if name not in wanted]
    lines += [
        f"{name}: {tuple(tensor.shape)} in the file, {wanted[name]} in the network"
        for name, tensor in found.items()
        if name in wanted and tuple(tensor.shape) != wanted[name]
    ]
    if lines:
        shown = [*lines[:12], *([f"and {len(lines) - 12} more"] if len(lines) > 12 else [])]
        raise CheckpointError(
            f"{checkpoint.name} does not fit the network: {len(lines)} of its weights.",
            code="weights-do-not-fit",
            context=shown,
            hint="the factory must build the network with the very options it was trained with.",
        )
    net.load_state_dict(found)


def _unwrapped(tensors: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    import torch

    for key in _WRAPPERS:
        if isinstance(tensors.get(key), Mapping):
            tensors = tensors[key]
            break
    found = {str(name): value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    for prefix in _PREFIXES:
        if found and all(name.startswith(prefix) for name in found) and not wanted & set(found):
            found = {name[len(prefix) :]: value for name, value in found.items()}
    return found


def _from_torchscript(file: Path) -> tuple[torch.nn.Module, str, str]:
    import torch

    if not file.is_file():
        raise CaptureError(f"There is no TorchScript file at {file}.", code="no-such-file")
    try:
        with quiet():
            loaded = torch.jit.load(str(file), map_location="cpu")
    except Exception as error:  # RuntimeErrors of the C++ reader, of many kinds
        raise CaptureError(
            f"{file.name} is not a TorchScript program: {_first_line(error)}",
            code="not-torchscript",
            hint="`torch.jit.save` writes one; weights alone go with --torch FILE.py:FACTORY --checkpoint FILE.",
        ) from error
    return loaded.float().eval(), f"TorchScript, {file.name}", f"file {file.name}"


# Running and exporting it


def _example(height: int, width: int) -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return smooth + 0.25 * torch.randn(1, 3, height, width, generator=generator)


def _run(net: Any, picture: torch.Tensor) -> tuple[list[str], list[torch.Tensor]]:
    """Outputs with names: keys of a dictionary, else `output`, or `output_0`, `output_1`, …"""
    import torch

    try:
        with torch.no_grad():
            result = net(picture)
    except Exception as error:  # the user's own code raises anything
        shape = tuple(picture.shape)
        hint = "its forward must take one (1, 3, H, W) tensor; --size gives another size."
        if isinstance(net, torch.jit.ScriptModule):
            hint += " A traced program may hold the size of its trace: trace it at this size, or use torch.jit.script."
        raise CaptureError(
            f"The network failed on a {shape} picture: {type(error).__name__}: {_first_line(error)}",
            code="network-failed",
            hint=hint,
        ) from error
    named = flatten(result)
    if not named:
        raise CaptureError(f"The network returned {type(result).__name__}, with no tensor in it.", code="no-tensor")
    return list(named), list(named.values())


def flatten(result: Any, name: str = "output") -> dict[str, Any]:
    """Tensors in whatever a network returns, by name."""
    import torch

    if isinstance(result, torch.Tensor):
        return {name: result}
    if isinstance(result, Mapping):
        items = [(str(key), value) for key, value in result.items()]
    elif isinstance(result, (list, tuple)):
        items = [(f"{name}_{index}", value) for index, value in enumerate(result)]
    else:
        items = [(str(key), value) for key, value in getattr(result, "__dict__", {}).items()]
    flat: dict[str, Any] = {}
    for key, value in items:
        flat.update(flatten(value, key))
    return flat


def _export(net: Any, picture: torch.Tensor, names: list[str]) -> onnx.ModelProto:
    import inspect

    import onnx
    import torch

    from ..export import quiet_tracing

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(flatten(self.net(image)).values())

    options: dict[str, Any] = {"input_names": ["image"], "output_names": names}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    try:
        with quiet_tracing(), torch.no_grad():
            flat: Any = Flat().eval()
            if isinstance(net, torch.jit.ScriptModule):  # the exporter's own tracer does not follow a script
                flat = torch.jit.trace(flat, (picture,), strict=False)
            return onnx.load_from_string(_written(flat, picture, options))
    except Exception as error:  # the exporter and the network's own code raise anything
        raise CaptureError(
            f"The network could not be exported to ONNX at {picture.shape[2]}x{picture.shape[3]}:"
            f" {type(error).__name__}: {_first_line(error)}",
            hint="data-dependent Python code cannot be traced; an ONNX file of your own goes with --onnx.",
        ) from error


def _written(net: torch.nn.Module, picture: torch.Tensor, options: Mapping[str, Any]) -> bytes:
    """The bytes of the first opset that has all of the network's operators."""
    import torch

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


def _first_line(error: BaseException) -> str:
    """The line that says what is wrong: TorchScript puts it last, below its own traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    of_script = lines[0].startswith("The following operation failed in the TorchScript interpreter")
    return lines[-1].removeprefix("RuntimeError: ")[:300] if of_script else lines[0][:300]


def _sha256(net: Any) -> str:
    """Of every weight's name, shape and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
