"""Nothing in; the table of MIL operators out: operator × version × whether the runtime implements it.

`rows()` is generated from the registry of kernels and from the lists of names below, which come from the operator
definitions of coremltools (a test compares them). `markdown()` is what the docs show.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSIONS = ("iOS15", "iOS16", "iOS17", "iOS18")

# Operators by the version that introduced them: coremltools 9.0, converters/mil/mil/ops/defs/iOS15 … iOS18. The last,
# `write_state`, has no definition there: it is what `coreml_update_state` becomes when a package is saved.
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

# Operators that have a kernel with less than the definition allows, and what is left out.
LIMITS = {
    "conv_quantized": "quantization_type `linear` only; MIL does not describe how `lut` weights are laid out",
    "random_bernoulli": "the distribution is MIL's, the drawn numbers are torch's",
    "random_categorical": "the distribution is MIL's, the drawn numbers are torch's",
    "random_normal": "the distribution is MIL's, the drawn numbers are torch's",
    "random_uniform": "the distribution is MIL's, the drawn numbers are torch's",
}


@dataclass(frozen=True)
class Row:
    """One operator.

    Attributes:
        introduced: the version that first has it.
        redefined: later versions that changed its inputs or types.
        implemented: whether the runtime has a kernel for it (one kernel serves all versions).
        limits: what that kernel leaves out; empty if nothing.
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
    """Every operator of iOS15 to iOS18, by name."""
    from .registry import kernels

    have = {*kernels(), "const"}  # constants are the executor's own business
    table = []
    for version, names in OPERATORS.items():
        for name in names.split():
            later = tuple(v for v, changed in REDEFINED.items() if name in changed.split())
            table.append(Row(name, version, later, name in have, LIMITS.get(name, "")))
    return sorted(table, key=lambda row: row.operator)


def markdown() -> str:
    """The table as Markdown: ● implemented, ◐ with limits, ○ missing, empty where the version lacks the operator."""
    table = rows()
    done = sum(row.implemented for row in table)
    lines = [
        f"{done} of {len(table)} operators are implemented.",
        "",
        f"| Operator | {' | '.join(VERSIONS)} | Left out |",
        f"|---|{':-:|' * len(VERSIONS)}---|",
    ]
    for row in table:
        mark = ("◐" if row.limits else "●") if row.implemented else "○"
        cells = [mark if row.available(version) else "" for version in VERSIONS]
        lines.append(f"| `{row.operator}` | {' | '.join(cells)} | {row.limits} |")
    return "\n".join(lines)
