"""Metrics against plain loops over pixels, hand-computed numbers, and their laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from portrait_export.artifacts import Prediction
from portrait_export.errors import DataError
from portrait_export.verify import metrics
from portrait_export.verify.scores import ImageScore, score_image, score_kinds, score_set

BOOLS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda s: st.tuples(arrays(bool, s), arrays(bool, s)))


def mask(*rows: str) -> np.ndarray:
    """`mask("#.", "..")`: # is person."""
    return np.array([[float(c == "#") for c in row] for row in rows], np.float32)


# ---- IoU --------------------------------------------------------------------------------------------------------

IOU = {
    "both_empty_agree": (mask("..", ".."), mask("..", ".."), 1.0),
    "one_empty": (mask("#.", ".."), mask("..", ".."), 0.0),
    "identical": (mask("#.", "##"), mask("#.", "##"), 1.0),
    "half": (mask("##", ".."), mask("#.", ".."), 0.5),
    "disjoint": (mask("#.", ".."), mask(".#", ".."), 0.0),
    "third": (mask("##."), mask(".##"), 1 / 3),
}


@pytest.mark.parametrize("name", IOU)
def test_iou(name: str) -> None:
    a, b, expected = IOU[name]
    assert metrics.mask_iou(a, b) == expected


@given(BOOLS)
def test_iou_is_what_sets_say(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    set_a, set_b = set(zip(*np.nonzero(a), strict=True)), set(zip(*np.nonzero(b), strict=True))
    expected = len(set_a & set_b) / len(set_a | set_b) if set_a | set_b else 1.0
    assert metrics.mask_iou(a.astype(float), b.astype(float)) == expected
    assert metrics.mask_iou(b.astype(float), a.astype(float)) == expected
    assert metrics.flipped_pixels(a.astype(float), b.astype(float)) == len(set_a ^ set_b)


def test_the_threshold_belongs_to_the_person() -> None:
    assert metrics.binary(np.array([0.49999, 0.5]), 0.5).tolist() == [False, True]
    assert metrics.mask_iou(np.array([[0.6]]), np.array([[0.8]]), threshold=0.7) == 0.0


# ---- boundaries -------------------------------------------------------------------------------------------------


def outline_by_loops(a: np.ndarray) -> np.ndarray:
    H, W = a.shape
    out = np.zeros_like(a)
    for y in range(H):
        for x in range(W):
            neighbours = [(min(y + dy, H - 1), min(x + dx, W - 1)) for dy, dx in ((0, 1), (1, 0), (1, 1))]
            out[y, x] = any(a[n] != a[y, x] for n in neighbours)
    return out


def near_by_distances(points: np.ndarray, radius: int) -> np.ndarray:
    ys, xs = np.nonzero(points)
    grid_y, grid_x = np.mgrid[0 : points.shape[0], 0 : points.shape[1]]
    distance = (grid_y[..., None] - ys) ** 2 + (grid_x[..., None] - xs) ** 2
    return (distance <= radius * radius).any(-1)


@given(BOOLS, st.integers(0, 12))
def test_boundary_f_is_its_definition(pair: tuple[np.ndarray, np.ndarray], radius: int) -> None:
    a, b = (outline_by_loops(part) for part in pair)
    found = metrics.boundary_f(pair[0].astype(float), pair[1].astype(float), radius=radius)
    if not a.any() or not b.any():
        assert found == float(a.any() == b.any())
        return
    precision = (a & near_by_distances(b, radius)).sum() / a.sum()
    recall = (b & near_by_distances(a, radius)).sum() / b.sum()
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert found == pytest.approx(expected, abs=1e-12)


@given(BOOLS, st.integers(0, 12))
def test_dilate_is_a_disk(pair: tuple[np.ndarray, np.ndarray], radius: int) -> None:
    np.testing.assert_array_equal(metrics.dilate(pair[0], radius), near_by_distances(pair[0], radius))


RADII = {"512x512": ((512, 512), 6), "64x64": ((64, 64), 1), "1x1": ((1, 1), 1), "4000x3000": ((4000, 3000), 40)}


@pytest.mark.parametrize("name", RADII)
def test_boundary_radius(name: str) -> None:
    shape, radius = RADII[name]
    assert metrics.boundary_radius(shape) == radius


def test_a_shift_within_the_tolerance_costs_nothing_and_beyond_it_everything() -> None:
    a = np.zeros((512, 512))
    a[:, 100:300] = 1
    assert metrics.boundary_f(a, np.roll(a, 6, axis=1)) == 1.0
    assert metrics.boundary_f(a, np.roll(a, 7, axis=1)) == 0.0


# ---- logits -----------------------------------------------------------------------------------------------------


def test_psnr_by_hand() -> None:
    reference = np.array([-6.0, 0.0, 4.0])  # range 10
    candidate = reference + np.array([0.1, -0.1, 0.1])  # MSE 0.01 → 10·log10(100 / 0.01)
    assert metrics.psnr_db(reference, candidate) == pytest.approx(40.0)


@given(arrays(np.float32, (4, 5), elements=st.floats(-50, 50, width=32)), st.floats(-100, 100), st.floats(0.25, 8))
def test_psnr_ignores_offset_and_scale(values: np.ndarray, offset: float, scale: float) -> None:
    reference = values.astype(np.float64)
    candidate = reference + np.linspace(-1, 1, 20).reshape(4, 5)
    if np.ptp(reference) < 1e-3:
        return
    plain = metrics.psnr_db(reference, candidate)
    assert metrics.psnr_db(reference * scale + offset, candidate * scale + offset) == pytest.approx(plain, abs=1e-6)


LOGITS = {  # reference, candidate → PSNR, max abs, max rel
    "identical": ([1.0, 2.0], [1.0, 2.0], metrics.IDENTICAL_DB, 0.0, 0.0),
    "constant_and_met": ([3.0, 3.0], [3.0, 3.0], metrics.IDENTICAL_DB, 0.0, 0.0),
    "constant_and_missed": ([4.0, 4.0], [4.0, 5.0], 10 * math.log10(4**2 / 0.5), 1.0, 0.25),
    "zero_and_missed": ([0.0, 0.0], [0.0, 1.0], 10 * math.log10(1 / 0.5), 1.0, math.nan),
    "scale_is_the_largest_magnitude": ([-8.0, 0.0], [-8.0, 2.0], 10 * math.log10(64 / 2), 2.0, 0.25),
    "candidate_nan": ([1.0, 2.0], [1.0, math.nan], math.nan, math.nan, math.nan),
    "candidate_infinite": ([1.0, 2.0], [1.0, math.inf], math.nan, math.nan, math.nan),
    "reference_nan": ([1.0, math.nan], [1.0, 2.0], math.nan, math.nan, math.nan),
}


@pytest.mark.parametrize("name", LOGITS)
def test_logit_errors(name: str) -> None:
    reference, candidate, psnr, max_abs, max_rel = LOGITS[name]
    a, b = np.array(reference, np.float32), np.array(candidate, np.float32)
    found = [metrics.psnr_db(a, b), metrics.max_abs_error(a, b), metrics.max_rel_error(a, b)]
    assert found == pytest.approx([psnr, max_abs, max_rel], nan_ok=True)


def test_halves_do_not_overflow_while_they_are_compared() -> None:
    a = np.full((2, 2), 60000, np.float16)
    a[0, 0] = -60000
    assert metrics.max_abs_error(a, -a) == 120000
    assert metrics.psnr_db(a, -a) == pytest.approx(0.0)


# ---- NaN and shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "function",
    [
        metrics.mask_iou,
        metrics.boundary_f,
        metrics.flipped_pixels,
        metrics.flipped_margin,
        metrics.mean_abs_error,
    ],
)
def test_what_is_not_finite_never_becomes_a_number(function: object, bad: float) -> None:
    good, broken = np.zeros((4, 4)), np.zeros((4, 4))
    broken[1, 2] = bad
    assert math.isnan(function(good, broken))
    assert math.isnan(function(broken, good))


