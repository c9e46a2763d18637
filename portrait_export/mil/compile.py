"""Compile a lowered program with coremltools."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts import PRECISIONS, ArrayFeature, Feature, ImageFeature, Lowered
from ..errors import PackageError, nearest
from ..utils.files import TEMPORARY_HINT, cannot_write
from ..utils.quiet import quiet
from . import coreml
from .literals import shorten_literals
from .mixed import Kept

if TYPE_CHECKING:
    import numpy as np

_CAST_TO_HALF = "common::add_fp16_cast"  # coremltools' passes
_FUSE_TO_BATCH_NORM = "common::fuse_elementwise_to_batchnorm"


@dataclass(frozen=True)
class CompiledProgram:
    """The content of a package, in memory.

    Attributes:
        spec: the Core ML `Model` protobuf.
        weights: the content of `weight.bin`; empty if every constant is in the spec itself.
        originals: the large constants as they were compiled, by name, for the audit; in float32 if they are too small
            for half precision.
        kept: the operations that `keep_fp32` kept in float32, name → type.
    """

    spec: Any
    weights: bytes
    originals: Mapping[str, np.ndarray] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)

    def copy(self) -> CompiledProgram:
        """The same program with a specification of its own, which may be changed."""
        spec = type(self.spec)()
        spec.CopyFrom(self.spec)
        return replace(self, spec=spec)


def compile_program(
    lowered: Lowered,
    *,
    precision: str = "fp16",
    keep_fp32: Sequence[str] = (),
    balanced: bool = True,
) -> CompiledProgram:
    """Run coremltools' passes over a program and serialize it.

    Args:
        lowered: the program; the passes change it, so it must not be compiled twice.
        precision: `fp16` (activations and weights in half) or `fp32`.
        keep_fp32: operator types and names of values, as patterns, that stay in float32 (see `mixed.Kept`).
        balanced: round weights to half precision so that errors cancel (see `balanced.halves`), not to nearest.
    Raises:
        UsageError: a pattern of `keep_fp32` matches no operation.
    """
    if precision not in PRECISIONS:
        raise PackageError(
            f"There is no precision {precision!r}.", hint=nearest(precision, PRECISIONS, what="precision")
        )
    ct = coreml.coremltools()
    pipeline = ct.PassPipeline()
    if _is_mistaken_for_batch_norm(lowered.program.functions["main"]):
        pipeline.remove_passes({_FUSE_TO_BATCH_NORM})
    originals: dict[str, np.ndarray] = {}
    recording = coreml.recording_pass()
    pipeline.append_pass(recording)
    pipeline.set_options(recording, {"into": originals})
    too_small: dict[str, np.ndarray] = {}
    kept = Kept(keep_fp32)
    if precision == "fp16":
        before_the_cast: dict[str, dict[str, Any]] = {coreml.underflow_pass(): {"into": too_small}}
        if balanced:
            before_the_cast[coreml.balancing_pass()] = {"becomes_half": kept.becomes_half}
        for name, options in before_the_cast.items():
            pipeline.insert_pass(pipeline.passes.index(_CAST_TO_HALF), name)
            pipeline.set_options(name, options)
    lowered.program.functions["main"].set_output_types([_output_type(ct, feature) for feature in lowered.outputs])
    with quiet(), _full_disk_reported(), coreml.validated_at_the_end(lowered.program):
        model = ct.convert(
            lowered.program,
            source="milinternal",
            convert_to="mlprogram",
            inputs=[_input_type(ct, feature) for feature in lowered.inputs],
            minimum_deployment_target=coreml.target(lowered.target),
            compute_precision=_compute_precision(ct, precision, kept),
            skip_model_load=True,
            pass_pipeline=pipeline,
        )
        weights = Path(model.weights_dir) / "weight.bin"
        content = weights.read_bytes() if weights.exists() else b""
    kept.require_all_matched()
    spec = model.get_spec()
    shorten_literals(spec)
    _check_features(spec, lowered)
    return CompiledProgram(
        spec=spec, weights=content, originals=_with_lost_values(originals, too_small), kept=kept.found
    )


def _is_mistaken_for_batch_norm(block: Any) -> bool:
    """Whether coremltools' pass would make a batch norm of a scale and a shift that are none.

    It looks at the scale's shape alone: one channel times a constant per channel makes several, and a shift of a single
    number is no vector of one per channel.
    """
    for operation in block.operations:
        if any(map(_is_mistaken_for_batch_norm, operation.blocks)):
            return True
        if operation.op_type != "mul":
            continue
        scale, scaled = _constant_and_other(operation)
        if scale is None or len(scale.shape) not in (3, 4) or len(scaled.shape) != 4 or scale.shape[-3] == 1:
            continue
        shifts = [_constant_and_other(child)[0] for child in operation.outputs[0].child_ops if child.op_type == "add"]
        several = [shift for shift in shifts if shift is not None and len(shift.shape) in (3, 4)]
        if scaled.shape[1] == 1 or any(shift.shape[-3] != scale.shape[-3] for shift in several):
            return True
    return False


def _constant_and_other(operation: Any) -> tuple[Any, Any]:
    """The constant operand of a binary operation, None if both are computed, and the other one."""
    x, y = operation.x, operation.y
    if y.val is not None:
        return y, x
    return (x, y) if x.val is not None else (None, x)


def _with_lost_values(
    originals: Mapping[str, np.ndarray], too_small: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The constants in half precision, with those that it cannot hold as they were before the cast."""
    found = dict(originals)
    for name, half in originals.items():
        wide = too_small.get(name.removesuffix("_to_fp16"))
        if wide is not None and wide.shape == half.shape and _is_rounded(wide, half):
            found[name] = wide
    return found


