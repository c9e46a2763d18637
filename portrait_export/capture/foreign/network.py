"""A user's own network (ONNX, torch code or TorchScript) in; our contract, a reference, and what was found out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import CaptureError, UsageError, nearest
from ...preprocessing import PortraitSpec
from ..export import set_metadata
from ..onnx.check import check_model, make_session, relative_error, run_once, run_session
from ..onnx.load import load_onnx
from .adapt import adapt, upgrade_opset
from .head import Head, find_head
from .interface import ImageInput, find_image_input, fixed_values, pin, resized
from .normalisation import decide, leading_arithmetic, read_json
from .options import ForeignOptions, require_one_source, with_toml
from .reference import Call, ForeignReference, Open
from .widen import in_float32, other_precisions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import onnx

# Largest |difference| of P(person), and of logits relative to their scale, between the adapted graph and the user's
# own under ONNX Runtime. Float32 networks gave at most 2e-6; a wrong channel or layout gives above 1e-2.
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-2  # of networks in half precision, where another order of the same operators rounds otherwise


@dataclass(frozen=True)
class ForeignNetwork:
    """A network that was understood.

    Attributes:
        name: of files made from it.
        model: the user's graph with shapes pinned and constants folded, otherwise its own.
        image, head: its input, and where the person is in its outputs.
        spec: preprocessing.
        parameters: stored floating-point numbers.
        tolerance: by how much the adapted graph may differ from the user's own.
        reference_name, open: the user's own network: what reports call it, and how it is made ready to run.
        keep: outputs that the package is to return as they are.
        notes, warnings: what was found; what was only guessed, or looks wrong.
        provenance: where it came from, for metadata and reports.
    """

    name: str
    model: onnx.ModelProto
    image: ImageInput
    head: Head
    spec: PortraitSpec
    parameters: int
    tolerance: float
    reference_name: str
    open: Open
    keep: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    provenance: Mapping[str, str]

    def reference(self, *, keep_memory: bool = True) -> ForeignReference:
        """The network as the user gave it, as a Runner; without `keep_memory` for one run."""
        call = self.open(keep_memory=keep_memory)
        return ForeignReference(call, self.image, self.head, self.spec, name=self.reference_name)

    def require_output(self, output: str) -> None:
        """Raise UsageError where a package cannot return what is asked for."""
        if output == "logits" and not self.head.has_logits:
            raise UsageError(
                f"--output logits: the network's output {self.head.output!r} is {self.head.words}, and the logits"
                " behind it cannot be had exactly.",
                hint="take --output multiarray, or name a value before the activation with --mask-output.",
            )

    def to_onnx(self, spec: PortraitSpec | None = None) -> onnx.ModelProto:
        """The network with the project's inputs and outputs, checked against the user's own numbers.

        Args:
            spec: stored in the model; by default the network's own.
        Raises:
            CaptureError: the numbers differ.
        """
        image = self.image if self.image.dtype == "UINT8" else replace(self.image, dtype="FLOAT")
        adapted, _ = adapt(self.model, image, self.head, positive=self.spec.positive, keep=self.keep)
        set_metadata(adapted, {"spec": (spec or self.spec).to_json(), **self.provenance})
        check_model(adapted)
        self._check_numbers(adapted)
        return adapted

    @property
    def kept_names(self) -> tuple[str, ...]:
        """The kept outputs as the adapted graph calls them."""
        taken = {"image", "logits", "mask"}
        return tuple(f"net_{name}" if name in taken else name for name in self.keep)

    def _check_numbers(self, adapted: onnx.ModelProto) -> None:
        picture = probe_picture(self.spec)
        expected = self.reference(keep_memory=False).predict(picture)
        found = run_once(adapted, {"image": picture})
        tolerance, lines = self.tolerance, []
        if expected.logits is not None and "logits" in found:
            error = relative_error(expected.logits, found["logits"][0, 0])
            if not error <= tolerance:
                lines.append(f"logits: relative error {error:.1e}, tolerance {tolerance:.0e}")
        mask = found["mask"][0, 0]
        if self.head.kind == "argmax" and self.head.has_logits:  # the user's is a decision, ours also says how sure
            error = float(((mask > 0.5) != (expected.probability > 0.5)).mean())
        else:
            error = float(abs(mask - expected.probability).max())
        if not error <= tolerance:
            lines.append(f"mask: {error:.1e} off, tolerance {tolerance:.0e}")
        if lines:
            raise CaptureError(
                "With the project's inputs and outputs the network gives another mask than on its own.",
                code="adaptation-differs",
                context=[*lines, *self.head.notes],
                hint="say what the output is: --mask-output, --person-class, --activation.",
            )


def load_foreign(options: ForeignOptions, checkpoint: Path | None = None) -> ForeignNetwork:
    """Read a network and find out what it takes and gives.

    Args:
        options: which network, and what the user knows of it.
        checkpoint: weights for `--torch`.
    Raises:
        UsageError: options that exclude one another, or name what does not exist.
        CaptureError: the network cannot be read or run, or no photograph goes in, or no mask comes out.
    """
    require_one_source(options)
    if checkpoint is not None and options.torch is None:
        raise UsageError("--checkpoint goes with --torch or --model; an ONNX or TorchScript file has its own weights.")
    options, toml = with_toml(options)
    declared: ImageInput | None = None
    if options.onnx is not None:
        original = _read_onnx(options.onnx)
        if options.any_size:
            original, declared = _at_any_size(original, options)
        opener, origin = _onnx_runtime(original, options.onnx)
    else:
        from .pytorch import torch_network

        original, opener, origin = torch_network(options, checkpoint)
    fixed = dict(options.fix_inputs)
    image = find_image_input(original, name=options.image_input, size=options.size, fixed=fixed)
    fillings = fixed_values(original, fixed)
    try:
        network = _understood(options, toml, original, image, fillings, opener, origin)
    except CaptureError as error:
        if declared is None:
            raise
        raise CaptureError(
            f"The file is fixed at {declared.height}x{declared.width}, and what is in it does not work at"
            f" {image.height}x{image.width}: {error.message}",
            code=error.code,
            context=error.context,
            hint="export the network again with open (dynamic) height and width.",
        ) from error
    return (
        network if declared is None else replace(network, warnings=(*network.warnings, _declared_otherwise(declared)))
    )


def _at_any_size(model: onnx.ModelProto, options: ForeignOptions) -> tuple[onnx.ModelProto, ImageInput | None]:
    """The model at the size asked for; and its input as the file declares it, where the file fixes another size."""
    image = find_image_input(model, name=options.image_input, size=None, fixed=dict(options.fix_inputs))
    if options.size is None or {"height", "width"} <= set(image.dynamic) or (image.height, image.width) == options.size:
        return model, None
    return resized(model, image, options.size), image


def _declared_otherwise(image: ImageInput) -> str:
    return (
        f"the file declares {image.height}x{image.width} alone: at other sizes it is run as it is, and the masks there"
        " are compared with what it gives there, which nobody promised to be good."
    )


def _understood(
    options: ForeignOptions,
    toml: str,
    original: onnx.ModelProto,
    image: ImageInput,
    fillings: Mapping[str, np.ndarray],
    opener: Any,
    origin: Mapping[str, str],
) -> ForeignNetwork:
    from ..onnx.graph import Graph
    from ..simplify.folding import fold_constants

    pinned = pin(upgrade_opset(original), image, fillings)
    rough = bool(other_precisions(pinned))
    pinned = in_float32(pinned)
    leading = leading_arithmetic(Graph(pinned), image.name)
    spec, notes, warnings = decide(options, image, leading, toml=toml)
    notes = [*_input_notes(image, options), *notes]
    if rough:
        notes.append("half or double precision in the file: the same weights, computed in float32")
    watched = [options.mask_output, *options.keep_outputs]
    outputs = _probe(original, image, fillings, spec, [name for name in watched if name])
    _require_outputs(options.keep_outputs, outputs)
    folded, _ = fold_constants(_with_outputs(pinned, outputs))
    labels = _labels(options)
    size = (image.height, image.width)
    candidates = {name: value for name, value in outputs.items() if name not in options.keep_outputs} or outputs
    head = find_head(Graph(folded), candidates, options, size=size, labels=labels)
    open_it, exposes = opener(head, fillings, image)
    if head.has_logits and not exposes:
        notes.append("the value before the activation cannot be read out of the original; the mask alone is compared")
    name = re.sub(r"[^\w.-]+", "_", options.file.stem).strip("._") or "network"
    text = "; ".join([*notes, *head.notes])
    return ForeignNetwork(
        name=name,
        model=folded,
        image=image,
        head=head,
        spec=spec,
        parameters=_parameters(original),
        tolerance=HALF_TOLERANCE if rough else TOLERANCE,
        reference_name=origin["reference"],
        open=open_it,
        keep=options.keep_outputs,
        notes=(*notes, *head.notes),
        warnings=(*warnings, *head.warnings),
        provenance={"model": name, "weights": origin["weights"], "weights_sha256": origin["sha256"], "reading": text},
    )


def _input_notes(image: ImageInput, options: ForeignOptions) -> list[str]:
    dtype = image.dtype.lower()
    notes = [f"input {image.name!r}: {image.layout} {dtype} {image.height}x{image.width}"]
    if "N" in image.layout and image.layout.endswith("C"):
        notes.append("channels come last; one transpose is put before the graph")
    if image.dynamic:
        said = "" if options.size or not {"height", "width"} & set(image.dynamic) else " (--size says otherwise)"
        notes.append(f"open in the file, pinned: {', '.join(image.dynamic)}{said}")
    return notes


def _labels(options: ForeignOptions) -> dict[int, str]:
    table = read_json(options.file.parent / "config.json").get("id2label")
    if not isinstance(table, Mapping):
        return {}
    return {int(key): str(value) for key, value in table.items() if str(key).isdigit()}


def _parameters(model: onnx.ModelProto) -> int:
    import math

    return sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type in (1, 10, 11, 16))


# The user's ONNX under ONNX Runtime, as it is


def _read_onnx(file: Path) -> onnx.ModelProto:
    model = load_onnx(file)
    _refuse_unreadable_names(model, file)
    return model


def _onnx_runtime(model: onnx.ModelProto, file: Path) -> tuple[Any, dict[str, str]]:
    """What says, once the head is known, how a file's model is made ready to run; and where it came from."""

    def opener(head: Head, fillings: Mapping[str, np.ndarray], image: ImageInput) -> tuple[Open, bool]:
        names = [head.output, *([head.source] if head.source else [])]
        inside = _values_of(model)
        exposed = all(name in inside for name in names)

        def open_it(*, keep_memory: bool) -> Call:
            wanted = _with_outputs(model, [name for name in names if name in inside])
            session = make_session(wanted, keep_memory=keep_memory)
            return lambda array: run_session(session, {image.name: array, **fillings})

        return open_it, exposed

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return opener, {"reference": f"ONNX Runtime, {file.name}", "weights": f"file {file.name}", "sha256": digest}