@pytest.mark.parametrize("function", [metrics.mask_iou, metrics.boundary_f, metrics.psnr_db, metrics.max_abs_error])
def test_different_shapes_are_refused(function: object) -> None:
    with pytest.raises(DataError, match=r"of different shapes: \(1, 4\) and \(4, 4\)"):
        function(np.zeros((1, 4)), np.zeros((4, 4)))  # which would broadcast


# ---- one image and sets -----------------------------------------------------------------------------------------


def prediction(values: np.ndarray, logits: np.ndarray | None = None) -> Prediction:
    return Prediction(values.astype(np.float32), logits)


def test_margin_is_the_references_surest_flipped_pixel() -> None:
    reference = np.array([[0.9, 0.45, 0.52, 0.1]], np.float32)
    assert metrics.flipped_margin(reference, np.array([[0.6, 0.55, 0.48, 0.4]])) == pytest.approx(0.05)
    assert metrics.flipped_margin(reference, np.array([[0.6, 0.40, 0.48, 0.4]])) == pytest.approx(0.02)
    assert metrics.flipped_margin(reference, reference) == 0
    assert metrics.flipped_margin(reference, np.array([[0.6, 0.3, 0.9, 0.4]]), threshold=0.5) == 0


def test_score_image_by_hand() -> None:
    logits = np.array([[-6.0, 4.0]], np.float32)
    score = score_image(
        prediction(mask("##..", "##.."), logits),
        prediction(mask("##..", "#..."), logits + np.float32(0.5)),
        label=mask("###.", "#..."),
        name="a.jpg",
        kind="portrait",
    )
    assert score == ImageScore(
        name="a.jpg",
        kind="portrait",
        finite=True,
        iou=0.75,
        boundary_f=1.0,
        flipped_pixels=1.0,
        flipped_share=0.125,
        flipped_margin=0.5,
        mean_abs_probability=0.125,
        psnr_db=pytest.approx(10 * math.log10(100 / 0.25)),
        max_abs_logit=0.5,
        max_rel_logit=pytest.approx(0.5 / 6),
        label_iou_reference=3 / 5,
        label_iou_candidate=3 / 4,
        person_share=0.5,
    )


