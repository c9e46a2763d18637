"""Test losses against brute force and known values."""

from __future__ import annotations

import math

import pytest
import torch

from portrait_export.training import losses


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def crf_by_brute_force(probability: torch.Tensor, image: torch.Tensor) -> float:
    """Every ordered pair of pixels within the window, one by one."""
    above = below = 0.0
    N, _, H, W = probability.shape
    for n in range(N):
        for y in range(H):
            for x in range(W):
                for v in range(H):
                    for u in range(W):
                        if (y, x) == (v, u) or max(abs(y - v), abs(x - u)) > losses.CRF_RADIUS:
                            continue
                        colour = float(((image[n, :, y, x] - image[n, :, v, u]) ** 2).sum())
                        place = (y - v) ** 2 + (x - u) ** 2
                        k = math.exp(
                            -colour / (2 * losses.CRF_SIGMA_COLOUR**2) - place / (2 * losses.CRF_SIGMA_PLACE**2)
                        )
                        p, q = float(probability[n, 0, y, x]), float(probability[n, 0, v, u])
                        above += k * (p * (1 - q) + (1 - p) * q)
                        below += k
    return above / below


@pytest.mark.parametrize("shape", [(2, 6, 5), (1, 2, 9), (1, 1, 3)], ids=["square", "flat", "one_row"])
def test_crf_equals_the_sum_over_all_pairs(shape: tuple[int, int, int]) -> None:
    N, H, W = shape
    probability, image = some(N, 1, H, W), 0.3 * some(N, 3, H, W, seed=1)
    assert float(losses.crf(probability, image)) == pytest.approx(crf_by_brute_force(probability, image), rel=1e-9)


def test_crf_is_zero_for_certain_agreement_and_ignores_edges_of_the_photograph() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8:] = 1
    half = torch.zeros(1, 1, 16, 16)
    half[..., 8:] = 1
    assert float(losses.crf(torch.ones(1, 1, 16, 16), image)) == 0
    along_the_edge, across_the_edge = losses.crf(half, image), losses.crf(half, torch.zeros_like(image))
    assert float(along_the_edge) < 1e-6
    assert float(across_the_edge) > 0.1


def test_crf_scales_large_pictures_down_first() -> None:
    assert float(losses.crf(some(1, 1, 300, 200), some(1, 3, 300, 200, seed=1))) > 0


def test_dice_is_zero_where_a_soft_target_is_met_and_one_where_nothing_is() -> None:
    target = some(2, 1, 8, 8)
    none, full = torch.zeros(1, 1, 100, 100), torch.ones(1, 1, 100, 100)
    assert float(losses.dice(target, target, torch.ones_like(target))) == pytest.approx(0, abs=1e-12)
    assert float(losses.dice(none, full, full)) == pytest.approx(1, abs=1e-3)
    assert float(losses.dice(none, none, full)) == 0


def test_pixels_that_are_not_trusted_count_in_no_loss() -> None:
    target, other, logits = some(2, 1, 8, 8), some(2, 1, 8, 8, seed=1), torch.logit(some(2, 1, 8, 8, seed=2))
    trust = (some(2, 1, 8, 8, seed=3) > 0.4).double()
    mixed = torch.where(trust > 0, target, other)
    for loss, value in ((losses.bce, logits), (losses.dice, torch.sigmoid(logits))):
        assert float(loss(value, mixed, trust)) == pytest.approx(float(loss(value, target, trust)), rel=1e-12)
        assert float(loss(value, mixed, torch.ones_like(trust))) != pytest.approx(
            float(loss(value, target, trust)), rel=1e-6
        )
    assert float(losses.bce(logits, target, torch.zeros_like(trust))) == 0


def test_firmness_asks_for_certainty_only_away_from_drawn_edges() -> None:
    target = torch.zeros(1, 1, 100, 100)
    target[..., 50:] = 1
    near_edge = torch.zeros_like(target, dtype=torch.bool)
    near_edge[..., 48:52] = True
    doubt_at_edge, doubt_inside = target.clone(), target.clone()
    doubt_at_edge[..., 49:51] = 0.5
    doubt_inside[..., 70:80] = 0.5
    everywhere = torch.ones_like(target)
    assert float(losses.firm(target, target, everywhere)) == 0
    assert float(losses.firm(doubt_at_edge, target, everywhere)) == 0
    assert float(losses.firm(doubt_inside, target, everywhere)) == pytest.approx(0.1, rel=0.1)
    assert float(losses.firm(1 - target, target, everywhere)) == 0  # firm, if wrong: the other losses see to that
    assert float(losses.firm(doubt_inside, target, 0 * everywhere)) == 0


def test_bce_of_a_soft_target_is_least_at_the_target() -> None:
    target = some(1, 1, 6, 6).clamp(0.05, 0.95)
    everywhere = torch.ones_like(target)
    best = losses.bce(torch.logit(target), target, everywhere)
    entropy = -(target * target.log() + (1 - target) * (1 - target).log()).mean()
    assert float(best) == pytest.approx(float(entropy), rel=1e-9)
    assert losses.bce(torch.logit(target) + 0.1, target, everywhere) > best
    assert losses.bce(torch.logit(target) - 0.1, target, everywhere) > best


def test_critic_learns_to_tell_drawn_from_predicted_masks() -> None:
    torch.manual_seed(0)
    critic = losses.Critic(width=8)
    image, drawn = torch.rand(4, 3, 32, 32), (torch.rand(4, 1, 32, 32) > 0.5).float()
    predicted = torch.full_like(drawn, 0.5)
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss = losses.critic_loss(critic(image, drawn), critic(image, predicted))
        loss.backward()
        optimizer.step()
    assert loss < 0.5  # 2 where it cannot tell
    assert losses.adversarial_loss(critic(image, predicted)) > losses.adversarial_loss(critic(image, drawn))


def test_logits_are_resized_as_the_exported_mask_is() -> None:
    logits = some(1, 1, 4, 5)
    expected = torch.nn.functional.interpolate(logits, size=(9, 11), mode="bilinear", align_corners=False)
    assert torch.equal(losses.at_size(logits, (9, 11)), expected)
    assert losses.at_size(logits, (4, 5)) is logits
