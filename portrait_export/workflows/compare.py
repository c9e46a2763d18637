"""Compare every value that a package and an ONNX model both compute, while they are computed.

Only the ONNX model's values for one photo are in memory; everything else is kept as sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..artifacts import Frame, Value
from ..errors import DataError
from ..preprocessing import PortraitSpec

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from ..runtime.model import CoreMLProgram
    from ..runtime.runner import PackageRunner
    from ..verify.blame import Tally, ValuePair
    from ..verify.error_sums import ErrorSums

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
    expected: dict[str, np.ndarray | None] = field(default_factory=dict)

    def start(self, reference: Mapping[str, np.ndarray]) -> None:
        """Set the reference values of a photo."""
        self.expected = {op.name: _expected(op, reference, image=self.image) for op in self.compared}

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

        runner.program.predict(runner.inputs_of(frame), hook=hook)


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
    declared types and in float32."""
    from ..capture.onnx.trace import OnnxTrace
    from ..capture.runners import feeds_of
    from ..runtime.runner import PackageRunner
    from ..verify.blame import Tally

    trace = OnnxTrace(model, [op.reference for op in compared])
    tally = Tally(compared)
    image = package.output.kind == "image"
    comparison = _Comparison(tally, compared, image)
    exact: PackageRunner | None = None
    if isolate and package.program.environment.arithmetic != "fp32":
        exact = PackageRunner(package.program.program.path, arithmetic="fp32")
    for done, frame in enumerate(frames):
        comparison.expected.clear()  # free them before the next photo's values are in memory
        comparison.start(trace.run(feeds_of(frame, spec)))
        comparison.run(package, frame, tally.whole, replace=False)
        if isolate:
            comparison.run(package, frame, tally.own, replace=True)
        if exact is not None:
            comparison.run(exact, frame, tally.exact, replace=True)
        progress(done + 1, len(frames))
    return tally