def test_a_soft_label_is_cut_at_one_half_whatever_the_threshold() -> None:
    label = np.array([[0.4, 0.6, 0.9]], np.float32)
    score = score_image(prediction(np.array([[0.5, 0.85, 0.95]])), prediction(label), label=label, threshold=0.8)
    assert score.label_iou_reference == 1.0  # 0.85 and 0.95 pass 0.8; 0.6 and 0.9 pass one half
    assert score.label_iou_candidate == 0.5


def test_without_logits_and_label_these_scores_are_missing() -> None:
    score = score_image(prediction(mask("#.")), prediction(mask("#."), np.zeros((1, 1))))
    assert (score.psnr_db, score.max_abs_logit, score.label_iou_reference) == (None, None, None)


@pytest.mark.parametrize("where", ["mask", "logits"])
def test_a_nan_of_the_candidate_is_found_in_mask_and_logits(where: str) -> None:
    good = prediction(mask("#."), np.array([[1.0, -1.0]]))
    bad_mask, bad_logits = mask("#."), np.array([[1.0, -1.0]])
    (bad_mask if where == "mask" else bad_logits)[0, 1] = math.nan
    assert not score_image(good, prediction(bad_mask, bad_logits)).finite
    assert score_image(prediction(bad_mask, bad_logits), good).finite  # that one is the reference's


def scored(name: str, a: np.ndarray, b: np.ndarray, label: np.ndarray | None = None) -> ImageScore:
    return score_image(prediction(a, a * 8 - 4), prediction(b, b * 8 - 4), label=label, name=name)


def test_score_set_by_hand() -> None:
    same, off = mask("##.."), mask("#...")
    summary = score_set([scored("a", same, same, same), scored("b", same, off, same), scored("c", off, off)])
    assert summary.images == 3
    assert summary.iou_mean == pytest.approx((1 + 0.5 + 1) / 3)
    assert (summary.iou_worst, summary.iou_worst_image) == (0.5, "b")
    assert summary.flipped_pixels == 1
    assert summary.flipped_share == pytest.approx(0.25 / 3)
    assert summary.psnr_worst_db == pytest.approx(10 * math.log10(64 / 16))
    assert summary.psnr_worst_image == "b"
    assert summary.max_abs_logit == 8
    assert summary.labelled == 2
    assert (summary.label_miou_reference, summary.label_miou_candidate) == (1.0, 0.75)
    assert summary.label_drop_points == pytest.approx(25.0)


def test_empty_pictures_count_by_their_flipped_pixels_alone() -> None:
    nobody = replace(scored("nobody", mask("...."), mask("#..."), mask("....")), kind="empty")
    person = replace(scored("person", mask("##.."), mask("##.."), mask("##..")), kind="everyday")
    assert (nobody.iou, nobody.label_iou_reference, nobody.label_iou_candidate) == (0.0, 1.0, 0.0)
    summary = score_set([nobody, person])
    assert (summary.iou_mean, summary.iou_worst, summary.iou_worst_image) == (1.0, 1.0, "person")
    assert (summary.boundary_f_mean, summary.labelled, summary.label_drop_points) == (1.0, 1, 0.0)
    assert (summary.flipped_share, summary.flipped_share_worst) == (0.125, 0.25)
    assert summary.flipped_share_worst_image == "nobody"
    kinds = score_kinds([nobody, person, nobody])
    assert {kind: part.images for kind, part in kinds.items()} == {"empty": 2, "everyday": 1}
    empty = kinds["empty"]
    assert (empty.iou_mean, empty.iou_worst, empty.iou_worst_image, empty.label_drop_points) == (None, None, "", None)


