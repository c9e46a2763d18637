"""Load a network of the user's own.

Its image input, its preprocessing and the person in its outputs are detected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from ...errors import CaptureError, CheckpointError, UsageError, nearest
from ...preprocessing import PortraitSpec
from ..huggingface import Preprocessor, labels_of, licence_of, read_json, read_preprocessor
from ..onnx.check import make_session, run_once, run_session
from ..onnx.graph import Graph
from ..onnx.parameters import parameters_of
from ..simplify.folding import fold_constants
from .adapt import upgrade_opset
from .field import Field
from .float_forms import in_float_form
from .head import Head, find_head
from .interface import DEFAULT_SIZE, ImageInput, find_image_input, fixed_values, pin, resized
from .leading import leading_arithmetic
from .measured import Seen, measure
from .network import ForeignNetwork, probe_picture
from .normalisation import decide
from .options import ForeignOptions, require_one_source, with_toml
from .original import OnnxOriginal, Original, only_output, values_in, with_outputs
from .stored_range import stored_range
from .widen import in_float32, other_precisions

# Largest |difference| of P(person), and of logits relative to their scale, between the adapted graph and the original
# under ONNX Runtime. Float32 networks gave at most 2e-6; a wrong channel or layout gives above 1e-2.
TOLERANCE = 1e-4
# Of networks in half precision, or whose 8-bit operators become floats: another order of the same sums may round to the
# next number. The small networks of the tests, quantized, differ by 1e-6 at most; one step of their logits is 1.2e-2.
HALF_TOLERANCE = 2e-2


@dataclass(frozen=True)
class _Opened:
    """What is known of a network before its graph is looked at.

    Attributes:
        options, toml: completed by the TOML file of that name, if there is one.
        preprocessor: what a preprocessor_config.json next to the network says.
        original: the network as it came.
        image: its image input.
        fillings: values of its other inputs.
    """

    options: ForeignOptions
    toml: str
    preprocessor: Preprocessor | None
    original: Original
    image: ImageInput
    fillings: Mapping[str, np.ndarray]


def load_foreign(options: ForeignOptions, checkpoint: Path | None = None) -> ForeignNetwork:
    """Read a network and find out what it takes and returns.

    Args:
        options: which network, and what the user knows of it.
        checkpoint: weights for `--torch`.
    Raises:
        UsageError: options that cannot be used together, or that name what does not exist.
        CaptureError: the network cannot be read or run, or has no image input, or no output that is a mask.
    """
    require_one_source(options)
    if checkpoint is not None and options.torch is None:
        raise UsageError(
            "`checkpoint=` goes with `torch=` or `model=`; an ONNX or TorchScript file has its own weights."
        )
    options, toml = with_toml(options)
    preprocessor = read_preprocessor(options.file.parent)
    original, declared = _original(options, checkpoint, preprocessor, toml)
    image = _image_input(original.model, options, preprocessor)
    fillings = fixed_values(original.model, dict(options.fix_inputs))
    opened = _Opened(options, toml, preprocessor, original, image, fillings)
    if declared is None:
        return _understood(opened)
    try:
        network = _understood(opened)
    except CaptureError as error:
        raise CaptureError(
            f"The file is fixed at {declared.height}x{declared.width}, and what is in it does not work at"
            f" {image.height}x{image.width}: {error.message}",
            code=error.code,
            context=error.context,
            hint="export the network again with open (dynamic) height and width.",
        ) from error
    warning = (
        f"the file declares {declared.height}x{declared.width} alone: at other sizes it is run as it is, and the masks"
        " there are compared with what it gives there, which nobody promised to be good."
    )
    return replace(network, warnings=(*network.warnings, warning))


# The network and its input


def _original(
    options: ForeignOptions, checkpoint: Path | None, preprocessor: Preprocessor | None, toml: str
) -> tuple[Original, ImageInput | None]:
    """The network as it came; and its input as the file declares it, where it is to be run at another size."""
    if options.onnx is None:
        from .pytorch import TorchOriginal  # imports torch, which an ONNX file does not need

        def prepare(model: onnx.ModelProto) -> PortraitSpec:
            image = _image_input(model, options, preprocessor)
            leading = leading_arithmetic(Graph(model), image)
            return decide(options, image, leading, preprocessor, toml=toml).value

        return TorchOriginal.load(options, checkpoint, options.size or _size_of(preprocessor), prepare), None
    file = OnnxOriginal.load(options.onnx)
    if options.size is None or not options.any_size:
        return file, None
    image = find_image_input(file.model, name=options.image_input, size=None, fixed=dict(options.fix_inputs))
    if {"height", "width"} <= set(image.dynamic) or (image.height, image.width) == options.size:
        return file, None
    return replace(file, model=resized(file.model, image, options.size)), image


def _image_input(model: onnx.ModelProto, options: ForeignOptions, preprocessor: Preprocessor | None) -> ImageInput:
    fixed = dict(options.fix_inputs)
    image = find_image_input(model, name=options.image_input, size=options.size, fixed=fixed)
    if options.size is not None or not {"height", "width"} & set(image.dynamic):
        return image
    size = _size_of(preprocessor)
    return find_image_input(model, name=options.image_input, size=None, fixed=fixed, open_size=size)


def _size_of(preprocessor: Preprocessor | None) -> tuple[int, int]:
    """The size of a network that takes any, where no size is asked for. Raises UsageError where a file is unclear."""
    if preprocessor is None:
        return DEFAULT_SIZE
    if preprocessor.size_problem:
        raise UsageError(
            preprocessor.why_no_size, code="which-size", hint="set one with `size=`, such as `size=(512, 512)`."
        )
    return preprocessor.size or DEFAULT_SIZE


# What it takes and returns


def _understood(opened: _Opened) -> ForeignNetwork:
    """Find the preprocessing and the person."""
    options, image, original = opened.options, opened.image, opened.original
    pinned = pin(upgrade_opset(original.model), image, opened.fillings)
    rough = bool(other_precisions(pinned))
    pinned = in_float32(pinned)
    stepped = in_float_form(pinned)
    whole = stepped is not pinned
    asked = _asked_values(original.model, options)
    folded, _ = fold_constants(with_outputs(stepped, asked))
    graph = Graph(folded)
    leading, stored = leading_arithmetic(graph, image), stored_range(graph, image)
    preparation = decide(options, image, leading, opened.preprocessor, toml=opened.toml, stored=stored)
    outputs = _probe(opened, preparation.value, asked)
    candidates = {name: value for name, value in outputs.items() if name not in options.keep_outputs} or outputs
    labels = _labels(options.file.parent)
    head = find_head(
        graph,
        candidates,
        options,
        size=(image.height, image.width),
        labels=labels,
        measure=lambda output, found: _measured(opened, preparation.value, output, found),
    )
    reads = _reads(original, head)
    notes = [*original.notes, *_input_notes(image, options), *preparation.notes]
    if rough:
        notes.append("half or double precision in the file: the same weights, computed in float32")
    if whole:
        notes.append("8-bit arithmetic in the file: the same operators on floats, rounded to the same steps")
    if head.source is not None and head.source not in reads:
        notes.append("the value before the activation cannot be read out of the original; the mask alone is compared")
    notes += head.notes
    name = re.sub(r"[^\w.-]+", "_", options.file.stem).strip("._") or "network"
    return ForeignNetwork(
        name=name,
        model=folded,
        image=image,
        head=head,
        spec=preparation.value,
        parameters=parameters_of(original.model),
        tolerance=HALF_TOLERANCE if rough or whole else TOLERANCE,
        original=original,
        fillings=opened.fillings,
        reads=reads,
        keep=options.keep_outputs,
        notes=tuple(notes),
        warnings=(*preparation.warnings, *head.warnings),
        licence=licence_of(options.file.parent),
        provenance={
            "model": name,
            "weights": original.weights,
            "weights_sha256": original.sha256,
            "reading": "; ".join(notes),
            "meaning": head.meaning,
        },
    )


def _asked_values(model: onnx.ModelProto, options: ForeignOptions) -> list[str]:
    """The values that options name as outputs. Raises UsageError for one that does not exist."""
    asked = [name for name in (options.mask_output, *options.keep_outputs) if name]
    inside, outputs = values_in(model), [value.name for value in model.graph.output]
    for name in asked:
        if name not in inside:
            raise UsageError(f"The network has no output {name!r}.", hint=nearest(name, outputs, what="output"))
    return asked


def _probe(opened: _Opened, spec: PortraitSpec, asked: Sequence[str]) -> dict[str, np.ndarray]:
    """Every output, and the inner values that are asked for, on one picture.

    Raises:
        CaptureError: the network cannot run at this size.
    """
    image, model = opened.image, opened.original.model
    feeds = {image.name: image.arrange(probe_picture(spec)), **opened.fillings}
    try:
        return run_once(with_outputs(model, asked), feeds)
    except CaptureError as error:
        if not image.dynamic:
            raise
        raise CaptureError(
            f"The network does not run at {image.height}x{image.width}: {error.message}",
            code=error.code,
            hint="another `size=` may work: most networks need sides that are multiples of 32.",
        ) from error


def _measured(opened: _Opened, spec: PortraitSpec, output: str, found: Field) -> Seen:
    """The values of one output on photographs."""
    model = opened.original.model
    session = make_session(only_output(model, output), keep_memory=False)

    def run(picture: np.ndarray) -> np.ndarray:
        feeds = {opened.image.name: opened.image.arrange(picture), **opened.fillings}
        return run_session(session, feeds)[output]

    return measure(run, found, spec)


def _reads(original: Original, head: Head) -> tuple[str, ...]:
    """The values of the original that its masks and logits are computed from."""
    reads = original.readable([head.output, *([head.source] if head.source else [])])
    if head.output not in reads:
        raise UsageError(
            f"{original.name} does not return {head.output!r}, so no mask could be compared with it.",
            hint="`mask_output=` takes what the network returns; values inside it can be named in an ONNX file only.",
        )
    return reads


def _labels(folder: Path) -> dict[int, str]:
    """Class names of a config.json next to the network. One that cannot be read may be of something else."""
    try:
        return labels_of(read_json(folder / "config.json") or {})
    except CheckpointError:
        return {}


def _input_notes(image: ImageInput, options: ForeignOptions) -> list[str]:
    notes = [f"input {image.name!r}: {image.layout} {image.dtype.lower()} {image.height}x{image.width}"]
    if "N" in image.layout and image.layout.endswith("C"):
        notes.append("channels come last; one transpose is put before the graph")
    if image.dynamic:
        chosen = options.size is not None or not {"height", "width"} & set(image.dynamic)
        notes.append(f"open in the file, pinned: {', '.join(image.dynamic)}{'' if chosen else ' (`size=` changes it)'}")
    return notes