def _is_rounded(wide: np.ndarray, half: np.ndarray) -> bool:
    """Whether each value is one of the two beside the other in half precision."""
    import numpy as np

    nearest = wide.astype(half.dtype)
    low, high = (np.nextafter(nearest, half.dtype.type(end)) for end in (-np.inf, np.inf))
    return bool(((low <= half) & (half <= high)).all())


def _compute_precision(ct: Any, precision: str, kept: Kept) -> Any:
    if precision == "fp32":
        return ct.precision.FLOAT32
    if not kept.patterns:
        return ct.precision.FLOAT16
    return ct.transform.FP16ComputePrecision(op_selector=kept.becomes_half)


@contextmanager
def _full_disk_reported() -> Iterator[None]:
    """Raise OutputError if coremltools cannot write to the temporary folder.

    coremltools' weight writer raises a RuntimeError for every failure there.
    """
    folder = Path(tempfile.gettempdir())
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error, hint=TEMPORARY_HINT) from error
    except RuntimeError as error:
        if "MIL FileWriter" not in str(error):
            raise
        raise cannot_write(folder, OSError(str(error).rstrip(".")), hint=TEMPORARY_HINT) from error


def _input_type(ct: Any, feature: Feature) -> Any:
    if isinstance(feature, ImageFeature):
        channels = 1 if feature.color == "grayscale" else 3
        sizes = feature.sizes or ((feature.height, feature.width),)
        return ct.ImageType(
            name=feature.name,
            shape=_shape(ct, [(1, channels, height, width) for height, width in sizes]),
            scale=feature.scale,
            bias=feature.bias[0] if channels == 1 else list(feature.bias),
            color_layout=_layout(ct, feature),
        )
    return ct.TensorType(
        name=feature.name, shape=_shape(ct, feature.shapes or (feature.shape,)), dtype=_numpy_type(feature)
    )


def _shape(ct: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    """One shape, or several with the first as default."""
    return shapes[0] if len(shapes) == 1 else ct.EnumeratedShapes(shapes=list(shapes), default=shapes[0])


def _output_type(ct: Any, feature: Feature) -> Any:
    if isinstance(feature, ImageFeature):
        return ct.ImageType(name=feature.name, color_layout=_layout(ct, feature))
    return ct.TensorType(name=feature.name, dtype=_numpy_type(feature))


def _layout(ct: Any, feature: ImageFeature) -> Any:
    return ct.colorlayout[feature.color.upper()]


def _numpy_type(feature: ArrayFeature) -> Any:
    import numpy as np

    return {"fp32": np.float32, "fp16": np.float16, "int32": np.int32, "int8": np.int8}[feature.dtype]


def _check_features(spec: Any, lowered: Lowered) -> None:
    """Raise PackageError unless the compiled inputs and outputs are those of the lowered program, in kind and name."""
    for side, features in (("input", lowered.inputs), ("output", lowered.outputs), ("state", lowered.states)):
        asked = [(feature.name, isinstance(feature, ImageFeature)) for feature in features]
        found = [(f.name, f.type.WhichOneof("Type") == "imageType") for f in getattr(spec.description, side)]
        if asked != found:
            raise PackageError(f"The compiled program's {side}s are {found}, not {asked} (name, is an image).")
