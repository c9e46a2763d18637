"""Load the user's PyTorch code or TorchScript, and export it to ONNX.

Both execute what they are given: `--torch` imports and calls the user's own Python file, `--torchscript` runs the
program in the file. Weights from a checkpoint are read as plain tensors only.
"""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import torch

from ...artifacts import Frame
from ...calibration.dataset import ROOT
from ...errors import CaptureError, CheckpointError, UsageError
from ...imaging.companions import with_pictures
from ...imaging.photo import open_mask, open_photo
from ...imaging.resize import resize_bilinear
from ...models.remap import entry_for, is_counter
from ...models.weights_io import weights_sha256
from ...preprocessing import PortraitSpec
from ...utils.archives import damaged_entry
from ...utils.lfs import refuse_pointer
from ...utils.names import with_article
from ...utils.quiet import quiet
from ..checkpoint.entries import doubts_about, origin, read_all
from ..checkpoint.locate import locate
from ..onnx.stored import StoredModel
from ..runners import feeds_of
from .exporting import export, flatten, message
from .module_states import Explicit, find_states, left_out
from .options import ForeignOptions
from .original import Call
from .pictures import PictureInput, arranged, picture_names
from .torch_pictures import SINGLE, examples, picture_choices

MOST_LISTED = 12  # weights that do not fit
# Bundled photographs that a capture is compared on, and how far each is moved towards black or white, so that code
# that looks at the brightness shows.
COMPARED = (("cc0_002.jpg", 0.0, 0), ("cc0_006.jpg", 0.7, 0), ("cc0_009.jpg", 0.7, 255))

# A network as ONNX, and its carried inputs → how it takes photographs, and which of its inputs take pictures.
Prepare = Callable[[onnx.ModelProto, Mapping[str, str]], tuple[PortraitSpec, Sequence[PictureInput]]]


