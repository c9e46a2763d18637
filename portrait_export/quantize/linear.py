"""Quantize weights linearly and symmetrically, with coremltools' `linear_quantize_weights` pass.

For each output channel c of a weight W:  s_c = max|W_c| / 127;  Q_c = round(W_c / s_c);  W'_c = s_c · Q_c
"""

from __future__ import annotations

from ..artifacts import CompressionPass
from ..mil import coreml
from .recipe import Recipe


def passes(recipe: Recipe) -> tuple[CompressionPass, ...]:
    """The pass that quantizes every constant weight of at least `recipe.min_elements` elements."""
    optimize = coreml.optimize()
    config = optimize.OptimizationConfig(
        global_config=optimize.OpLinearQuantizerConfig(
            mode="linear_symmetric",
            dtype=recipe.dtype,
            granularity=recipe.granularity,
            weight_threshold=recipe.min_elements,
        )
    )
    return (CompressionPass("compression::linear_quantize_weights", (("config", config),)),)
