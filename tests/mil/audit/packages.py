"""Packages whose weights coremltools compressed, one per form, and the weights that they were made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from portrait_export.mil import coreml
from portrait_export.utils.quiet import quiet

SHAPES = {"conv_weight": (64, 32, 3, 3), "first_weight": (64, 64), "second_weight": (64, 64)}


def gaussian(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


ORIGINALS = {name: gaussian(seed, shape) for seed, (name, shape) in enumerate(SHAPES.items())}


def plain_model(target: str, weights: Mapping[str, np.ndarray] = ORIGINALS) -> Any:
    """x → conv → mean over the picture → linear → linear, in half precision without compression."""
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 32, 8, 8))], opset_version=getattr(ct.target, target))
    def program(x):
        hidden = mb.conv(x=x, weight=mb.const(val=weights["conv_weight"], name="conv_weight"), name="conv")
        value = mb.reduce_mean(x=hidden, axes=[2, 3])
        for name in ("first", "second"):
            value = mb.linear(x=value, weight=mb.const(val=weights[f"{name}_weight"], name=f"{name}_weight"), name=name)
        return value

    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(ct.target, target),
        skip_model_load=True,
    )


def _config(config: Any) -> Any:
    return coreml.optimize().OptimizationConfig(global_config=config)


def linear(**options: Any) -> Callable[[Any], Any]:
    def apply(model: Any) -> Any:
        cto = coreml.optimize()
        return cto.linear_quantize_weights(model, _config(cto.OpLinearQuantizerConfig(weight_threshold=256, **options)))

    return apply


def palettize(**options: Any) -> Callable[[Any], Any]:
    """Uniform tables: coremltools' k-means of small weights needs scikit-learn, which the project does not."""

    def apply(model: Any) -> Any:
        cto = coreml.optimize()
        config = cto.OpPalettizerConfig(mode="uniform", weight_threshold=256, **options)
        return cto.palettize_weights(model, _config(config))

    return apply


def prune(model: Any) -> Any:
    cto = coreml.optimize()
    return cto.prune_weights(model, _config(cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=256)))


def prune_most(model: Any) -> Any:
    """Zeros for all but the largest values: most of the weight is lost, as its maker wants it."""
    cto = coreml.optimize()
    config = cto.OpThresholdPrunerConfig(threshold=0.15, minimum_sparsity_percentile=0.0, weight_threshold=256)
    return cto.prune_weights(model, _config(config))


def jointly(first: Callable[[Any], Any], second: str, **options: Any) -> Callable[[Any], Any]:
    def apply(model: Any) -> Any:
        cto = coreml.optimize()
        if second == "palettize":
            config = cto.OpPalettizerConfig(mode="uniform", weight_threshold=256, **options)
            return cto.palettize_weights(first(model), _config(config), joint_compression=True)
        config = cto.OpLinearQuantizerConfig(weight_threshold=256, **options)
        return cto.linear_quantize_weights(first(model), _config(config), joint_compression=True)

    return apply


