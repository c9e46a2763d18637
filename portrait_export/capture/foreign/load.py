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

from ...artifacts import Carried
from ...errors import CaptureError, CheckpointError, UsageError, nearest
from ...preprocessing import PortraitSpec
from ..huggingface import Preprocessor, labels_of, licence_of, read_json, read_preprocessor
from ..onnx.check import make_session, run_once, run_session
from ..onnx.graph import Graph
from ..onnx.parameters import parameters_of
from ..onnx.stored import StoredModel
from ..runners import feeds_of
from ..simplify.folding import fold_constants
from .adapt import upgrade_opset
from .carried import Recurrence, find_pairs, settle, unread, with_ratio, zeros_of
from .composing import ComposedOriginal, compose
from .exported import with_exported
from .field import Field
from .finding import Finding
from .float_forms import in_float_form
from .head import Head, find_head
from .interface import DEFAULT_SIZE, ImageInput, fixed_values, pin, resized
from .leading import leading_arithmetic
from .measured import Seen, measure, photographs
from .network import ForeignNetwork, probe_pictures
from .normalisation import decide, decide_picture
from .on_masks import CLEARLY_BETTER, separation_of
from .options import (
    NORMALISING,
    ForeignOptions,
    PictureSettings,
    merged,
    require_no_reading,
    require_one_source,
    with_toml,
)
from .original import OnnxOriginal, Original, only_output, values_in, with_outputs
from .pictures import PictureInput, arranged, find_pictures, name_doubt
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
        pictures: its inputs that take pictures, the photograph's first.
        fillings: values of its other inputs.
        carried: what it carries from frame to frame.
        told: whether the user named it.
        notes: what was found about its other inputs.
        doubts: where options contradict the file.
    """

    options: ForeignOptions
    toml: str
    preprocessor: Preprocessor | None
    original: Original
    pictures: tuple[PictureInput, ...]
    fillings: Mapping[str, np.ndarray]
    carried: tuple[Carried, ...] = ()
    told: bool = False
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def start(self) -> dict[str, np.ndarray]:
        """The carried inputs before the first frame."""
        return zeros_of(self.original.stored.outline, self.carried)

    @property
    def image(self) -> ImageInput:
        """The input that takes the photograph."""
        return self.pictures[0].image

    def feeds(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Normalised pictures by the package's names, as everything that the network takes with a first frame."""
        return {**arranged(self.pictures, tensors), **self.fillings, **self.start}


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
    require_no_reading(options)
    preprocessor = read_preprocessor(options.file.parent)
    original, declared = _original(options, checkpoint, preprocessor, toml)
    outline = original.stored.outline
    options, toml, doubts = with_exported(options, toml, outline) if options.onnx is not None else (options, toml, ())
    own = Recurrence(original.pairs, told=bool(options.carry))
    found = own if own.pairs else find_pairs(outline, options)
    pictures = _picture_inputs(outline, options, preprocessor, found)
    image = pictures[0].image
    options, ratio = with_ratio(outline, options, image) if found.pairs else (options, ())
    fillings = fixed_values(outline, dict(options.fix_inputs))
    carried = settle(original.stored, [each.image for each in pictures], fillings, found)
    opened = _Opened(options, toml, preprocessor, original, pictures, fillings, carried, found.told, ratio, doubts)
    opened = opened if options.compose is None else _composed(opened, options.compose)
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

        def prepare(model: onnx.ModelProto, pairs: Mapping[str, str]) -> tuple[PortraitSpec, Sequence[PictureInput]]:
            pictures = _picture_inputs(model, options, preprocessor, Recurrence(pairs))
            return _prepared(Graph(model), pictures, options, preprocessor, toml).value, pictures

        return TorchOriginal.load(options, checkpoint, options.size or _size_of(preprocessor), prepare), None
    file = OnnxOriginal.load(options.onnx)
    if options.size is None or not options.any_size:
        return file, None
    outline = file.stored.outline
    filled = _filled(options, find_pairs(outline, options))
    images = [each.image for each in find_pictures(outline, named=options.image_input, size=None, fixed=filled)]
    if {"height", "width"} <= set(images[0].dynamic) or (images[0].height, images[0].width) == options.size:
        return file, None
    return replace(file, stored=file.stored.with_outline(resized(outline, images, options.size))), images[0]


def _picture_inputs(
    model: onnx.ModelProto, options: ForeignOptions, preprocessor: Preprocessor | None, found: Recurrence
) -> tuple[PictureInput, ...]:
    filled = _filled(options, found)
    pictures = find_pictures(model, named=options.image_input, size=options.size, fixed=filled)
    if options.size is not None or not {"height", "width"} & set(pictures[0].image.dynamic):
        return pictures
    size = _size_of(preprocessor)
    return find_pictures(model, named=options.image_input, size=None, fixed=filled, open_size=size)