def _refuse_unreadable_names(model: onnx.ModelProto, file: Path) -> None:
    """Protobuf lets names through that are no text; nothing after this could write them again."""
    try:
        for text in _texts(model.graph):
            if isinstance(text, bytes):  # what protobuf gives for a name that is no UTF-8
                text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CaptureError(f"{file.name} is damaged: it has names that are not UTF-8.", code="damaged-onnx") from error


def _texts(graph: Any) -> Iterator[str | bytes]:
    """Every name and every text attribute, in inner graphs too."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.s, *attribute.strings)
            for inner in (attribute.g, *attribute.graphs):
                yield from _texts(inner)


def _values_of(model: onnx.ModelProto) -> set[str]:
    return {name for node in model.graph.node for name in node.output if name} | {v.name for v in model.graph.output}


def _with_outputs(model: onnx.ModelProto, names: Any) -> onnx.ModelProto:
    """A copy whose graph also gives some of its inner values. Nothing else about it changes."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name for value in copy.graph.output}
    missing = [name for name in dict.fromkeys(names) if name not in known]
    if missing:
        inferred = onnx.shape_inference.infer_shapes(copy)
        types = {value.name: value for value in inferred.graph.value_info}
        for name in missing:
            copy.graph.output.append(types[name] if name in types else onnx.ValueInfoProto(name=name))
    return copy