# Name → deployment target, compression, and the form and type that the audit must find.
FORMS: dict[str, tuple[str, Callable[[Any], Any], str, str]] = {
    "plain": ("iOS16", lambda model: model, "plain", "fp16"),
    "int8_per_channel": ("iOS16", linear(mode="linear_symmetric"), "linear", "int8"),
    "uint8_asymmetric": ("iOS17", linear(mode="linear", dtype="uint8"), "linear", "uint8"),
    "int8_per_tensor": ("iOS17", linear(mode="linear_symmetric", granularity="per_tensor"), "linear", "int8"),
    "int8_ios18": ("iOS18", linear(mode="linear_symmetric"), "linear", "int8"),
    "int4_per_block": (
        "iOS18",
        linear(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=32),
        "linear",
        "int4",
    ),
    "uint4_per_block_with_offset": (
        "iOS18",
        linear(mode="linear", dtype="uint4", granularity="per_block", block_size=16),
        "linear",
        "uint4",
    ),
    "palette4": ("iOS16", palettize(nbits=4), "palette", "uint4"),
    "palette6": ("iOS17", palettize(nbits=6), "palette", "uint6"),
    "palette8": ("iOS17", palettize(nbits=8), "palette", "uint8"),
    "palette3_ios18": ("iOS18", palettize(nbits=3), "palette", "uint3"),
    "palette4_grouped": (
        "iOS18",
        palettize(nbits=4, granularity="per_grouped_channel", group_size=8),
        "palette",
        "uint4",
    ),
    "pruned": ("iOS16", prune, "sparse", "fp16"),
    "pruned_ios18": ("iOS18", prune, "sparse", "fp16"),
    "pruned_by_threshold": ("iOS18", prune_most, "sparse", "fp16"),
    "pruned_palette4": ("iOS18", jointly(prune, "palettize", nbits=4), "sparse palette", "uint4"),
    "pruned_int8": ("iOS18", jointly(prune, "quantize", mode="linear_symmetric"), "sparse linear", "int8"),
    "palette4_with_int8_tables": (
        "iOS18",
        jointly(palettize(nbits=4), "quantize", mode="linear_symmetric", granularity="per_tensor"),
        "palette",
        "uint4",
    ),
}


def write(folder: Path, name: str, weights: Mapping[str, np.ndarray] = ORIGINALS) -> Path:
    """Make a package of a form, silently."""
    target, compress, _, _ = FORMS[name]
    path = folder / f"{name}.mlpackage"
    with quiet():
        compress(plain_model(target, weights)).save(str(path))
    return path


def built(
    folder: Path, name: str, build: Callable[[Any], Any], target: str = "iOS18", precision: str = "FLOAT16"
) -> Path:
    """A package with one (64, 64) weight as the operators of `build(mb)` store it."""
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 64))], opset_version=getattr(ct.target, target))
    def program(x):
        return mb.linear(x=x, weight=build(mb), name="linear")

    path = folder / f"{name}.mlpackage"
    pipeline = ct.PassPipeline()
    pipeline.remove_passes({"common::canonicalize_quantized_lut_pattern"})  # which moves scales into tables
    with quiet():
        ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=getattr(ct.precision, precision),
            pass_pipeline=pipeline,
            skip_model_load=True,
        ).save(str(path))
    return path


SMALL_ORIGINALS = {
    "bias": gaussian(21, (24,)),
    "logits_weight": gaussian(22, (1, 24, 1, 1)),
    "mask": np.where(np.arange(64) < 3, -np.inf, 0).astype(np.float32).reshape(1, 1, 8, 8),
}


def with_small_constants(folder: Path) -> Path:
    """conv with a bias → mask → conv of 24 weights: constants that are too small to be compressed."""
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 24, 8, 8))], opset_version=ct.target.iOS17)
    def program(x):
        weight, constants = gaussian(20, (24, 24, 1, 1)), SMALL_ORIGINALS
        bias = mb.const(val=constants["bias"], name="bias")
        hidden = mb.conv(x=x, weight=mb.const(val=weight, name="weight"), bias=bias, name="conv")
        hidden = mb.add(x=hidden, y=mb.const(val=constants["mask"], name="mask"), name="masked")
        logits = mb.const(val=constants["logits_weight"], name="logits_weight")
        return mb.conv(x=hidden, weight=logits, name="logits")

    path = folder / "small.mlpackage"
    with quiet():
        ct.convert(
            program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS17, skip_model_load=True
        ).save(str(path))
    return path


def as_bits(values: np.ndarray, bits: int, *, signed: bool = False) -> np.ndarray:
    """Integers in the numpy type that coremltools has for so many bits."""
    from coremltools.converters.mil.mil import types

    name = f"int{bits}" if signed else f"uint{bits}"
    return values.astype(types.nptype_from_builtin(types.string_to_builtin(name)))