@dataclass(frozen=True)
class TorchOriginal:
    """A PyTorch module, run by PyTorch. See Original.

    Attributes:
        net: float32, evaluation mode; takes (1, C, H, W) tensors, and the carried ones.
        inputs: names of what it takes.
        outputs: names of what it returns.
        notes: how it was captured.
        pairs: carried input → the output that it takes with the next frame.
        doubts: about the checkpoint's entry that holds its weights.
        parameters: of the module; None for a program whose weights are constants in its code.
    """

    net: torch.nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stored: StoredModel
    name: str
    weights: str
    sha256: str
    notes: tuple[str, ...]
    pairs: Mapping[str, str]
    doubts: tuple[str, ...] = ()
    parameters: int | None = None

    @classmethod
    def load(
        cls, options: ForeignOptions, checkpoint: Path | None, size: tuple[int, int], prepare: Prepare
    ) -> TorchOriginal:
        """Load the network and capture it at a size.

        Args:
            prepare: decides how the network takes photographs, on which a capture is compared with it.
        Raises:
            UsageError: the factory does not exist.
            CheckpointError: the weights do not fit.
            CaptureError: the code failed, or cannot be captured, or what was captured gives other numbers.
        """
        if options.torch is not None:
            loaded = _from_factory(options.torch, checkpoint)
        else:
            assert options.torchscript is not None  # established by require_one_source
            loaded = _from_torchscript(options.torchscript)
        (photograph,) = examples((3,), size)
        single = len(options.image_input) < 2
        states = find_states(loaded.net, photograph, options.carry) if single else None
        if states is None:
            names, choices = picture_choices(loaded.net, options.image_input)
            net, given, carried, pairs = loaded.net, [examples(channels, size) for channels in choices], {}, {}
        else:
            names = tuple(picture_names(options.image_input, ())) or (SINGLE,)
            net, given = Explicit(loaded.net, states).eval(), [(photograph,)]
            carried, pairs = states.inputs, states.flat_pairs
        pictures, outputs = _first_that_runs(net, given, tuple(carried.values()))
        found = export(
            net, pictures, outputs, lambda model: _photographs(names, *prepare(model, pairs)), names, carried
        )
        digest = weights_sha256(loaded.net)
        filled = {*names, *(states.pairs if states is not None else ())}
        left = [name for name in left_out(loaded.net) if name not in filled]
        notes = (found.note, *([f"left at their defaults: {', '.join(left)}"] if left else []))
        stored = StoredModel(found.model)
        count = sum(parameter.numel() for parameter in loaded.net.parameters()) or None
        return cls(
            net, (*names, *carried), outputs, stored, loaded.name, loaded.weights, digest, notes, pairs,
            loaded.doubts, count,
        )  # fmt: skip

    def readable(self, values: Sequence[str]) -> tuple[str, ...]:
        """What the network returns can be read, and nothing inside it."""
        return tuple(value for value in values if value in self.outputs)

    def open(self, fillings: Mapping[str, np.ndarray], values: Sequence[str], *, keep_memory: bool = True) -> Call:
        """The module itself: it takes pictures and what it carries, and PyTorch keeps no memory between runs."""
        return self._call

    def _call(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = [torch.from_numpy(inputs[name]) for name in self.inputs]
        return {name: tensor.numpy() for name, tensor in _run(self.net, given).items()}


@dataclass(frozen=True)
class _Loaded:
    """A module, what reports call it, where its weights came from, and what is doubtful about them."""

    net: torch.nn.Module
    name: str
    weights: str
    doubts: tuple[str, ...] = ()


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
                f"{attribute}() of {file.name} failed: {type(error).__name__}: {message(error)}",
                code="factory-failed",
                hint="it is called without arguments; write a function that returns the finished network.",
            ) from error
    if not isinstance(net, torch.nn.Module):
        raise CaptureError(
            f"{attribute}() of {file.name} returned {with_article(type(net).__name__)}, not a torch.nn.Module."
        )
    name, kept = f"PyTorch, {attribute}", f"as {attribute}() leaves them"
    weights, doubts = load_weights(net, checkpoint) if checkpoint is not None else (kept, ())
    return _Loaded(net.float().eval(), name, weights, doubts)


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
            f"{file.name} cannot be imported: {type(error).__name__}: {message(error)}", code="import-failed"
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


def load_weights(net: torch.nn.Module, checkpoint: Path) -> tuple[str, tuple[str, ...]]:
    """Load a checkpoint, as strictly as PyTorch does, without the wrappers that training scripts put around one.

    Returns:
        Where the weights came from, and what is doubtful about it.
    Raises:
        CheckpointError: with every missing, unexpected or misshapen weight.
    """
    tensors = read_all(locate(checkpoint)[0], checkpoint.name)
    own = net.state_dict()
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    entry = entry_for(tensors, wanted, source=checkpoint.name)
    # Older PyTorch and some converters leave the counters of batch norms out, and load_state_dict does without them.
    counters = {name: tensor for name, tensor in own.items() if is_counter(name)}
    found = {**counters, **entry.tensors}
    lines = [f"missing: {name} {shape}" for name, shape in wanted.items() if name not in found]
    lines += [f"unexpected: {name} {tuple(tensor.shape)}" for name, tensor in found.items() if name not in wanted]
    lines += [
        f"{name}: {tuple(tensor.shape)} in the file, {wanted[name]} in the network"
        for name, tensor in found.items()
        if name in wanted and tuple(tensor.shape) != wanted[name]
    ]
    name = checkpoint.name
    if lines:
        more = len(lines) - MOST_LISTED
        shown = [*lines[:MOST_LISTED], *([f"and {more} more"] if more > 0 else [])]
        where = f"{name}, {entry.place}," if str(entry.place) else name
        raise CheckpointError(
            f"{where} does not fit the network: {len(lines)} of its weights.",
            code="weights-do-not-fit",
            context=shown,
            hint="the factory must build the network with the options that it was trained with.",
        )
    net.load_state_dict(found)
    return origin(name, entry.place), doubts_about(name, entry.place, entry.others)