def _filled(options: ForeignOptions, found: Recurrence) -> dict[str, float]:
    """The inputs that take no picture: those that the user fills, and those of a recurrent network."""
    return {**dict(options.fix_inputs), **dict.fromkeys((*found.pairs, *found.ratio), 0.0)}


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


def _composed(opened: _Opened, kind: str) -> _Opened:
    """The network with one mask of the person in addition, made from the instances that it returns."""
    options, original = opened.options, opened.original
    spec = _prepared(Graph(original.stored), opened.pictures, options, opened.preprocessor, opened.toml).value
    outputs = [value.name for value in original.stored.outline.graph.output]
    call = original.open(opened.fillings, outputs, keep_memory=False)
    tensors = [arranged(opened.pictures, feeds_of(frame, spec)) for frame, _ in photographs(spec)]
    found = compose(
        original,
        kind,
        [call({**each, **opened.start}) for each in tensors],
        (opened.image.height, opened.image.width),
        person_class=options.person_class,
        labels=_labels(options.file.parent),
    )
    settled = replace(options, mask_output=found.value, activation="probability", person_class=None)
    return replace(opened, original=found, options=settled)


def _understood(opened: _Opened) -> ForeignNetwork:
    """Find the preprocessing and the person."""
    options, image, original = opened.options, opened.image, opened.original
    images = [each.image for each in opened.pictures]
    asked = _asked_values(original.stored.outline, options)
    folded, rough, whole = _folded(opened, asked)
    graph = Graph(folded)
    preparation = _prepared(graph, opened.pictures, options, opened.preprocessor, opened.toml)
    outputs = _probe(opened, preparation.value, asked)
    others = {*options.keep_outputs, *(value.output for value in opened.carried)} - {options.mask_output}
    candidates = {name: value for name, value in outputs.items() if name not in others} or outputs
    labels = _labels(options.file.parent)
    seen: dict[str, Seen] = {}

    def look(output: str, found: Field) -> Seen:
        if output not in seen:
            seen[output] = _measured(opened, preparation.value, output, found)
        return seen[output]

    head = find_head(graph, candidates, options, size=(image.height, image.width), labels=labels, measure=look)
    if isinstance(original, ComposedOriginal):
        head = original.described(head)
    swapped = _swap_doubts(opened, preparation.value, head, seen[head.output])
    reads = _reads(original, head, opened.carried)
    inputs = [note for each in images for note in _input_notes(each, options)]
    notes = [*original.notes, *inputs, *opened.notes, *_carried_notes(opened), *preparation.notes]
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
        inputs=opened.pictures,
        head=head,
        spec=preparation.value,
        parameters=parameters_of(original.stored.outline) if original.parameters is None else original.parameters,
        tolerance=HALF_TOLERANCE if rough or whole else TOLERANCE,
        original=original,
        fillings=opened.fillings,
        reads=reads,
        keep=options.keep_outputs,
        states=opened.carried,
        start=opened.start,
        notes=tuple(notes),
        warnings=(
            *original.doubts,
            *opened.doubts,
            *preparation.warnings,
            *swapped,
            *head.warnings,
            *unread(original.stored, images, opened.fillings, opened.carried),
        ),
        licence=licence_of(options.file.parent),
        provenance={
            "model": name,
            "weights": original.weights,
            "weights_sha256": original.sha256,
            "reading": "; ".join(notes),
            "meaning": head.meaning,
        },
    )


def _folded(opened: _Opened, asked: Sequence[str]) -> tuple[StoredModel, bool, bool]:
    """The network in float32 with static shapes, folded; and whether it had other precisions, and 8-bit arithmetic.

    Args:
        asked: values that it is to output as well.
    """
    images = [each.image for each in opened.pictures]
    pinned = pin(upgrade_opset(opened.original.stored.whole()), images, opened.fillings, opened.carried)
    rough = bool(other_precisions(pinned))
    pinned = in_float32(pinned)
    stepped = in_float_form(pinned)
    prepared = StoredModel(with_outputs(stepped, asked))
    return fold_constants(prepared)[0], rough, stepped is not pinned