def probe_picture(spec: PortraitSpec) -> np.ndarray:
    """One seeded picture, smooth with some grain, as the network's input (1, 3, H, W)."""
    import numpy as np

    from ...artifacts import Frame
    from .reference import resize_bilinear

    generator = np.random.default_rng(0)
    coarse = generator.uniform(0, 255, (3, 5, 5))
    smooth = np.stack([resize_bilinear(plane, (spec.height, spec.width)) for plane in coarse], axis=-1)
    grain = generator.normal(0, 8, smooth.shape)
    return spec.normalise(Frame(np.clip(np.rint(smooth + grain), 0, 255).astype(np.uint8), name="probe"))


def _probe(
    model: onnx.ModelProto, image: ImageInput, fillings: Mapping[str, np.ndarray], spec: PortraitSpec, more: list[str]
) -> dict[str, np.ndarray]:
    """Every output, and some inner values, on one picture. Raises where the network cannot run at this size."""
    inside = _values_of(model)
    for name in more:
        if name not in inside:
            known = [value.name for value in model.graph.output]
            raise UsageError(f"The network has no output {name!r}.", hint=nearest(name, known, what="output"))
    try:
        return run_once(_with_outputs(model, more), {image.name: image.arrange(probe_picture(spec)), **fillings})
    except CaptureError as error:
        if not image.dynamic:
            raise
        raise CaptureError(
            f"The network does not run at {image.height}x{image.width}: {error.message}",
            code=error.code,
            hint="another --size may: most networks need sides that are multiples of 32.",
        ) from error


def _require_outputs(names: tuple[str, ...], outputs: Mapping[str, np.ndarray]) -> None:
    missing = [name for name in names if name not in outputs]
    if missing:
        raise UsageError(
            f"There is no output {missing[0]!r} to keep.", hint=nearest(missing[0], list(outputs), what="output")
        )
