"""Find the operation that causes the difference between a package and its model.

    PyTorch ─ traced ONNX ─ simplified ONNX        outputs compared
                                  └─ package        every value compared, as it is computed

This file compares the first row; `compare.py` compares the package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..artifacts import Frame, LabelledFrame
from ..errors import UsageError
from ..inputs.frames import load_frames, stand_in_depth, stand_in_note
from ..inputs.sequences import with_carried
from ..inputs.sources import ModelSource, load_model
from ..preprocessing import GRAY, PortraitSpec
from ..utils.plain import plain_data
from ..utils.stages import Observer, Stages
from .compare import compare_values, pair
from .provenance import made_from_others, provenance_of, written_in

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from ..artifacts import Prediction, Runner
    from ..runtime.runner import PackageRunner
    from ..verify.blame import BlameReport
    from ..verify.error_sums import ErrorSums

PHOTOS = 3  # of the calibration set, if the user passes none
FEW_PAIRED = 0.5  # share of a package's values; 0.98 and more with its own network, 0.08 and less with another's
LINK_BAR_DB = 60.0  # between float32 networks that should be equal; 100 dB and more was measured


@dataclass(frozen=True)
class BlameRequest:
    """The arguments of `find_blame`.

    Attributes:
        package: the .mlpackage.
        source: the model it was made from, at the package's size.
        onnx: an ONNX file to compare with instead.
        images: photos; empty uses a few of the calibration set.
        isolate: also run each operation on the reference's inputs, to separate inherited error from its own.
        arithmetic: of our runtime: `as_typed`, `fp16` or `fp32`.
        bar_db: an operation with a lower SNR is bad; None is 30 dB with inherited error, and for an isolated
            operation the SNR that its stored types allow.
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
    """The comparison of one output of two consecutive models, from PyTorch to the simplified ONNX.

    Attributes:
        step: the two models, such as `PyTorch → traced ONNX`.
        output: `logits` or `mask`.
        snr_db, psnr_db, max_abs: the second against the first, over all photos.
        bad: below LINK_BAR_DB.
    """

    step: str
    output: str
    snr_db: float
    psnr_db: float
    max_abs: float
    bad: bool


