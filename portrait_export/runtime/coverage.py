"""List the MIL operators, the iOS version of each, and whether the runtime implements it.

`rows()` combines the registry of kernels with the lists of names below, which come from the operator definitions of
coremltools (a test compares them). `markdown()` makes the table in the docs.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSIONS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")

# Operators by the version that introduced them: coremltools 9.0, converters/mil/mil/ops/defs/iOS15 … iOS18; iOS26 added
# none. The last, `write_state`, has no definition there: saving a package turns `coreml_update_state` into it.
OPERATORS: dict[str, str] = {
    "iOS15": """
        abs acos add affine argsort asin atan atanh avg_pool band_part batch_norm batch_to_space cast ceil
        clamped_relu classify clip concat cond const conv conv_quantized conv_transpose cos cosh crop crop_resize
        cumsum depth_to_space einsum elu equal erf exp exp2 expand_dims fill flatten2d floor floor_div gather
        gather_along_axis gather_nd gelu greater greater_equal gru identity instance_norm inverse l2_norm l2_pool
        layer_norm leaky_relu less less_equal linear linear_activation list_gather list_length list_read
        list_scatter list_write local_response_norm log logical_and logical_not logical_or logical_xor lstm
        make_list matmul max_pool maximum minimum mod mul non_maximum_suppression non_zero not_equal one_hot pad
        pixel_shuffle pow prelu random_bernoulli random_categorical random_normal random_uniform range_1d real_div
        reduce_argmax reduce_argmin reduce_l1_norm reduce_l2_norm reduce_log_sum reduce_log_sum_exp reduce_max
        reduce_mean reduce_min reduce_prod reduce_sum reduce_sum_square relu relu6 resample reshape resize_bilinear
        resize_nearest_neighbor reverse reverse_sequence rnn round rsqrt scaled_tanh scatter scatter_along_axis
        scatter_nd select shape sigmoid sigmoid_hard sign silu sin sinh slice_by_index slice_by_size sliding_windows
        softmax softplus softplus_parametric softsign space_to_batch space_to_depth split sqrt square squeeze stack
        sub tan tanh threshold thresholded_relu tile topk transpose upsample_bilinear upsample_nearest_neighbor
        while_loop
    """,
    "iOS16": """
        constexpr_affine_dequantize constexpr_cast constexpr_lut_to_dense constexpr_sparse_to_dense fill_like
        pixel_unshuffle reshape_like
    """,
    "iOS17": """
        dequantize quantize resize
    """,
    "iOS18": """
        constexpr_blockwise_shift_scale constexpr_lut_to_sparse constexpr_sparse_blockwise_shift_scale read_state
        scaled_dot_product_attention slice_update write_state
    """,
}

# Operators whose inputs or types a later version changed.
REDEFINED: dict[str, str] = {
    "iOS16": """
        crop_resize gather gather_along_axis gather_nd resample topk upsample_bilinear
    """,
    "iOS17": """
        batch_norm cast clamped_relu clip conv conv_transpose crop_resize elu expand_dims gather gather_along_axis
        gather_nd gru instance_norm inverse l2_norm layer_norm leaky_relu linear linear_activation
        local_response_norm log lstm matmul non_maximum_suppression prelu reduce_argmax reduce_argmin resample
        reshape reshape_like reverse reverse_sequence rnn rsqrt scaled_tanh scatter scatter_along_axis scatter_nd
        sigmoid_hard slice_by_index slice_by_size sliding_windows softplus_parametric squeeze thresholded_relu topk
        transpose
    """,
    "iOS18": """
        constexpr_cast constexpr_lut_to_dense constexpr_sparse_to_dense gru
    """,
}

# Operators whose kernel does not support everything in the definition, and what it does not support.
LIMITS = {
    "conv_quantized": "only quantization_type `linear`; MIL does not document the layout of `lut` weights",
    "random_bernoulli": "the distribution follows MIL; the numbers come from torch's generator",
    "random_categorical": "the distribution follows MIL; the numbers come from torch's generator",
    "random_normal": "the distribution follows MIL; the numbers come from torch's generator",
    "random_uniform": "the distribution follows MIL; the numbers come from torch's generator",
}


@dataclass(frozen=True)
class Row:
    """One operator.

    Attributes:
        introduced: the first version that has it.
        redefined: later versions that changed its inputs or types.
        implemented: whether the runtime has a kernel for it (one kernel implements all versions).
        limits: what the kernel does not support; empty if it supports everything.
    """

    operator: str
    introduced: str
    redefined: tuple[str, ...]
    implemented: bool
    limits: str = ""

    def available(self, version: str) -> bool:
        """Whether the operator exists in a version."""
        return VERSIONS.index(version) >= VERSIONS.index(self.introduced)


def rows() -> list[Row]:
    """Every operator of iOS15 to iOS26, by name."""
    from .registry import kernels

    implemented = {*kernels(), "const"}  # the compiler handles constants itself
    table = []
    for version, names in OPERATORS.items():
        for name in names.split():
            later = tuple(v for v, changed in REDEFINED.items() if name in changed.split())
            table.append(Row(name, version, later, name in implemented, LIMITS.get(name, "")))
    return sorted(table, key=lambda row: row.operator)


def markdown() -> str:
    """The table as Markdown: ● implemented, ◐ with limits, ○ missing, empty if the version has no such operator."""
    table = rows()
    done = sum(row.implemented for row in table)
    lines = [
        f"{done} of {len(table)} operators are implemented.",
        "",
        f"| Operator | {' | '.join(VERSIONS)} | Not supported |",
        f"|---|{':-:|' * len(VERSIONS)}---|",
    ]
    for row in table:
        mark = ("◐" if row.limits else "●") if row.implemented else "○"
        cells = [mark if row.available(version) else "" for version in VERSIONS]
        lines.append(f"| `{row.operator}` | {' | '.join(cells)} | {row.limits} |")
    return "\n".join(lines)