def _from_torchscript(file: Path) -> _Loaded:
    if not file.is_file():
        raise CaptureError(f"There is no TorchScript file at {file}.", code="no-such-file")
    refuse_pointer(file, CaptureError)
    _require_whole(file)
    try:
        with quiet():
            loaded = torch.jit.load(str(file), map_location="cpu")
    except Exception as error:  # RuntimeErrors of the C++ reader, of many kinds
        raise CaptureError(
            f"{file.name} is not a TorchScript program: {message(error)}",
            code="not-torchscript",
            hint="`torch.jit.save` writes one; weights alone go with `torch=FILE.py:FACTORY` and `checkpoint=FILE`.",
        ) from error
    return _Loaded(loaded.float().eval(), f"TorchScript, {file.name}", f"file {file.name}")


def _require_whole(file: Path) -> None:
    """Raise CaptureError for an archive with damaged bytes, which PyTorch would read as they are."""
    with suppress(zipfile.BadZipFile, ValueError, NotImplementedError, OSError):  # PyTorch says what these are
        if zipfile.is_zipfile(file) and (name := damaged_entry(file)):
            raise CaptureError(
                f"{file.name} is damaged: the bytes of {name[:80]!r} in it do not have the checksum that is stored.",
                code="damaged-torchscript",
                hint="download or save it again.",
            )


# Running it


def _first_that_runs(
    net: torch.nn.Module, choices: Sequence[tuple[torch.Tensor, ...]], carried: tuple[torch.Tensor, ...]
) -> tuple[tuple[torch.Tensor, ...], tuple[str, ...]]:
    """The first pictures that a network takes, and the names of its outputs. Raises CaptureError as the first fails."""
    failures = []
    for given in choices:
        try:
            return given, tuple(_run(net, (*given, *carried)))
        except CaptureError as error:
            failures.append(error)
    raise failures[0]


def _run(net: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Outputs by name: keys of a dictionary, else `output`, or `output_0`, `output_1`, …"""
    try:
        with torch.no_grad():
            result = net(*inputs)
    except Exception as error:  # the user's own code raises anything
        shape = " and ".join(str(tuple(picture.shape)) for picture in inputs)
        hint = (
            "its forward must take one (1, 3, H, W) tensor, or a picture in each argument that `image_input=NAME`"
            " names; `size=` gives another size."
        )
        if isinstance(net, torch.jit.ScriptModule):
            hint += " A traced program may hold the size of its trace: trace it at this size, or use torch.jit.script."
        raise CaptureError(
            f"The network failed on a {shape} picture: {type(error).__name__}: {message(error)}",
            code="network-failed",
            hint=hint,
        ) from error
    named = flatten(result)
    if not named:
        raise CaptureError(f"The network returned {type(result).__name__}, with no tensor in it.", code="no-tensor")
    return named


def _photographs(names: Sequence[str], spec: PortraitSpec, inputs: Sequence[PictureInput]) -> list[list[np.ndarray]]:
    """Photographs as all inputs of the network, (1, C, H, W) each, with pictures made from the drawn masks."""
    arrays, size = [], (spec.height, spec.width)
    for name, share, towards in COMPARED:
        photo = resize_bilinear(open_photo(ROOT / "images" / name).pixels, size)
        moved = photo.astype(np.float64) * (1 - share) + towards * share
        mask = resize_bilinear(open_mask(ROOT / "masks" / name.replace(".jpg", ".png")), size)
        frame = with_pictures(Frame(np.clip(np.rint(moved), 0, 255).astype(np.uint8), name=name), mask, spec)
        feeds = arranged(inputs, feeds_of(frame, spec))
        arrays.append([feeds[name] for name in names])
    return arrays
