"""Fold an ONNX model with onnxsim: shapes are computed, constants folded, batch norms merged."""

from __future__ import annotations

import onnx

from ...errors import CaptureError, first_line
from ...utils.quiet import quiet
from ..onnx.light import infer_shapes
from ..onnx.stored import StoredModel
from .apart import Apart, Simplifier, answer
from .untouched import join, split

# A folded constant may not be larger than this: expanding a small computation into a large weight saves nothing.
LARGEST_FOLDED = "4MB"

OUR_PRODUCER = "portrait-export"  # what `export_onnx` writes; those graphs are known to pass

# Optimizers of onnxsim that would prevent our rules. Versions that do not know a name ignore it.
SKIPPED = (
    "fuse_matmul_add_bias_into_gemm",  # the first three put layout operators around matrix products
    "fuse_matmul_add_bias_into_gemm_batched",
    "fuse_qkv",
    "fuse_mul_into_conv",  # removes GELU's ½ before GELU is recognised; affine-before-conv does the same later
    "fuse_preceding_mul_into_conv",
)


def fold_constants(model: StoredModel) -> tuple[StoredModel, str]:
    """Run onnxsim; for models from elsewhere in a process of its own, as its C++ code crashes on some.

    Returns:
        The folded model, its inputs and outputs in the same order under the same names; and a note, empty where all
        went well, with the reason why the model is unchanged.
    """
    outline = model.outline
    light, weights = split(outline)
    run = _run if outline.producer_name == OUR_PRODUCER else _run_apart
    try:
        folded = join(run(_with_output_shapes(model.with_outline(light).whole())), weights)
    except Exception as error:  # the C++ code raises anything; the unfolded model is used, with a note
        return model, f"onnxsim left the model as it was: {first_line(error)}"
    for before, after in ((outline.graph.input, folded.graph.input), (outline.graph.output, folded.graph.output)):
        constants = {tensor.name for tensor in outline.graph.initializer}
        wanted = [value.name for value in before if value.name not in constants]
        if wanted != [value.name for value in after]:
            raise CaptureError(f"onnxsim changed the model's interface from {wanted}.", code="interface-changed")
    return model.with_outline(folded), ""


def _with_output_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose outputs have shapes, without which onnxsim refuses; the model itself where they do.

    Dimensions that cannot be inferred before constants are folded stay open.
    """
    unknown = {value.name for value in model.graph.output if not value.type.tensor_type.HasField("shape")}
    if not unknown:
        return model
    inferred = {value.name: value for value in infer_shapes(model, data_prop=True).graph.output}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.output:
        if value.name in unknown:
            value.CopyFrom(inferred[value.name])
    return copy


def _run(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxsim

    with quiet(prints=True, native=True):
        folded, _ = onnxsim.simplify(
            model, check_n=0, tensor_size_threshold=LARGEST_FOLDED, skipped_optimizers=list(SKIPPED)
        )
    return folded


_run_apart: Simplifier = Apart(__name__)


def serve() -> None:
    """What the other process runs."""
    answer(_run)
