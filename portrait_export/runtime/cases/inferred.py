"""Cases of kernels whose results coremltools' operator definitions infer. One row per behaviour.

tests/runtime/kernels/test_definitions.py compares each with the inferred value; `portrait-export agree` with Core ML.
"""

from __future__ import annotations

from typing import Any

import numpy as np

RNG = np.random.default_rng(1)
A = RNG.standard_normal((2, 3, 4)).astype(np.float32)
B = RNG.standard_normal((3, 1)).astype(np.float32)
POSITIVE = np.abs(A) + 0.1
UNIT = np.clip(A, -0.95, 0.95)
I = RNG.integers(-9, 10, (2, 3)).astype(np.int32)  # noqa: E741
J = np.array([[3, -2, 4], [-5, 7, 1]], np.int32)
IMAGE = RNG.standard_normal((2, 3, 5, 6)).astype(np.float32)
TIES = np.array([[2.0, 7, 7, 1], [0, 0, 0, 0]], np.float32)
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.49], np.float32)
EDGES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], np.float32)
SCALAR = np.float32(-1.75)
EMPTY = np.zeros((0, 3), np.float32)
T, F = True, False
UNARY = (
    *("abs", "atan", "ceil", "cos", "cosh", "erf", "exp", "floor"),
    *("round", "sign", "sin", "sinh", "square", "tan", "tanh"),
)
BINARY = (
    *("add", "sub", "mul", "maximum", "minimum"),
    *("equal", "greater", "greater_equal", "less", "less_equal", "not_equal"),
)
BINARY_INT = ("add", "sub", "mul", "maximum", "minimum", "mod", "floor_div", "equal", "less")
REDUCTIONS = (
    *("reduce_l1_norm", "reduce_l2_norm", "reduce_log_sum", "reduce_max", "reduce_mean"),
    *("reduce_min", "reduce_prod", "reduce_sum", "reduce_sum_square"),
)
GAMMA, BETA = IMAGE[0, ..., 0].copy(), IMAGE[1, ..., 1].copy()

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    # activations
    **{f"{op}_3d": (op, {"x": A}) for op in ("relu", "relu6", "sigmoid", "softplus", "softsign")},
    **{f"{op}_scalar": (op, {"x": SCALAR}) for op in ("relu", "sigmoid", "softplus")},
    "clamped_relu": ("clamped_relu", {"x": A, "alpha": 0.3, "beta": 0.8}),
    "elu": ("elu", {"x": A, "alpha": 1.3}),
    "gelu_exact": ("gelu", {"x": A, "mode": "EXACT"}),
    "gelu_tanh": ("gelu", {"x": A, "mode": "TANH_APPROXIMATION"}),
    "gelu_sigmoid": ("gelu", {"x": A, "mode": "SIGMOID_APPROXIMATION"}),
    "leaky_relu": ("leaky_relu", {"x": A, "alpha": 0.2}),
    "linear_activation": ("linear_activation", {"x": A, "alpha": 2.0, "beta": -0.5}),
    "prelu": ("prelu", {"x": IMAGE, "alpha": np.array([0.1, 0.2, -0.3], np.float32)}),
    "scaled_tanh": ("scaled_tanh", {"x": A, "alpha": 1.5, "beta": 0.4}),
    "sigmoid_hard": ("sigmoid_hard", {"x": A, "alpha": 0.3, "beta": 0.4}),
    "softmax_last": ("softmax", {"x": A}),
    "softmax_axis_0": ("softmax", {"x": A, "axis": 0}),
    "softmax_large_values": ("softmax", {"x": A * 1000, "axis": -1}),
    "softplus_parametric": (
        "softplus_parametric",
        {"x": IMAGE, "alpha": np.array([1, 2, 0.5], np.float32), "beta": np.array([0.5, 1, 2], np.float32)},
    ),
    "thresholded_relu": ("thresholded_relu", {"x": A.copy(), "alpha": 0.25}),
    # one tensor
    **{
        f"{op}_3d": (op, {"x": A})
        for op in UNARY
    },
    **{f"{op}_unit": (op, {"x": UNIT}) for op in ("acos", "asin", "atanh")},
    **{f"{op}_int": (op, {"x": I}) for op in ("abs", "sign", "square")},
    **{f"{op}_edges": (op, {"x": EDGES}) for op in ("abs", "atan", "ceil", "exp", "floor", "round", "sign", "tanh")},
    **{f"{op}_empty": (op, {"x": EMPTY}) for op in ("abs", "exp", "relu", "square")},
    "round_ties_to_even": ("round", {"x": HALVES}),
    "sqrt": ("sqrt", {"x": POSITIVE}),
    "exp2": ("exp2", {"x": A}),
    "clip": ("clip", {"x": A, "alpha": -0.3, "beta": 0.6}),
    "threshold": ("threshold", {"x": A, "alpha": 0.1}),
    "inverse": ("inverse", {"x": POSITIVE, "epsilon": 1e-3}),
    "log": ("log", {"x": POSITIVE, "epsilon": 1e-6}),
    "rsqrt": ("rsqrt", {"x": POSITIVE, "epsilon": 1e-6}),
    "logical_not": ("logical_not", {"x": A > 0}),
    "cast_to_int_truncates": ("cast", {"x": A * 7, "dtype": "int32"}),
    "cast_to_bool": ("cast", {"x": np.array([0.0, 0.4, -3], np.float32), "dtype": "bool"}),
    "cast_bool_to_float": ("cast", {"x": np.array([True, False]), "dtype": "fp32"}),
    "cast_int_to_float": ("cast", {"x": I, "dtype": "fp32"}),
    "cast_int32_to_int8_wraps": ("cast", {"x": np.array([1, 127, 128, -129, 300], np.int32), "dtype": "int8"}),
    "cast_int32_to_uint8_wraps": ("cast", {"x": np.array([1, 255, 256, -1], np.int32), "dtype": "uint8"}),
    # two tensors
    **{
        f"{op}_broadcast": (op, {"x": A, "y": B})
        for op in BINARY
    },
    **{f"{op}_int": (op, {"x": I, "y": J}) for op in BINARY_INT},
    **{f"{op}_scalar": (op, {"x": A, "y": np.float32(0.5)}) for op in ("add", "mul", "real_div")},
    "real_div_broadcast": ("real_div", {"x": A, "y": B}),
    "floor_div_float": ("floor_div", {"x": A * 5, "y": B}),
    "mod_float_takes_the_divisors_sign": ("mod", {"x": A * 5, "y": B}),
    "pow_float": ("pow", {"x": POSITIVE, "y": B}),
    "pow_int": ("pow", {"x": I, "y": np.int32(3)}),
    "logical_and": ("logical_and", {"x": A > 0, "y": B > 0}),
    "logical_or": ("logical_or", {"x": A > 0, "y": B > 0}),
    "logical_xor": ("logical_xor", {"x": A > 0, "y": B > 0}),
    "maximum_nan_wins": ("maximum", {"x": EDGES, "y": np.float32(0.5)}),
    "int32_addition_wraps": ("add", {"x": np.array([2**31 - 1], np.int32), "y": np.array([1], np.int32)}),
    "select_broadcast": ("select", {"cond": np.array([[True], [False], [True]]), "a": A, "b": B}),
    # reductions
    **{
        f"{op}_{label}": (op, {"x": POSITIVE, **kw})
        for op in REDUCTIONS
        for label, kw in {
            "axis_1": {"axes": [1], "keep_dims": F},
            "two_axes_kept": {"axes": [0, -1], "keep_dims": T},
        }.items()
    },
    "reduce_log_sum_exp_large": ("reduce_log_sum_exp", {"x": A * 100, "axes": [-1], "keep_dims": F}),
    "reduce_sum_int": ("reduce_sum", {"x": I, "axes": [1], "keep_dims": F}),
    "reduce_argmax": ("reduce_argmax", {"x": A, "axis": 1, "keep_dims": F}),
    "reduce_argmax_ties_first": ("reduce_argmax", {"x": TIES, "axis": -1, "keep_dims": T}),
    "reduce_argmin": ("reduce_argmin", {"x": A, "axis": -1, "keep_dims": T}),
    "reduce_argmin_ties_first": ("reduce_argmin", {"x": TIES, "axis": 1, "keep_dims": F}),
    # normalization
    "l2_norm": ("l2_norm", {"x": IMAGE, "epsilon": 1e-5}),
    "l2_norm_rank_3": ("l2_norm", {"x": A, "epsilon": 1e-5}),
    "layer_norm_last": (
        "layer_norm",
        {"x": A, "axes": [-1], "gamma": A[0, 0].copy(), "beta": A[1, 1].copy(), "epsilon": 1e-5},
    ),
    "layer_norm_middle_axes": (
        "layer_norm",
        {"x": IMAGE, "axes": [1, 2], "gamma": GAMMA, "beta": BETA, "epsilon": 1e-3},
    ),
    "layer_norm_plain": ("layer_norm", {"x": IMAGE, "axes": [2, 3], "epsilon": 1e-5}),
    # products
    "matmul": ("matmul", {"x": A, "y": A.transpose(0, 2, 1).copy()}),
    "matmul_transposed_y": ("matmul", {"x": A, "y": A, "transpose_y": T}),
    "matmul_transposed_x": ("matmul", {"x": A, "y": A, "transpose_x": T}),
    "matmul_broadcast": ("matmul", {"x": IMAGE, "y": IMAGE[0, 0].T.copy()}),
    "linear": ("linear", {"x": A, "weight": IMAGE[0, 0, :, :4].copy(), "bias": IMAGE[0, 0, 0, :5].copy()}),
    "einsum": ("einsum", {"values": [IMAGE, IMAGE.transpose(0, 3, 2, 1).copy()], "equation": "nchw,nwhu->nchu"}),
    # shape
    "expand_dims": ("expand_dims", {"x": A, "axes": [0, -1]}),
    "expand_dims_scalar": ("expand_dims", {"x": SCALAR, "axes": [0]}),
    "reshape": ("reshape", {"x": A, "shape": [4, -1]}),
    "reshape_keeps_zero": ("reshape", {"x": A, "shape": [0, -1, 2]}),
    "reverse_all": ("reverse", {"x": A}),
    "reverse_axes": ("reverse", {"x": A, "axes": [0, -1]}),
    "squeeze_all": ("squeeze", {"x": A[:, :1]}),
    "squeeze_axis": ("squeeze", {"x": A[:1, :, :1], "axes": [-1]}),
    "transpose": ("transpose", {"x": A, "perm": [2, 0, 1]}),
    "transpose_negative": ("transpose", {"x": A, "perm": [-1, 0, 1]}),
    "flatten2d": ("flatten2d", {"x": IMAGE, "axis": 2}),
    "flatten2d_negative": ("flatten2d", {"x": IMAGE, "axis": -1}),
    "shape": ("shape", {"x": IMAGE}),
    "concat": ("concat", {"values": [A, A[:, :1]], "axis": 1}),
    "concat_negative_axis": ("concat", {"values": [A, A], "axis": -1}),
    "stack": ("stack", {"values": [A, A + 1], "axis": 1}),
    "split_sizes": ("split", {"x": A, "split_sizes": [1, 3], "axis": -1}),
    "split_equal": ("split", {"x": A, "num_splits": 2, "axis": 2}),
    "tile": ("tile", {"x": A, "reps": [1, 2, 3]}),
    "slice_by_index": ("slice_by_index", {"x": A, "begin": [0, 1, 1], "end": [2, 3, 4]}),
    "slice_by_index_strides": ("slice_by_index", {"x": A, "begin": [0, 0, 0], "end": [2, 3, 4], "stride": [1, 2, 3]}),
    "slice_by_index_negative": ("slice_by_index", {"x": A, "begin": [-1, -3, -2], "end": [2, -1, 4]}),
    "slice_by_index_masks": (
        "slice_by_index",
        {"x": A, "begin": [1, 1, 1], "end": [1, 1, 1], "begin_mask": [T, F, T], "end_mask": [T, T, T]},
    ),
    "slice_by_index_reversed": (
        "slice_by_index",
        {"x": A, "begin": [0, 0, 3], "end": [2, 3, 0], "stride": [1, 1, -1], "end_mask": [F, F, T]},
    ),
    "slice_by_index_squeezed": (
        "slice_by_index",
        {"x": A, "begin": [1, 0, 0], "end": [0, 3, 4], "squeeze_mask": [T, F, F]},
    ),
    "slice_by_size": ("slice_by_size", {"x": A, "begin": [0, 1, 1], "size": [2, 2, -1]}),
    "pad_constant": ("pad", {"x": A, "pad": [1, 2, 0, 3], "mode": "constant", "constant_val": 9.0}),
    "pad_reflect": ("pad", {"x": IMAGE, "pad": [2, 1, 3, 4], "mode": "reflect"}),
    "pad_replicate": ("pad", {"x": IMAGE, "pad": [1, 0, 2, 5], "mode": "replicate"}),
    "pad_reflect_4_axes": ("pad", {"x": IMAGE, "pad": [1, 0, 1, 2, 2, 1, 0, 3], "mode": "reflect"}),
    # making and ordering
    "fill": ("fill", {"shape": [2, 3], "value": 4.5}),
    "range_1d_int": ("range_1d", {"start": np.int32(2), "end": np.int32(11), "step": np.int32(3)}),
    "range_1d_down": ("range_1d", {"start": np.float32(2), "end": np.float32(-1), "step": np.float32(-0.5)}),
    "non_zero": ("non_zero", {"x": np.where(A > 0, A, 0)}),
    "cumsum": ("cumsum", {"x": A, "axis": 1}),
    "cumsum_reverse": ("cumsum", {"x": A, "axis": 2, "reverse": T}),
    "band_part": ("band_part", {"x": A, "lower": 1, "upper": 0}),
    "band_part_upper": ("band_part", {"x": A, "lower": 0, "upper": -1}),
    "argsort": ("argsort", {"x": A, "axis": 1, "ascending": T}),
    "argsort_descending": ("argsort", {"x": A, "axis": -1, "ascending": F}),
    "topk": ("topk", {"x": A, "k": 2, "axis": 1}),
    "topk_ascending": ("topk", {"x": A, "k": 3, "axis": -1, "ascending": T}),
    # gather and scatter
    "gather": ("gather", {"x": A, "indices": np.array([1, 0, 1], np.int32), "axis": 1}),
    "gather_negative_index": ("gather", {"x": A, "indices": np.array([-1, 0], np.int32), "axis": 2}),
    "gather_matrix_of_indices": ("gather", {"x": A, "indices": np.array([[1, 0], [2, 2]], np.int32), "axis": 1}),
    "gather_scalar": ("gather", {"x": A, "indices": np.int32(1), "axis": 0}),
    "gather_along_axis": (
        "gather_along_axis",
        {"x": A, "indices": RNG.integers(0, 3, (2, 5, 4)).astype(np.int32), "axis": 1},
    ),
    # compression of activations
    "quantize_scalar": ("quantize", {"input": A, "scale": np.float32(0.02), "output_dtype": "int8"}),
    "quantize_axis": (
        "quantize",
        {
            "input": A,
            "scale": np.array([0.01, 0.02, 0.05], np.float32),
            "zero_point": np.array([3, 100, 200], np.uint8),
            "output_dtype": "uint8",
            "axis": 1,
        },
    ),
}  # fmt: skip

# Sizes that follow from floats whose float32 is just below or above the decimal, where float64 gives another integer.
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"{op}_{size}_by_{factor}": (
            op,
            {"x": np.zeros((1, 1, size, 3), np.float32), "scale_factor_height": np.float32(factor)},
        )
        for op in ("upsample_nearest_neighbor", "upsample_bilinear")
        for size in (7, 10, 20, 30, 100)
        for factor in (0.3, 0.7, 1.1, 1.3, 1.7, 2.3, 3.3)
    },
    **{
        f"range_to_{end}_by_{step}_{kind.__name__}": (
            "range_1d",
            {"start": kind(0), "end": kind(end), "step": kind(step)},
        )
        for kind in (np.float16, np.float32)
        for end in (0.6, 0.7, 0.9, 1.2, 2.1)
        for step in (0.1, 0.2, 0.3, 0.7)
    },
    "range_int": ("range_1d", {"start": np.int32(-3), "end": np.int32(9), "step": np.int32(5)}),
}
