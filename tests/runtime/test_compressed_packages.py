"""Compare packages with compressed weights to the same packages decompressed by coremltools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from portrait_export.errors import ExecutionError
from portrait_export.mil import coreml
from portrait_export.mil.program import read_program
from portrait_export.runtime import load
from tests.runtime.packages import block_of, edited, from_builder, from_torch, save, tools
from tests.runtime.torch_cases import normal

BIG = {"weight_threshold": 16}


def _linear(**options: Any) -> Callable[[Any, Any], Any]:
    return lambda o, m: o.linear_quantize_weights(m, o.OptimizationConfig(o.OpLinearQuantizerConfig(**BIG, **options)))


def _palette(**options: Any) -> Callable[[Any, Any], Any]:
    return lambda o, m: o.palettize_weights(
        m, o.OptimizationConfig(o.OpPalettizerConfig(mode="uniform", **BIG, **options))
    )


def _pruned(o: Any, m: Any) -> Any:
    return o.prune_weights(m, o.OptimizationConfig(o.OpMagnitudePrunerConfig(target_sparsity=0.6, **BIG)))


def _pruned_then(step: Callable[..., Callable[[Any, Any], Any]], **options: Any) -> Callable[[Any, Any], Any]:
    """Two compressions of the same weights, one after the other: the joint forms of iOS18."""

    def compress(o: Any, m: Any) -> Any:
        kind = o.OpLinearQuantizerConfig if step is _linear else o.OpPalettizerConfig
        second = o.linear_quantize_weights if step is _linear else o.palettize_weights
        more = {} if step is _linear else {"mode": "uniform"}
        config = o.OptimizationConfig(kind(**BIG, **more, **options))
        return second(_pruned(o, m), config, joint_compression=True)

    return compress


def _palette_of_int8(o: Any, m: Any) -> Any:
    """int8 weights, then a palette whose entries are int8; the order of the two operators differs from iOS18's."""
    quantized = o.linear_quantize_weights(m, o.OptimizationConfig(o.OpLinearQuantizerConfig(**BIG)))
    config = o.OptimizationConfig(o.OpPalettizerConfig(nbits=4, mode="uniform", **BIG))
    return o.palettize_weights(quantized, config, joint_compression=True)


CASES: dict[str, tuple[str, Callable[[Any, Any], Any], str]] = {  # target, compression, operator that must appear
    "int8_channels_ios16": ("iOS16", _linear(), "constexpr_affine_dequantize"),
    "int8_asymmetric_ios17": ("iOS17", _linear(mode="linear"), "constexpr_affine_dequantize"),
    "int8_ios18": ("iOS18", _linear(), "constexpr_blockwise_shift_scale"),
    "int4_blocks_ios18": (
        "iOS18",
        _linear(dtype="int4", granularity="per_block", block_size=8),
        "constexpr_blockwise_shift_scale",
    ),
    "uint4_tensor_ios18": (
        "iOS18",
        _linear(dtype="uint4", mode="linear", granularity="per_tensor"),
        "constexpr_blockwise_shift_scale",
    ),
    **{
        f"palette_{bits}_bits_ios16": ("iOS16", _palette(nbits=bits), "constexpr_lut_to_dense")
        for bits in (1, 2, 4, 6, 8)
    },
    **{f"palette_{bits}_bits_ios18": ("iOS18", _palette(nbits=bits), "constexpr_lut_to_dense") for bits in (3, 4)},
    "palette_grouped_ios18": (
        "iOS18",
        _palette(nbits=4, granularity="per_grouped_channel", group_size=4),
        "constexpr_lut_to_dense",
    ),
    "pruned_ios16": ("iOS16", _pruned, "constexpr_sparse_to_dense"),
    "pruned_ios18": ("iOS18", _pruned, "constexpr_sparse_to_dense"),
    "pruned_and_quantized_ios18": ("iOS18", _pruned_then(_linear), "constexpr_sparse_blockwise_shift_scale"),
    "pruned_and_palettized_ios18": ("iOS18", _pruned_then(_palette, nbits=4), "constexpr_lut_to_sparse"),
    "pruned_and_palettized_ios26": ("iOS26", _pruned_then(_palette, nbits=4), "constexpr_lut_to_sparse"),
    "palette_of_int8_ios26": ("iOS26", _palette_of_int8, "constexpr_blockwise_shift_scale"),
}

TOLERANCE = 2e-3  # of the largest magnitude: coremltools rounds the decompressed weights to half


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compressed")


@pytest.mark.parametrize(("target", "compress", "operator"), CASES.values(), ids=CASES.keys())
def test_compressed_is_decompressed(
    folder: Path, tmp_path: Path, target: str, compress: Callable[[Any, Any], Any], operator: str
) -> None:
    ct = tools()
    plain = folder / f"{target}.mlpackage"
    x = normal(0, 1, 8, 6, 5)
    if not plain.exists():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.Flatten(2), nn.Linear(30, 8)
        )
        from_torch(plain, net, [x], target=target)
    optimize = ct.optimize.coreml
    with coreml.quiet():
        small = compress(optimize, ct.models.MLModel(str(plain), skip_model_load=True))
        whole = optimize.decompress_weights(small)
    package = save(small, tmp_path / "small.mlpackage")
    assert operator in {op.type for op in read_program(package).main.block.walk()}
    (ours,) = load(package, arithmetic="fp32").predict({"x0": x}).values()
    (theirs,) = load(save(whole, tmp_path / "whole.mlpackage"), arithmetic="fp32").predict({"x0": x}).values()
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()


@pytest.mark.parametrize("one", [False, True], ids=["many_elements", "infinity"])
def test_a_compressed_weight_is_no_axis(tmp_path: Path, one: bool) -> None:
    """A damaged package may read anything anywhere."""
    mb, data = coreml.builder(), np.ones((1,) if one else (4, 4), np.uint8)

    def build(x: Any) -> Any:
        scale = np.float32(np.inf if one else 1)
        w = mb.constexpr_affine_dequantize(quantized_data=data, zero_point=np.uint8(0), scale=scale, axis=0)
        return mb.softmax(x=mb.mul(x=x, y=w), axis=-1)

    def change(message: Any) -> None:
        operations = block_of(message).operations
        [weight] = [op.outputs[0].name for op in operations if op.type == "constexpr_affine_dequantize"]
        [softmax] = [op for op in operations if op.type == "softmax"]
        softmax.inputs["axis"].arguments[0].name = weight

    package = from_builder(tmp_path / "a.mlpackage", {"x": ((4, 4), np.float32)}, build)
    with pytest.raises(ExecutionError, match="takes int for 'axis', but it is a compressed weight of shape"):
        load(edited(package, tmp_path / "b.mlpackage", change))