def _prepared(
    graph: Graph,
    pictures: Sequence[PictureInput],
    options: ForeignOptions,
    preprocessor: Preprocessor | None,
    toml: str,
) -> Finding[PortraitSpec]:
    """How photographs and further pictures are prepared."""
    named = _settings_of(pictures, options)
    image, (photo, *_) = pictures[0].image, pictures[0].parts
    own = {key: value for key in NORMALISING if (value := getattr(named[photo.name], key)) is not None}
    leading = leading_arithmetic(graph, image, photo.channels)
    stored = stored_range(graph, image)
    prepared = decide(replace(options, **own), image, leading, preprocessor, toml=toml, stored=stored)
    spec, notes, warnings = prepared.value, list(prepared.notes), list(prepared.warnings)
    if len(pictures) > 1:
        warnings += [doubt for each in pictures if (doubt := name_doubt(each.image.name, each.parts[0].shows))]
    found = []
    for each in pictures:
        for part in each.parts:
            if part is photo:
                continue
            own_leading = leading_arithmetic(graph, each.image, part.channels)
            decided = decide_picture(
                named[part.name], options, part, each.image, own_leading, spec, photo=leading, toml=toml
            )
            found.append(decided.value)
            notes += decided.notes
            warnings += decided.warnings
    inputs = ("image", *(picture.name for picture in found))
    return Finding(replace(spec, inputs=inputs, pictures=tuple(found)), tuple(notes), tuple(warnings))


def _settings_of(pictures: Sequence[PictureInput], options: ForeignOptions) -> dict[str, PictureSettings]:
    """Each picture's own settings, by the package's name. Raises UsageError for settings of anything else."""
    known = {part.name: part.name for each in pictures for part in each.parts}
    known.update({each.image.name: each.parts[0].name for each in pictures})  # the user's own names count first
    found = {part.name: PictureSettings(part.name) for each in pictures for part in each.parts}
    for settings in options.pictures:
        if settings.name not in known:
            hint = nearest(settings.name, list(known), what="picture")
            raise UsageError(f"There is no picture {settings.name!r} to normalise.", hint=hint)
        name = known[settings.name]
        (found[name],) = merged([replace(settings, name=name)], [found[name]])
    return found


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
    image, stored = opened.image, opened.original.stored
    try:
        return run_once(stored.with_outline(with_outputs(stored.outline, asked)), opened.feeds(probe_pictures(spec)))
    except CaptureError as error:
        if not image.dynamic:
            raise
        raise CaptureError(
            f"The network does not run at {image.height}x{image.width}: {error.message}",
            code=error.code,
            hint="another `size=` may work: most networks need sides that are multiples of 32.",
        ) from error


def _swap_doubts(opened: _Opened, spec: PortraitSpec, head: Head, seen: Seen) -> tuple[str, ...]:
    """Pictures in colour with which the photograph may have been confused: the masks are better with both swapped."""
    found = separation_of(head, seen, spec.positive)
    doubts = []
    for picture in spec.pictures if found is not None else ():
        if picture.shows == "photo" or picture.channels != spec.channels:
            continue
        other = separation_of(head, _measured(opened, spec, head.output, head.field, swap=picture.name), spec.positive)
        if found is not None and other is not None and other > found + CLEARLY_BETTER:
            doubts.append(
                f"with the photograph and the picture of {picture.name!r} swapped, a pixel of the person has the"
                f" larger value in {other:.0%} of all pairs instead of {found:.0%}: are they in the wrong order"
                " (`image_input=`)?"
            )
    return tuple(doubts)


def _measured(opened: _Opened, spec: PortraitSpec, output: str, found: Field, *, swap: str = "") -> Seen:
    """The values of one output on photographs.

    Args:
        swap: a picture that changes places with the photograph.
    """
    stored = opened.original.stored
    session = make_session(stored.with_outline(only_output(stored.outline, output)), keep_memory=False)

    def run(pictures: Mapping[str, np.ndarray]) -> np.ndarray:
        if swap:
            pictures = {**pictures, "image": pictures[swap], swap: pictures["image"]}
        return run_session(session, opened.feeds(pictures))[output]

    return measure(run, found, spec)


def _reads(original: Original, head: Head, carried: Sequence[Carried]) -> tuple[str, ...]:
    """The values of the original that its masks and logits are computed from, and those that it carries."""
    states = [value.output for value in carried]
    reads = original.readable([*dict.fromkeys([head.output, *([head.source] if head.source else []), *states])])
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


def _carried_notes(opened: _Opened) -> list[str]:
    if not opened.carried:
        return []
    pairs = ", ".join(f"{value.name} ← {value.output} ({_by(value.shape)})" for value in opened.carried)
    told = "as `carry=` says" if opened.told else "by name, type and shape"
    return [f"carried from frame to frame, {told}, zeros before the first: {pairs}"]


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _input_notes(image: ImageInput, options: ForeignOptions) -> list[str]:
    notes = [f"input {image.name!r}: {image.layout} {image.dtype.lower()} {image.height}x{image.width}"]
    if "N" in image.layout and image.layout.endswith("C"):
        notes.append("channels come last; one transpose is put before the graph")
    if image.dynamic:
        chosen = options.size is not None or not {"height", "width"} & set(image.dynamic)
        notes.append(f"open in the file, pinned: {', '.join(image.dynamic)}{'' if chosen else ' (`size=` changes it)'}")
    return notes