def test_one_nan_among_many_stays() -> None:
    broken = mask("##..")
    broken[0, 3] = math.nan
    good = scored("good", mask("##.."), mask("##.."), mask("##.."))
    summary = score_set([good, scored("bad", mask("##.."), broken, mask("##..")), good])
    assert summary.non_finite == ("bad",)
    assert summary.iou_worst_image == "bad"
    assert summary.psnr_worst_image == "bad"
    for name in ("iou_mean", "iou_worst", "boundary_f_mean", "flipped_pixels", "psnr_mean_db", "max_abs_logit"):
        assert math.isnan(getattr(summary, name)), name
    assert math.isnan(summary.label_drop_points)
    assert math.isnan(summary.flipped_share_worst)
    assert summary.flipped_share_worst_image == "bad"


def test_logits_missing_on_one_image_are_missing_for_the_set() -> None:
    without = score_image(prediction(mask("#.")), prediction(mask("#.")), name="x")
    summary = score_set([scored("a", mask("#."), mask("#.")), without])
    assert (summary.psnr_worst_db, summary.psnr_mean_db, summary.max_rel_logit) == (None, None, None)


def test_an_empty_set_proves_nothing() -> None:
    with pytest.raises(DataError, match="There is no image to compare on"):
        score_set([])


@settings(max_examples=30)
@given(st.permutations(range(4)))
def test_the_order_of_images_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(5)
    scores = [scored(f"{i}", rng.random((6, 6)), rng.random((6, 6)), rng.random((6, 6))) for i in range(4)]
    assert score_set([scores[i] for i in order]) == score_set(scores)


def carrying(**values: np.ndarray) -> Prediction:
    return Prediction(np.zeros((2, 2), np.float32), carried=values)


RAMP, FALL = np.linspace(-1, 1, 8, dtype=np.float32), np.linspace(1, -1, 8, dtype=np.float32)


def test_carried_values_are_scored_by_the_worst_and_by_their_margin_over_mistakes() -> None:
    score = score_image(carrying(a=RAMP, b=FALL), carrying(a=RAMP + 0.02, b=FALL))
    assert score.carried_psnr_db == pytest.approx(40.0, abs=1e-3)
    zeros = 20 * math.log10(2) - 10 * math.log10(float(np.mean(RAMP.astype(np.float64) ** 2)))
    assert score.carried_margin_db == pytest.approx(40.0 - zeros, abs=1e-3)


def test_carried_values_in_each_others_place_or_forgotten_have_no_margin() -> None:
    swapped = score_image(carrying(a=RAMP, b=FALL), carrying(a=FALL, b=RAMP))
    assert swapped.carried_margin_db is not None
    assert swapped.carried_margin_db < 0
    forgotten = score_image(carrying(a=RAMP, b=FALL), carrying(a=RAMP, b=FALL * 0))
    assert forgotten.carried_margin_db == pytest.approx(0.0)


def test_values_that_are_one_cannot_be_mixed_up() -> None:
    score = score_image(carrying(a=RAMP, b=RAMP), carrying(a=RAMP, b=RAMP))
    assert score.carried_margin_db is not None
    assert score.carried_margin_db > 100
    constant = np.zeros(3, np.float32)
    assert score_image(carrying(a=constant), carrying(a=constant)).carried_margin_db == 200.0


@pytest.mark.parametrize("values", [{}, {"b": RAMP}, {"a": RAMP[:4]}], ids=["none", "other_name", "other_shape"])
def test_other_carried_values_are_nan_and_pass_no_gate(values: dict[str, np.ndarray]) -> None:
    score = score_image(carrying(a=RAMP), carrying(**values))
    assert score.carried_psnr_db is not None
    assert math.isnan(score.carried_psnr_db)
    assert score.carried_margin_db is not None
    assert math.isnan(score.carried_margin_db)


def test_without_carried_values_there_is_no_score_of_them() -> None:
    score = score_image(carrying(), carrying())
    assert (score.carried_psnr_db, score.carried_margin_db) == (None, None)
