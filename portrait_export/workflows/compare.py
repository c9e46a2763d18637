"""Compare every value that a package and an ONNX model both compute, while they are computed.

Only the ONNX model's values for one photo are in memory; everything else is kept as sums.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..artifacts import Frame, Value
from ..errors import DataError
from ..preprocessing import PortraitSpec

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from ..capture.onnx.trace import OnnxTrace
    from ..runtime.model import CoreMLProgram
    from ..runtime.runner import PackageRunner
    from ..verify.blame import Tally, ValuePair
    from ..verify.error_sums import ErrorSums
    from ..verify.rescaled import AffineFit

MASK_STEPS = 255.0  # of an 8-bit mask


def pair(
    package: PackageRunner, model: onnx.ModelProto, *, given: bool
) -> tuple[onnx.ModelProto, list[ValuePair], tuple[str, ...]]:
    """Pair the package's values with the model's.

    A model from the user (`given`) may not be simplified yet; it is simplified here if that pairs more values.

    Returns:
        The model that shares most values with the package, the pairs, and the package's values without a counterpart.
    """
    from ..capture.onnx.trace import values_of
    from ..runtime.values import values_of_program

    ours = values_of_program(package.program)
    compared = _compared_values(package.program, ours, values_of(model))
    if given and len(compared) < len(ours) / 2:
        from ..capture.simplify import simplify

        simplified, _ = simplify(model)
        better = _compared_values(package.program, ours, values_of(simplified))
        if len(better) > len(compared):
            model, compared = simplified, better
    if not compared:
        raise DataError(
            f"None of the package's {len(ours)} values has a counterpart in the model.",
            hint="check that the package was made from this model.",
        )
    paired = {op.name for op in compared}
    return model, compared, tuple(value.name for value in ours if value.name not in paired)


def _compared_values(program: CoreMLProgram, ours: Sequence[Value], theirs: Sequence[Value]) -> list[ValuePair]:
    """List the pairs in the package's order, each with the accuracy that its stored types allow."""
    from ..verify.blame import ValuePair
    from ..verify.pairing import nearest_paired, pair_values
    from ..verify.promise import Promise, promises_of

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
            compared.append(ValuePair(value.name, pairs[value.name], value.kind, inputs, covers, promise))
    return compared


# A package with an image output ends in `probability`, `mask_scaled` (times 255) and `mask` (rounded); the ONNX model's
# `mask` is the first of them.
_MASK_STAGES = {"probability": "P", "mask_scaled": "255 P", "mask": "round 255 P"}


def _image_mask(program: CoreMLProgram, theirs: Sequence[Value]) -> dict[str, str]:
    """Pair the last values of a package with an image output with the model's mask."""
    if "mask" not in {value.name for value in theirs}:
        return {}
    if not any(feature.kind == "image" and feature.name == "mask" for feature in program.outputs):
        return {}
    return {name: "mask" for name in program.names if _mask_stage(name)}


def _mask_stage(name: str) -> str:
    from ..mil.mixed import SUFFIXES

    return _MASK_STAGES.get(SUFFIXES.sub("", name), "")


def _expected(op: ValuePair, reference: Mapping[str, np.ndarray], *, image: bool) -> np.ndarray | None:
    """Return the expected value of an operation: its counterpart's, scaled and rounded for an image mask."""
    import numpy as np

    value = reference.get(op.reference)
    stage = _mask_stage(op.name) if image and op.reference == "mask" else ""
    if value is None or stage in ("", "P"):
        return value
    scaled = value * np.float32(MASK_STEPS)
    return np.round(scaled) if stage == "round 255 P" else scaled


