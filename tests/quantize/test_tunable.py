"""Tables, scales, biases and norms can change; indices and integers stay, and what is stored is what was judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from portrait_export.mil.encoded import EncodedWeight
from portrait_export.quantize.channels import in_channels
from portrait_export.quantize.encode import encode
from portrait_export.quantize.layer import Layer
from portrait_export.quantize.layers import Weights
from portrait_export.quantize.recipes import RECIPES
from portrait_export.quantize.scaled import in_scaled_palette
from portrait_export.quantize.tunable import Tunable, codes_of, improve, plain, tunable

HALF = np.dtype(np.float16)
LAYER = Layer("w", (24, 64), ("linear",))
MATRIX = np.random.default_rng(0).standard_normal((24, 64))


class Constant:
    def numpy(self) -> np.ndarray:
        return MATRIX.astype(np.float16)


def encoded(recipe: str, *, ios18: bool) -> EncodedWeight:
    weights = Weights({"w": LAYER}, {}, {"w": Constant()}, {})  # type: ignore[dict-item]
    return encode(weights, RECIPES[recipe], ios18=ios18).encoded["w"]


def made(form: EncodedWeight | None) -> EncodedWeight:
    assert form is not None
    return form


FORMS = {
    "table": lambda: encoded("palette2", ios18=True),
    "table of ios16": lambda: encoded("palette2", ios18=False),
    "table of ios16, 6 bits": lambda: encoded("palette6", ios18=False),
    "scaled table": lambda: made(in_scaled_palette(LAYER, MATRIX, HALF, 3, None)),
    "blocks": lambda: encoded("int4-block32", ios18=True),
    "channels": lambda: made(in_channels(LAYER, MATRIX, HALF, ios18=True)),
    "channels of ios16": lambda: made(in_channels(LAYER, MATRIX, HALF, ios18=False)),
    "plain": lambda: plain(MATRIX[0].astype(np.float16), "fp16"),
}


def of(form: str) -> Tunable:
    found = tunable(FORMS[form]())
    assert found is not None
    return found


@pytest.mark.parametrize("form", FORMS)
def test_nothing_changes_before_the_first_step(form):
    tuned = of(form)
    assert np.array_equal(tuned.encoded().decoded, tuned.weight.decoded)
    assert np.array_equal(tuned.decoded().detach().numpy().astype(np.float16), tuned.weight.decoded)


@pytest.mark.parametrize("form", FORMS)
def test_a_step_changes_values_but_no_codes_and_the_stored_form_is_what_was_judged(form):
    tuned = of(form)
    target = torch.from_numpy(tuned.weight.decoded.astype(np.float32)) * 1.1
    (tuned.decoded() - target).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in tuned.parameters.values())
    with torch.no_grad():
        for parameter in tuned.parameters.values():
            parameter.sub_(0.05 * parameter.grad.sign())
    stored = tuned.encoded()
    assert not np.array_equal(stored.decoded, tuned.weight.decoded)
    assert np.array_equal(tuned.decoded().detach().numpy().astype(np.float16), stored.decoded)
    assert stored.decoded.dtype == np.float16
    assert stored.size_bytes == tuned.weight.size_bytes
    if form != "plain":
        assert np.array_equal(codes_of(stored), codes_of(tuned.weight))
    again = tunable(stored)
    assert again is not None
    assert np.array_equal(again.encoded().decoded, stored.decoded)


def test_a_form_without_tables_or_scales_stays():
    assert tunable(EncodedWeight("constexpr_sparse_to_dense", {}, "fp16", MATRIX.astype(np.float16))) is None


def outputs(tuned: dict[str, Tunable]):
    """The distance of a layer's outputs to the exact layer's, on inputs of few directions."""
    generator = np.random.default_rng(5)
    x = torch.from_numpy(generator.standard_normal((6, 20, 3)) @ generator.standard_normal((3, 64))).float()
    exact = torch.from_numpy(MATRIX).float()

    def loss(constants: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        return (x[index] @ (constants["w"] - exact).T).square().mean()

    return loss


@pytest.mark.parametrize("form", ["table", "scaled table", "blocks"])
def test_tuning_lowers_the_loss_on_what_was_held_out_and_is_the_same_in_every_run(form):
    results = []
    for _ in range(2):
        tuned = {"w": of(form)}
        before, after = improve(tuned, outputs(tuned), fitted=4, held_out=2, steps=60, rate=0.01)
        assert after < 0.95 * before
        results.append(tuned["w"].encoded().decoded)
    assert np.array_equal(*results)


def test_what_does_not_help_is_undone():
    tuned = {"w": of("table")}
    start = torch.from_numpy(tuned["w"].weight.decoded.astype(np.float32))

    def loss(constants: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if index == 0:  # the photograph to fit wants other values than the one that judges
            return (constants["w"] - 2 * start).square().mean()
        return (constants["w"] - start).square().mean()

    before, after = improve(tuned, loss, fitted=1, held_out=1, steps=8, rate=0.01)
    assert before == after == 0
    assert np.array_equal(tuned["w"].encoded().decoded, tuned["w"].weight.decoded)