@dataclass(frozen=True)
class BlameResult:
    """The comparison of a package with its model.

    Attributes:
        package, reference: names of the two sides.
        photographs: names of the photos.
        stand_in_depth: names of the photos without a depth map, which got `frames.stand_in_depth`.
        arithmetic: of our runtime.
        links: the outputs of the models before the package.
        found: the comparison operation by operation.
        unpaired: the package's values without a counterpart in the ONNX model.
        values: how many values the package computes.
        held_bytes: memory of the reference's values for one photo.
        other_weights: that the package was made from other weights, in one sentence; else empty.
    """

    package: str
    reference: str
    photographs: tuple[str, ...]
    stand_in_depth: tuple[str, ...]
    arithmetic: str
    links: tuple[Link, ...]
    found: BlameReport
    unpaired: tuple[str, ...]
    values: int
    held_bytes: int
    other_weights: str = ""

    @property
    def few_paired(self) -> bool:
        """Whether most values have no counterpart, as if the package were of another network."""
        return len(self.unpaired) > (1 - FEW_PAIRED) * self.values

    @property
    def other_network(self) -> bool:
        """Whether the package is of another network: it has other weights, and few of its values a counterpart."""
        return self.few_paired and bool(self.other_weights)

    @property
    def passed(self) -> bool:
        """Whether the two are one network, and no operation and no earlier step is bad."""
        return not self.found.bad and not any(link.bad for link in self.links) and not self.other_network

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        first = self.found.first
        data: dict[str, Any] = plain_data(
            {
                "package": self.package,
                "reference": self.reference,
                "photographs": list(self.photographs),
                "stand_in_depth": list(self.stand_in_depth),
                "arithmetic": self.arithmetic,
                "other_weights": self.other_weights,
                "other_network": self.other_network,
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


def find_blame(request: BlameRequest, observer: Observer) -> BlameResult:
    """Compare a package with its model, value by value.

    Raises:
        PortraitError: something cannot be read or run, or the two share no value. A bad operation does not raise.
    """
    from ..capture.onnx.trace import size_bytes, values_of
    from ..imaging.photo import open_photo
    from ..runtime.runner import PackageRunner

    _refuse_asset(request.package)
    for path in request.images:
        open_photo(path)  # before minutes of work, not after
    stages = Stages(observer)
    with stages.stage("load") as stage:
        package = PackageRunner(request.package, arithmetic=request.arithmetic)
        name, runners, simplified, spec, provenance = _reference(request, package.spec)
        other = made_from_others(name, provenance, request.package.name, package.program.metadata.user_defined)
        stage.warnings += [other] if other else []
        frames, without_depth = _frames(request.images, spec)
        frames = _carried_to(frames, package, runners, simplified, spec)
        stage.summary = f"{request.package.name} and {name}, {len(frames)} photos"
        if without_depth:
            stage.warnings.append(stand_in_note(len(without_depth), len(frames)))
    with stages.stage("outputs") as stage:
        links = _links(runners, frames)
        worst = min((link.snr_db for link in links), default=math.nan)
        steps = " → ".join(runner.name for runner in runners)
        stage.summary = f"{steps}: lowest SNR {worst:.1f} dB" if links else "no model before the ONNX file"
    with stages.stage("compare") as stage:
        simplified, compared, unpaired = pair(package, simplified, given=request.onnx is not None)
        wanted = [op.reference for op in compared]
        held = size_bytes(values_of(simplified), wanted)
        tally = compare_values(
            package, simplified, compared, frames, spec, isolate=request.isolate, progress=stage.progress
        )
        total = len(package.program.names)
        stage.summary = f"{len(compared)} of {total} values paired, {held / 1e6:.0f} MB held per photo"
        stage.details = [f"no counterpart: {value}" for value in unpaired]
    half = request.arithmetic != "fp32"
    found = tally.blame(bar_db=request.bar_db, own_bar_db=request.bar_db, half=half)
    names = tuple(frame.name for frame in frames)
    return BlameResult(
        package=request.package.name,
        reference=name,
        photographs=names,
        stand_in_depth=without_depth,
        arithmetic=request.arithmetic,
        links=links,
        found=found,
        unpaired=unpaired,
        values=total,
        held_bytes=held,
        other_weights=other,
    )


def _refuse_asset(package: Path) -> None:
    """Raise UsageError for a Core AI asset, with what to do instead."""
    from ..coreai.asset import is_asset

    if is_asset(package):
        raise UsageError(
            f"{package.name} is a Core AI asset, whose values between operations are not read: Apple's runtime gives"
            " outputs alone, and the asset keeps no names of the other values.",
            code="core-ai-asset",
            hint="export the network with `portrait-export coreml` and blame that package: both share every step up to"
            " the simplified ONNX file. An asset with `precision=fp32` tells whether half precision is the reason.",
        )


# ---------------------------------------------------------------------------------------------------------------------
# The reference


class _Reference(NamedTuple):
    """Its name, the runners before the package in order, the simplified model, preprocessing and provenance."""

    name: str
    runners: list[Runner]
    simplified: onnx.ModelProto
    spec: PortraitSpec
    provenance: Mapping[str, str]


def _reference(request: BlameRequest, saved: PortraitSpec | None) -> _Reference:
    source = request.source
    if request.onnx is not None:
        if source.model or source.checkpoint or source.random_weights:
            raise UsageError("`onnx=` cannot be used with `model=`, `checkpoint=` or `random_weights=True`.")
        return _given_onnx(request.onnx, saved)
    from ..capture.runners import OnnxRunner
    from ..capture.simplify import simplify

    if saved is not None:
        source = replace(source, size=(saved.height, saved.width))
    model = load_model(source)
    traced = model.to_onnx()
    simplified, _ = simplify(traced)
    runners: list[Runner] = [
        model.open_runner(),
        OnnxRunner(traced, model.spec, name="traced ONNX"),
        OnnxRunner(simplified, model.spec, name="simplified ONNX"),
    ]
    return _Reference(model.name, runners, simplified, model.spec, provenance_of(model))


def _given_onnx(file: Path, saved: PortraitSpec | None) -> _Reference:
    from ..capture.export import spec_of
    from ..capture.onnx.load import load_onnx

    model = load_onnx(file)
    written = spec_of(model)
    if saved is None and written is None:
        raise UsageError(
            f"Neither the package nor {file.name} contains its preprocessing.",
            hint="use a package or ONNX file written by portrait-export.",
        )
    if written is None and saved is not None and {entry.name for entry in model.graph.input} != set(saved.inputs):
        return _users_onnx(file, saved)
    spec = saved or written
    assert spec is not None
    return _Reference(file.name, [], model, spec, written_in(model))


def _users_onnx(file: Path, saved: PortraitSpec) -> _Reference:
    """A user's own file, with inputs of any name, read with the preprocessing that the package states.

    Raises UsageError for one that takes several pictures: the package does not say which of its inputs takes which.
    """
    from ..capture.foreign.options import ForeignOptions
    from ..capture.runners import OnnxRunner
    from ..capture.simplify import simplify

    if saved.pictures:
        names = ", ".join(picture.name for picture in saved.pictures)
        raise UsageError(
            f"The package takes further pictures besides the photo ({names}), and which inputs of {file.name} take"
            " them is not known.",
            hint="pass the simplified .onnx that the export wrote next to the package.",
        )
    gray = saved.color == GRAY
    options = ForeignOptions(
        onnx=file,
        mean=saved.mean * 3 if gray else saved.mean,
        std=saved.std * 3 if gray else saved.std,
        scale=saved.scale,
        color=None if gray else saved.color,
        resize=saved.resize,
        positive=saved.positive,
        threshold=saved.threshold,
    )
    model = load_model(ModelSource(size=(saved.height, saved.width), foreign=options))
    captured = model.to_onnx()
    simplified, _ = simplify(captured)
    runners: list[Runner] = [
        model.open_runner(),
        OnnxRunner(captured, model.spec, name="adapted ONNX"),
        OnnxRunner(simplified, model.spec, name="simplified ONNX"),
    ]
    return _Reference(file.name, runners, simplified, model.spec, provenance_of(model))


def _frames(images: Sequence[Path], spec: PortraitSpec) -> tuple[list[Frame], tuple[str, ...]]:
    """Return photos at the network's size, and the names of those without a required depth map.

    By default they are spread evenly over the calibration set.
    """
    from ..imaging.companions import with_pictures
    from ..imaging.photo import open_photo
    from ..imaging.placement import to_frame

    if not images:
        chosen = load_frames(None, spec).spread(PHOTOS)
        return [labelled.frame for labelled in chosen], chosen.without_depth
    reads_depth = "depth" in spec.inputs
    photos = [open_photo(path) for path in images]
    frames = [to_frame(photo, spec, stand_in_depth(photo.pixels) if reads_depth else None)[0] for photo in photos]
    frames = [with_pictures(frame, None, spec) for frame in frames]
    return frames, tuple(photo.name for photo in photos) if reads_depth else ()


def _carried_to(
    frames: list[Frame], package: PackageRunner, runners: Sequence[Runner], model: onnx.ModelProto, spec: PortraitSpec
) -> list[Frame]:
    """For a recurrent package, the photos as the frames of one sequence, each with what the model carries to it."""
    if not package.carried:
        return frames
    from ..capture.runners import OnnxRunner

    reference = runners[0] if runners else OnnxRunner(model, spec, name="the ONNX file")
    film = [LabelledFrame(replace(frame, continues=index > 0)) for index, frame in enumerate(frames)]
    return [labelled.frame for labelled in with_carried(film, reference)]


def _links(runners: Sequence[Runner], frames: Sequence[Frame]) -> tuple[Link, ...]:
    """Compare each runner's outputs with those of the runner before it."""
    from ..verify.error_sums import ErrorSums

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
