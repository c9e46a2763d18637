"""Matrix products."""

from __future__ import annotations

from .model import Case, values


def _einsum(name: str, equation: str, *shapes: tuple[int, ...]) -> Case:
    feeds = {f"x{index}": values(*shape, seed=index) for index, shape in enumerate(shapes)}
    return Case(f"einsum_{name}", "Einsum", feeds, attrs={"equation": equation})


A, B = values(3, 4), values(4, 5, seed=1)

CASES = [
    Case("matmul_constant_matrix", "MatMul", {"x": values(2, 6, 4)}, {"w": values(4, 3)}),
    Case("matmul_constant_matrix_rank_4", "MatMul", {"x": values(2, 2, 6, 4)}, {"w": values(4, 3)}),
    Case("matmul_batches_broadcast", "MatMul", {"x": values(2, 1, 3, 4), "y": values(5, 4, 2, seed=1)}),
    Case("matmul_constant_left", "MatMul", {"y": values(2, 4, 2)}, {"w": values(3, 4)}, ("w", "y")),
    Case("matmul_vector_left", "MatMul", {"x": values(4), "y": values(2, 4, 3, seed=1)}),
    Case("matmul_vector_right", "MatMul", {"x": values(2, 3, 4), "y": values(4, seed=1)}),
    Case("matmul_vectors", "MatMul", {"x": values(4), "y": values(4, seed=1)}),
    Case("gemm_linear", "Gemm", {"a": A}, {"b": B.T.copy(), "c": values(5)}, attrs={"transB": 1}),
    Case("gemm_scaled", "Gemm", {"a": A}, {"b": B, "c": values(5)}, attrs={"alpha": 0.5, "beta": 2.0}),
    Case("gemm_transposed_input", "Gemm", {"a": A.T.copy()}, {"b": B}, attrs={"transA": 1}),
    Case("gemm_row_dependent_bias", "Gemm", {"a": A}, {"b": B, "c": values(3, 1)}, attrs={"beta": 0.5}),
    Case("gemm_scalar_bias", "Gemm", {"a": A}, {"b": B, "c": values(1)}),
    Case("gemm_all_computed", "Gemm", {"a": A, "b": B, "c": values(1, 5)}, attrs={"alpha": 0.3, "beta": 0.7}),
    _einsum("transpose", "ij->ji", (3, 4)),
    _einsum("sum", "ij->i", (3, 4)),
    _einsum("product", "ij,jk->ik", (3, 4), (4, 5)),
    _einsum("batched", "bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    _einsum("attention", "bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    _einsum("outer", "i,j->ij", (3,), (4,)),
    _einsum("inner", "i,i", (3,), (3,)),
    _einsum("diagonal", "ii->i", (4, 4)),
    _einsum("trace_of_a_batch", "bii->b", (2, 3, 3)),
    _einsum("diagonal_of_the_outer", "iji->ji", (3, 2, 3)),
    _einsum("ellipsis", "...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
    _einsum("three", "ab,bc,cd->ad", (2, 3), (3, 4), (4, 5)),
    _einsum("hadamard_and_sum", "nchw,nkhw->nck", (2, 3, 4, 4), (2, 5, 4, 4)),
]