@dataclass
class _Comparison:
    """Runs a package on photos and compares each value while it is computed."""

    tally: Tally
    compared: Sequence[ValuePair]
    image: bool
    fits: Mapping[str, AffineFit] = field(default_factory=dict)
    expected: dict[str, np.ndarray | None] = field(default_factory=dict)

    def start(self, reference: Mapping[str, np.ndarray]) -> None:
        """Set the reference values of a photo."""
        self.expected = {op.name: _expected(op, reference, image=self.image) for op in self.compared}
        for name, fit in self.fits.items():
            value = self.expected[name]
            self.expected[name] = None if value is None else fit.apply(value)

    def run(self, runner: PackageRunner, frame: Frame, sums: dict[str, ErrorSums], *, replace: bool) -> None:
        """Run the package; with `replace`, every operation gets the reference's values as inputs."""
        import torch

        def hook(name: str, value: Any) -> Any:
            if name not in self.expected or not isinstance(value, torch.Tensor):
                return None
            exact = self.expected[name]
            self.tally.add(sums, name, exact, value.detach().cpu().numpy())
            if not replace or exact is None or exact.shape != tuple(value.shape):
                return None
            return torch.from_numpy(exact).to(device=value.device, dtype=value.dtype)

        runner.predict(frame, hook=hook)


@dataclass(frozen=True)
class _Sides:
    """A package and its model, to be compared on some photos."""

    package: PackageRunner
    exact: PackageRunner | None
    trace: OnnxTrace
    compared: Sequence[ValuePair]
    frames: Sequence[Frame]
    feeds: Callable[[Frame], Mapping[str, np.ndarray]]
    isolate: bool

    def tally(self, fits: Mapping[str, AffineFit], progress: Callable[[int, int], None]) -> Tally:
        """Compare every value on every photo. Values with a fit are expected rescaled."""
        from ..verify.blame import Tally

        tally = Tally(self.compared, rescaled={name: str(fit) for name, fit in fits.items()})
        comparison = _Comparison(tally, self.compared, self.package.output.kind == "image", fits)
        for done, frame in enumerate(self.frames):
            comparison.expected.clear()  # free them before the next photo's values are in memory
            comparison.start(self.trace.run(self.feeds(frame)))
            comparison.run(self.package, frame, tally.whole, replace=False)
            if self.isolate:
                comparison.run(self.package, frame, tally.own, replace=True)
            if self.exact is not None:
                comparison.run(self.exact, frame, tally.exact, replace=True)
            progress(done + 1, len(self.frames))
        return tally

    def fits(self, names: Collection[str]) -> dict[str, AffineFit]:
        """The values among some that are the reference's times a factor plus an offset."""
        from ..verify.rescaled import AffineFit

        fits = {name: AffineFit() for name in names}
        counterparts = [op for op in self.compared if op.name in fits]
        image = self.package.output.kind == "image"
        for frame in self.frames:
            reference = self.trace.run(self.feeds(frame))
            expected = {op.name: _expected(op, reference, image=image) for op in counterparts}

            def hook(name: str, value: Any, expected: Mapping[str, np.ndarray | None] = expected) -> None:
                exact = expected.get(name)
                if exact is not None and exact.shape == tuple(value.shape):
                    fits[name].add(exact, value.detach().cpu().numpy())

            self.package.predict(frame, hook=hook)
        return {name: fit for name, fit in fits.items() if fit.explains}


def compare_values(
    package: PackageRunner,
    model: onnx.ModelProto,
    compared: Sequence[ValuePair],
    frames: Sequence[Frame],
    spec: PortraitSpec,
    *,
    isolate: bool,
    progress: Callable[[int, int], None],
) -> Tally:
    """Run both sides on every photo; with `isolate`, also run each operation on the reference's values, in the
    declared types and in float32.

    Values that a pass of the compiler rescaled are compared with the rescaled reference, if what reads them is right.
    """
    from ..capture.onnx.trace import OnnxTrace
    from ..capture.runners import feeds_alone
    from ..runtime.runner import PackageRunner
    from ..verify.rescaled import excused

    exact: PackageRunner | None = None
    if isolate and package.program.environment.arithmetic != "fp32":
        exact = PackageRunner(package.program.program.path, arithmetic="fp32")
    trace = OnnxTrace(model, [op.reference for op in compared])
    sides = _Sides(package, exact, trace, compared, frames, lambda frame: feeds_alone(frame, spec, model), isolate)
    tally = sides.tally({}, progress)
    fits = sides.fits(tally.far_off) if tally.far_off else {}
    if not fits:
        return tally
    rescaled = sides.tally(fits, progress)
    spared = excused(compared, fits, rescaled.blame())
    if not spared:
        return tally
    if len(spared) == len(fits):
        return rescaled
    return sides.tally({name: fits[name] for name in spared}, progress)
