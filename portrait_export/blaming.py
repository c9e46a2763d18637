"""A package and the model that it was made from in; the operation that is to blame for their difference out.

    PyTorch ─ traced ONNX ─ simplified ONNX        outputs compared
                                  └─ package        every value compared, as it is computed

Of one photograph the simplified ONNX model's values are held in memory; of everything else only sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts import Frame, Value
from .errors import DataError, UsageError
from .plain import plain_data
from .preprocessing import PortraitSpec
from .sources import ModelSource, load_model
from .stages import Observer, Stages

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from .artifacts import Prediction, Runner
    from .runtime.model import CoreMLProgram
    from .runtime.runner import PackageRunner
    from .verify.blame import Blame, Compared, Tally
    from .verify.error_sums import ErrorSums

PHOTOGRAPHS = 3  # of the calibration set, where none are named
LINK_BAR_DB = 60.0  # between float32 networks that ought to be the same; 100 dB and more was measured
MASK_STEPS = 255.0  # of an 8-bit mask


@dataclass(frozen=True)
class BlameRequest:
    """What `find_blame` is asked for.

    Attributes:
        source: the model that the package was made from; its size is the package's.
        onnx: an ONNX file to compare with instead.
        images: photographs; none takes a few of the calibration set.
        isolate: also run each operation on the reference's own inputs, which tells inherited error from its own.
        arithmetic: of our runtime: `as_typed`, `fp16` or `fp32`.
        bar_db: the SNR below which an operation is bad; None takes 30 dB with inherited error, and for an operation
            alone what its stored types promise.
    """

    package: Path
    source: ModelSource
    onnx: Path | None = None
    images: tuple[Path, ...] = ()
    isolate: bool = True
    arithmetic: str = "as_typed"
    bar_db: float | None = None


@dataclass(frozen=True)
class Link:
    """One output of two neighbours in the walk from PyTorch to the simplified ONNX model.

    Attributes:
        step: the two, such as `PyTorch → traced ONNX`.
        output: `logits` or `mask`.
        snr_db, psnr_db, max_abs: the second against the first, over all photographs.
        bad: below LINK_BAR_DB.
    """

    step: str
    output: str
    snr_db: float
    psnr_db: float
    max_abs: float
    bad: bool


@dataclass(frozen=True)
class Blamed:
    """What was found.

    Attributes:
        package, reference: names of the two sides.
        photographs: names of those compared on.
        arithmetic: of our runtime.
        links: how the outputs fared before the package.
        found: the comparison op by op.
        unpaired: the package's values that have no partner in the ONNX model.
        values: how many values the package computes.
        held_bytes: size of the reference's values that were in memory for one photograph.
    """

    package: str
    reference: str
    photographs: tuple[str, ...]
    arithmetic: str
    links: tuple[Link, ...]
    found: Blame
    unpaired: tuple[str, ...]
    values: int
    held_bytes: int

    @property
    def passed(self) -> bool:
        """Whether nothing is to blame."""
        return not self.found.bad and not any(link.bad for link in self.links)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        first = self.found.first
        data: dict[str, Any] = plain_data(
            {
                "package": self.package,
                "reference": self.reference,
                "photographs": list(self.photographs),
                "arithmetic": self.arithmetic,
                "isolated": self.found.isolated,
                "passed": self.passed,
                "first_bad": None if first is None else asdict(first),
                "bad": [op.candidate for op in self.found.bad],
                "overflows": list(self.found.overflows),
                "links": [asdict(link) for link in self.links],
                "values": self.values,
                "unpaired": list(self.unpaired),
                "left_out": dict(self.found.left_out),
                "held_bytes": self.held_bytes,
                "ops": [asdict(op) for op in self.found.ops],
            }
        )
        return data


def find_blame(request: BlameRequest, observer: Observer) -> Blamed:
    """Compare a package with its model, value by value.

    Raises:
        PortraitError: whatever cannot be read, or run, or has nothing in common. A bad operation does not raise.
    """
    from .capture.trace import size_bytes, values_of
    from .runtime.runner import PackageRunner

    stages = Stages(observer)
    with stages.stage("load") as stage:
        package = PackageRunner(request.package, arithmetic=request.arithmetic)
        name, runners, simplified, spec = _reference(request, package.spec)
        frames = _frames(request.images, spec)
        stage.summary = f"{request.package.name} and {name}, {len(frames)} photographs"
    with stages.stage("outputs") as stage:
        links = _links(runners, frames)
        worst = min((link.snr_db for link in links), default=math.nan)
        steps = " → ".join(runner.name for runner in runners)
        stage.summary = f"{steps}: lowest SNR {worst:.1f} dB" if links else "nothing before the ONNX model"
    with stages.stage("compare") as stage:
        simplified, compared, unpaired = _paired(package, simplified, given=request.onnx is not None)
        wanted = [op.reference for op in compared]
        held = size_bytes(values_of(simplified), wanted)
        tally = _compare(package, simplified, compared, frames, spec, isolate=request.isolate, progress=stage.progress)
        total = len(package.program.names)
        stage.summary = f"{len(compared)} of {total} values paired, {held / 1e6:.0f} MB held for a photograph"
        stage.details = [f"without partner: {value}" for value in unpaired]
    half = request.arithmetic != "fp32"
    found = tally.blame(bar_db=request.bar_db, own_bar_db=request.bar_db, half=half)
    names = tuple(frame.name for frame in frames)
    return Blamed(request.package.name, name, names, request.arithmetic, links, found, unpaired, total, held)


# ---------------------------------------------------------------------------------------------------------------------
# The reference


def _reference(
    request: BlameRequest, saved: PortraitSpec | None
) -> tuple[str, list[Runner], onnx.ModelProto, PortraitSpec]:
    """Its name, what runs before the package in the order of the walk, the simplified model, and its preprocessing."""
    source = request.source
    if request.onnx is not None:
        if source.model or source.checkpoint or source.random_weights:
            raise UsageError("--onnx excludes --model, --checkpoint and --random-weights.")
        return _given_onnx(request.onnx, saved)
    from .capture.export import export_onnx
    from .capture.runners import OnnxRunner, TorchRunner
    from .capture.simplify import simplify

    if saved is not None:
        source = ModelSource(source.model, source.checkpoint, source.random_weights, (saved.height, saved.width))
    model = load_model(source)
    traced = export_onnx(model.module, spec=model.spec)
    simplified, _ = simplify(traced)
    runners: list[Runner] = [
        TorchRunner(model.module, model.spec, name="PyTorch"),
        OnnxRunner(traced, model.spec, name="traced ONNX"),
        OnnxRunner(simplified, model.spec, name="simplified ONNX"),
    ]
    return model.name, runners, simplified, model.spec


def _given_onnx(file: Path, saved: PortraitSpec | None) -> tuple[str, list[Runner], onnx.ModelProto, PortraitSpec]:
    from .capture.export import spec_of
    from .capture.load import load_onnx

    model = load_onnx(file)
    spec = saved or spec_of(model)
    if spec is None:
        raise UsageError(
            f"Neither the package nor {file.name} says how a photograph is prepared for it.",
            hint="packages and ONNX files written by portrait-export do.",
        )
    return file.name, [], model, spec


def _frames(images: Sequence[Path], spec: PortraitSpec) -> list[Frame]:
    """Photographs at the network's size. Those of the calibration set are taken evenly from all of it."""
    from .frames import load_frames, stand_in_depth
    from .photo import open_photo
    from .placement import to_frame

    if not images:
        frames = [labelled.frame for labelled in load_frames(None, spec)]
        return frames[:: max(1, len(frames) // PHOTOGRAPHS)][:PHOTOGRAPHS]
    photos = [open_photo(path) for path in images]
    depths = [stand_in_depth(photo.pixels) if "depth" in spec.inputs else None for photo in photos]
    return [to_frame(photo, spec, depth)[0] for photo, depth in zip(photos, depths, strict=True)]


def _links(runners: Sequence[Runner], frames: Sequence[Frame]) -> tuple[Link, ...]:
    """Each runner's outputs against those of the one before it."""
    from .verify.error_sums import ErrorSums

    sums: dict[tuple[str, str], ErrorSums] = {}
    for frame in frames:
        outputs = [(runner.name, _outputs(runner.run([frame])[0])) for runner in runners]
        for (before, exact), (after, found) in pairwise(outputs):
            for output in (name for name in exact if name in found):
                sums.setdefault((f"{before} → {after}", output), ErrorSums()).add(exact[output], found[output])
    return tuple(_link(step, output, sums[step, output]) for step, output in sums)


def _outputs(prediction: Prediction) -> dict[str, np.ndarray]:
    logits = {} if prediction.logits is None else {"logits": prediction.logits}
    return {**logits, "mask": prediction.probability}


def _link(step: str, output: str, sums: ErrorSums) -> Link:
    return Link(step, output, sums.snr_db, sums.psnr_db, sums.max_abs, not sums.snr_db >= LINK_BAR_DB)


# ---------------------------------------------------------------------------------------------------------------------
# Op by op


def _paired(
    package: PackageRunner, model: onnx.ModelProto, *, given: bool
) -> tuple[onnx.ModelProto, list[Compared], tuple[str, ...]]:
    """The model that shares most values with the package, those values, and the package's values without partner.

    A model that was given may be from before its simplification, in which few values have partners.
    """
    from .capture.trace import values_of

    ours = values_of_program(package.program)
    compared = compared_values(package.program, ours, values_of(model))
    if given and len(compared) < len(ours) / 2:
        from .capture.simplify import simplify

        simplified, _ = simplify(model)
        better = compared_values(package.program, ours, values_of(simplified))
        if len(better) > len(compared):
            model, compared = simplified, better
    if not compared:
        raise DataError(
            f"None of the package's {len(ours)} values has a partner in the model.",
            hint="is the package made from this model?",
        )
    have = {op.name for op in compared}
    return model, compared, tuple(value.name for value in ours if value.name not in have)


def values_of_program(program: CoreMLProgram) -> list[Value]:
    """Every value that a package's function computes, nested blocks aside."""
    return [
        Value(result.name, step.operation.type, tuple(step.operation.references), _static(result.shape))
        for step in program.plan.block.steps
        for result in step.results
    ]


def _static(shape: tuple[int | None, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None or None in shape else tuple(side or 0 for side in shape)


def compared_values(program: CoreMLProgram, ours: Sequence[Value], theirs: Sequence[Value]) -> list[Compared]:
    """What can be compared, in the package's order, and what may be expected of each."""
    from .verify.blame import Compared
    from .verify.pairing import nearest_paired, pair_values
    from .verify.promise import Promise, promises_of

    pairs = {**pair_values(theirs, ours), **_image_mask(program, theirs)}
    before = nearest_paired(ours, pairs)
    promises = promises_of(program.function)
    compared = []
    for value in ours:
        if value.name in pairs:
            inputs, covers = before[value.name]
            promise = promises.get(value.name, Promise())
            for name in covers:
                promise = promise.joined(promises.get(name, Promise()))
            if program.environment.arithmetic == "fp16":
                promise = promise.in_half()
            compared.append(Compared(value.name, pairs[value.name], value.kind, inputs, covers, promise))
    return compared


# A package whose output is an image ends in `probability`, `mask_scaled` (times 255) and `mask` (rounded); the ONNX
# model's `mask` is the first of them.
_MASK_STAGES = {"probability": "P", "mask_scaled": "255 P", "mask": "round 255 P"}


def _image_mask(program: CoreMLProgram, theirs: Sequence[Value]) -> dict[str, str]:
    """The last values of a package that gives its mask as an image → the model's mask."""
    if "mask" not in {value.name for value in theirs}:
        return {}
    if not any(feature.kind == "image" and feature.name == "mask" for feature in program.outputs):
        return {}
    return {name: "mask" for name in program.names if _mask_stage(name)}


def _mask_stage(name: str) -> str:
    from .verify.pairing import SUFFIXES

    return _MASK_STAGES.get(SUFFIXES.sub("", name), "")


def _expected(op: Compared, reference: Mapping[str, np.ndarray], *, image: bool) -> np.ndarray | None:
    """The value that an operation should give: the partner's, scaled and rounded where the mask is an image."""
    import numpy as np

    value = reference.get(op.reference)
    stage = _mask_stage(op.name) if image and op.reference == "mask" else ""
    if value is None or stage in ("", "P"):
        return value
    scaled = value * np.float32(MASK_STEPS)
    return np.round(scaled) if stage == "round 255 P" else scaled


@dataclass
class _Comparison:
    """The runs of one package on one photograph after another, each value compared as it is computed."""

    tally: Tally
    compared: Sequence[Compared]
    image: bool
    expected: dict[str, np.ndarray | None] = field(default_factory=dict)

    def start(self, reference: Mapping[str, np.ndarray]) -> None:
        """Take a photograph's reference."""
        self.expected = {op.name: _expected(op, reference, image=self.image) for op in self.compared}

    def run(self, runner: PackageRunner, frame: Frame, sums: dict[str, ErrorSums], *, replace: bool) -> None:
        """Run the package; with `replace` every operation goes on from the reference's value."""
        import torch

        def hook(name: str, value: Any) -> Any:
            if name not in self.expected or not isinstance(value, torch.Tensor):
                return None
            exact = self.expected[name]
            self.tally.add(sums, name, exact, value.detach().cpu().numpy())
            if not replace or exact is None or exact.shape != tuple(value.shape):
                return None
            return torch.from_numpy(exact).to(device=value.device, dtype=value.dtype)

        runner.program.predict(runner.inputs_of(frame), hook=hook)


def _compare(
    package: PackageRunner,
    model: onnx.ModelProto,
    compared: Sequence[Compared],
    frames: Sequence[Frame],
    spec: PortraitSpec,
    *,
    isolate: bool,
    progress: Any,
) -> Tally:
    """Run both sides on every photograph; with `isolate` the package also on the reference's values, as declared and
    in float32."""
    from .capture.runners import feeds_of
    from .capture.trace import OnnxTrace
    from .runtime.runner import PackageRunner
    from .verify.blame import Tally

    trace = OnnxTrace(model, [op.reference for op in compared])
    tally = Tally(compared)
    image = package.output.kind == "image"
    comparison = _Comparison(tally, compared, image)
    exact: PackageRunner | None = None
    if isolate and package.program.environment.arithmetic != "fp32":
        exact = PackageRunner(package.program.program.path, arithmetic="fp32")
    for done, frame in enumerate(frames):
        comparison.expected.clear()  # before the next photograph's values come into memory
        comparison.start(trace.run(feeds_of(frame, spec)))
        comparison.run(package, frame, tally.whole, replace=False)
        if isolate:
            comparison.run(package, frame, tally.own, replace=True)
        if exact is not None:
            comparison.run(exact, frame, tally.exact, replace=True)
        progress(done + 1, len(frames))
    return tally
