"""An ONNX model in, the same folded by onnxsim out: shapes computed, constants folded, batch norms merged; quietly."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING

from ...errors import CaptureError

if TYPE_CHECKING:
    import onnx

# A folded constant may not be larger than this: expanding a small computation into a large weight is no saving.
LARGEST_FOLDED = "4MB"

# Optimizers of onnxsim that would stand in our rules' way. Names that another version does not know are ignored there.
SKIPPED = (
    "fuse_matmul_add_bias_into_gemm",  # the first three put layout operators around matrix products
    "fuse_matmul_add_bias_into_gemm_batched",
    "fuse_qkv",
    "fuse_mul_into_conv",  # takes GELU's ½ away before GELU is recognised; affine-before-conv does the same later
    "fuse_preceding_mul_into_conv",
)


def fold(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Run onnxsim.

    Returns:
        The folded model, its inputs and outputs in the same order under the same names; and a note, empty where all
        went well, that says why the model was left as it was.
    """
    import onnxsim

    logger = logging.getLogger("onnxsim")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            folded, _ = onnxsim.simplify(
                model, check_n=0, tensor_size_threshold=LARGEST_FOLDED, skipped_optimizers=list(SKIPPED)
            )
    except Exception as error:  # C++ code behind it raises whatever it likes; the model goes on unfolded, and says so
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return model, f"onnxsim left the model as it was: {first_line}"
    finally:
        logger.setLevel(level)
    for before, after in ((model.graph.input, folded.graph.input), (model.graph.output, folded.graph.output)):
        constants = {tensor.name for tensor in model.graph.initializer}
        wanted = [value.name for value in before if value.name not in constants]
        if wanted != [value.name for value in after]:
            raise CaptureError(f"onnxsim changed the model's interface from {wanted}.", code="interface-changed")
    return folded, ""
