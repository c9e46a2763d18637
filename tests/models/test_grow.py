"""Test that a network grown from a smaller one starts with the same outputs."""

from __future__ import annotations

import pytest
import torch

from portrait_export.errors import CheckpointError
from portrait_export.models.config import SegformerConfig, SersegConfig
from portrait_export.models.grow import grow
from portrait_export.models.initialise import randomize_
from portrait_export.models.segformer import Segformer
from portrait_export.models.serseg import Serseg

SMALL = {"hidden_sizes": (8, 16, 24, 32), "heads": (1, 2, 3, 4), "depths": (1, 1, 1, 1), "decoder_width": 16}
IMAGE = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
DEPTH = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(1))
# What the smaller network has, what the larger one has.
EXACT = {
    "dbn": ({}, {"dbn": True}),
    "afn": ({}, {"afn": True}),
    "dam": ({}, {"dam": True}),
    "depth": ({}, {"depth": True}),
    "all_at_once": ({}, {"dbn": True, "afn": True, "dam": True, "depth": True}),
    "dam_behind_dbn": ({"dbn": True}, {"dbn": True, "dam": True}),
    "depth_with_afn": ({}, {"afn": True, "depth": True}),
    "depth_is_kept": ({"depth": True}, {"depth": True, "dam": True}),
    "gates_are_kept": ({"abg": True}, {"abg": True, "dbn": True, "dam": True, "depth": True}),
}


def serseg(switches: dict[str, bool], seed: int) -> Serseg:
    net = Serseg(SersegConfig(**SMALL, upsample=False, **switches))
    return randomize_(net, seed=seed).eval()


def logits(net: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return net(IMAGE, DEPTH) if net.config.takes_depth else net(IMAGE)


@pytest.mark.parametrize("case", EXACT)
def test_grown_network_computes_what_the_smaller_one_did(case: str) -> None:
    before, after = EXACT[case]
    small, large = serseg(before, 1), serseg(after, 2)
    assert (logits(large) - logits(small)).abs().max() > 0.1
    grow(large, small.state_dict(), source="small", abg="abg" in before)
    torch.testing.assert_close(logits(large), logits(small), rtol=0, atol=2e-5)


@pytest.mark.parametrize("switches", [{"dbn": True}, {"afn": True}, {"dbn": True, "afn": True}])
def test_smaller_network_starts_as_the_one_that_was_grown_from_its_like(switches: dict[str, bool]) -> None:
    small, large, again = serseg({}, 1), serseg(switches, 2), serseg({}, 3)
    grow(large, small.state_dict(), source="small")
    assert grow(again, large.state_dict(), source="large") == []
    torch.testing.assert_close(logits(again), logits(small), rtol=0, atol=2e-5)


def test_network_that_loses_a_module_may_gain_depth() -> None:
    small, large, deep = serseg({}, 1), serseg({"afn": True}, 2), serseg({"depth": True}, 3)
    grow(large, small.state_dict(), source="small")
    grow(deep, large.state_dict(), source="large")
    torch.testing.assert_close(logits(deep), logits(small), rtol=0, atol=2e-5)


@pytest.mark.parametrize("switches", [{}, {"dbn": True, "dam": True}, {"depth": True}])
def test_upsampling_decoder_enlarges_the_logits(switches: dict[str, bool]) -> None:
    small = serseg({}, 1)
    large = randomize_(Serseg(SersegConfig(**SMALL, **switches)), seed=2).eval()
    grow(large, small.state_dict(), source="small")
    expected = logits(small)
    for _ in range(2):
        size = (expected.shape[2] * 2, expected.shape[3] * 2)
        expected = torch.nn.functional.interpolate(expected, size=size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(logits(large), expected, rtol=0, atol=2e-5)


def test_upsampling_decoder_that_was_trained_is_kept() -> None:
    small = randomize_(Serseg(SersegConfig(**SMALL)), seed=1).eval()
    large = randomize_(Serseg(SersegConfig(**SMALL, dbn=True)), seed=2).eval()
    grow(large, small.state_dict(), source="small")
    torch.testing.assert_close(logits(large), logits(small), rtol=0, atol=2e-5)


def test_other_channels_of_the_upsampling_decoder_can_learn() -> None:
    small, large = serseg({}, 1), randomize_(Serseg(SersegConfig(**SMALL)), seed=2)
    grow(large, small.state_dict(), source="small")
    large.train()(IMAGE).square().mean().backward()
    assert (large.decode_head.classifier.weight.grad != 0).all()


def test_segformer_grows_too() -> None:
    small = randomize_(Segformer(SegformerConfig(**SMALL)), seed=1).eval()
    large = serseg({"afn": True}, 2)
    left = grow(large, small.state_dict(), source="small")
    torch.testing.assert_close(logits(large), logits(small), rtol=0, atol=2e-5)
    assert left
    assert all(".afn" in key for key in left)


def test_new_modules_can_learn() -> None:
    small, large = serseg({}, 1), serseg({"dbn": True, "dam": True}, 2)
    grow(large, small.state_dict(), source="small")
    large.train()(IMAGE).square().mean().backward()
    projection = large.decode_head.linear_c[0].proj.weight
    assert (projection.grad != 0).all(dim=0).all()  # new channels too
    assert (large.decode_head.dam.dam[0].sam.conv.weight.grad != 0).any()


def test_gates_of_abg_change_little() -> None:
    small, large = serseg({}, 1), serseg({"abg": True}, 1)
    untouched = logits(large) - logits(small)
    grow(large, small.state_dict(), source="small")
    grown = logits(large) - logits(small)
    assert grown.square().mean() < 0.5 * untouched.square().mean()


def test_network_that_gains_the_gates_and_loses_them_is_as_before() -> None:
    small, large, again = serseg({}, 1), serseg({"abg": True}, 2), serseg({}, 3)
    grow(large, small.state_dict(), source="small")
    grow(again, large.state_dict(), source="large", abg=True)
    torch.testing.assert_close(logits(again), logits(small), rtol=0, atol=2e-5)


def test_other_classes_stay_random() -> None:
    small, large = serseg({}, 1), Serseg(SersegConfig(**SMALL, upsample=False, num_labels=3))
    left = grow(randomize_(large, seed=2), small.state_dict(), source="small")
    assert left == ["decode_head.classifier.bias", "decode_head.classifier.weight"]


def test_encoder_that_does_not_fit_is_refused() -> None:
    wider = Serseg(SersegConfig(**{**SMALL, "hidden_sizes": (16, 16, 24, 32)}, upsample=False))
    with pytest.raises(CheckpointError, match="does not fit"):
        grow(wider, serseg({}, 1).state_dict(), source="small")
