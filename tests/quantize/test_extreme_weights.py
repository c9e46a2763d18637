"""Every computed recipe stores extreme weights to a small error, leaves them alone with a reason, or refuses them."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.errors import QuantizeError
from portrait_export.mil.encoded import Compression
from portrait_export.quantize.encode import encode
from portrait_export.quantize.layer import Layer
from portrait_export.quantize.layers import Weights
from portrait_export.quantize.recipes import RECIPES

COMPUTED = {name: recipe for name, recipe in RECIPES.items() if recipe.compresses and recipe.form != "mixed"}
LARGEST_SHARE = {8: 0.001, 6: 0.005, 4: 0.03, 3: 0.15, 2: 0.6}  # of the weight's energy that rounding may change


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(5).normal(scale=scale, size=shape)


def with_rows(value: float) -> np.ndarray:
    """Every fourth row is a multiple of the others' size."""
    weight = normal(16, 64)
    weight[::4] *= value
    return weight


WEIGHTS = {
    "zeros": np.zeros((8, 64)),
    "rows of zeros": with_rows(0.0),
    "rows of tiny values": with_rows(1e-5),
    "rows of large values": with_rows(1e4),
    "tiny": normal(8, 64, scale=1e-5),
    "the largest halves": np.clip(normal(8, 64, scale=3e4), -65504, 65504),
    "one channel": normal(1, 64),
    "one input": normal(64, 1),
    "one element": np.array([[-3.5]]),
    "one value": np.full((8, 64), 0.1),
}


class Constant:
    def __init__(self, values: np.ndarray):
        self._values = values

    def numpy(self) -> np.ndarray:
        return self._values


def encoded(weight: np.ndarray, recipe: str, *, compensated: bool, kind: str = "linear") -> Compression:
    layer = Layer("w", weight.shape, (kind,))
    inputs = layer.matrix(weight).shape[1]
    x = normal(200, inputs)
    hessians = {"w": x.T @ x} if compensated else None
    weights = Weights({"w": layer}, {}, {"w": Constant(weight)}, {})  # type: ignore[dict-item]
    return encode(weights, COMPUTED[recipe], ios18=True, hessians=hessians)


@pytest.mark.parametrize("compensated", [False, True], ids=["nearest", "gptq"])
@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("recipe", COMPUTED)
def test_it_is_stored_to_a_small_error_or_left_alone(recipe, name, compensated):
    weight = WEIGHTS[name].astype(np.float16)
    result = encoded(weight, recipe, compensated=compensated)
    if "w" in result.left:
        assert result.left["w"].startswith("its values are too")
        assert name in ("tiny", "the largest halves")
        return
    decoded, exact = result.encoded["w"].decoded.astype(float), weight.astype(float)
    assert np.isfinite(decoded).all()
    assert not decoded[~exact.any(axis=1)].any()
    change = float(((decoded - exact) ** 2).sum())
    assert change <= LARGEST_SHARE[COMPUTED[recipe].bits] * float((exact**2).sum())


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("recipe", COMPUTED)
def test_a_weight_that_is_not_finite_is_refused_by_name(recipe, value):
    weight = normal(4, 64).astype(np.float16)
    weight[2, 3] = value
    with pytest.raises(QuantizeError, match=r"The weight w \(4, 64\) has values that are NaN or infinite"):
        encoded(weight, recipe, compensated=False)


@pytest.mark.parametrize("recipe", ["int8-block32", "int4-block32"])
def test_a_few_tiny_channels_do_not_keep_a_weight_in_half_precision(recipe):
    """Folded norms leave such channels; their scales are the smallest that hardware does not flush to zero."""
    result = encoded(with_rows(2e-5).astype(np.float16), recipe, compensated=False)
    scales = result.encoded["w"].parts["scale"].values  # type: ignore[union-attr]
    assert scales.min() == np.finfo(np.float16).tiny
