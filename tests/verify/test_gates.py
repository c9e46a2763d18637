"""Each gate fails just beyond its bar and passes at it; NaN never passes; what is not gated is noted."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from portrait_export.errors import UsageError
from portrait_export.verify import gates
from portrait_export.verify.gates import Gate, Thresholds, judge, kind_of, size_gate, thresholds_for
from portrait_export.verify.scores import SetScore

PERFECT = SetScore(
    images=3,
    non_finite=(),
    iou_mean=1.0,
    iou_worst=1.0,
    iou_worst_image="a.jpg",
    boundary_f_mean=1.0,
    boundary_f_worst=1.0,
    flipped_pixels=0.0,
    flipped_share=0.0,
    flipped_share_worst=0.0,
    flipped_share_worst_image="c.jpg",
    flipped_margin=0.0,
    mean_abs_probability=0.0,
    psnr_mean_db=200.0,
    psnr_worst_db=200.0,
    psnr_worst_image="b.jpg",
    max_abs_logit=0.0,
    max_rel_logit=0.0,
    labelled=2,
    label_miou_reference=0.95,
    label_miou_candidate=0.95,
    label_drop_points=0.0,
)

# kind, trained, field of the score, value at the bar, value just beyond it, name of the gate that fails then
EDGES = {
    "fp32_mean": ("fp32", True, "iou_mean", 0.9999, 0.99989, "mean_mask_iou"),
    "fp32_psnr": ("fp32", True, "psnr_worst_db", 60.0, 59.9, "logits_psnr_db"),
    "fp32_scale": ("fp32", True, "max_rel_logit", 1e-3, 1.1e-3, "max_rel_logit_error"),
    "fp16_mean": ("fp16", True, "iou_mean", 0.999, 0.9989, "mean_mask_iou"),
    "fp16_worst": ("fp16", True, "iou_worst", 0.995, 0.9949, "worst_mask_iou"),
    "fp16_psnr": ("fp16", True, "psnr_worst_db", 40.0, 39.9, "logits_psnr_db"),
    "int8_mean": ("int8", True, "iou_mean", 0.995, 0.9949, "mean_mask_iou"),
    "int8_worst": ("int8", True, "iou_worst", 0.98, 0.979, "worst_mask_iou"),
    "int8_label_drop": ("int8", True, "label_drop_points", 0.2, 0.21, "label_miou_drop_points"),
    "fp16_carried": ("fp16", True, "carried_worst_db", 40.0, 39.9, "carried_psnr_db"),
    "low_bits_carried": ("palette2", True, "carried_worst_db", 1.0, 0.9, "carried_psnr_db"),
    "low_bits_carried_margin": ("palette2", True, "carried_margin_db", 1.0, 0.9, "carried_margin_db"),
    "untrained_fp16_psnr": ("fp16", False, "psnr_worst_db", 40.0, 39.9, "logits_psnr_db"),
    "untrained_fp32_psnr": ("fp32", False, "psnr_worst_db", 60.0, 59.9, "logits_psnr_db"),
    "untrained_int8_psnr": (
        "int8",
        False,
        "psnr_worst_db",
        gates.INT8_UNTRAINED_PSNR_DB,
        gates.INT8_UNTRAINED_PSNR_DB - 0.1,
        "logits_psnr_db",
    ),
}


NOBODY = replace(
    PERFECT,
    iou_mean=None,
    iou_worst=None,
    iou_worst_image="",
    boundary_f_mean=None,
    boundary_f_worst=None,
    labelled=0,
    label_miou_reference=None,
    label_miou_candidate=None,
    label_drop_points=None,
)


def judged(score: SetScore, thresholds: Thresholds) -> tuple[tuple[Gate, ...], tuple[str, ...]]:
    """Judge images without kinds."""
    return judge(score, {"": score}, thresholds)


def failed(score: SetScore, thresholds: Thresholds) -> list[str]:
    return [gate.name for gate in judged(score, thresholds)[0] if not gate.passed]


@pytest.mark.parametrize("name", EDGES)
def test_each_bar_passes_at_it_and_fails_beyond_it(name: str) -> None:
    kind, trained, field, at, beyond, gate = EDGES[name]
    thresholds = thresholds_for(kind, trained=trained)
    assert failed(replace(PERFECT, **{field: at}), thresholds) == []
    assert failed(replace(PERFECT, **{field: beyond}), thresholds) == [gate]
    assert failed(replace(PERFECT, **{field: math.nan}), thresholds) == [gate]


def test_a_gain_over_the_reference_is_not_a_drop() -> None:
    assert failed(replace(PERFECT, label_drop_points=-3.0), thresholds_for("int8")) == []


@pytest.mark.parametrize("kind", gates.TRAINED)
@pytest.mark.parametrize("trained", [True, False])
def test_one_image_with_nan_fails_every_kind(kind: str, trained: bool) -> None:
    assert failed(replace(PERFECT, non_finite=("x.jpg",)), thresholds_for(kind, trained=trained)) == [
        "non_finite_images"
    ]


def test_many_bad_images_are_named_in_short() -> None:
    names = tuple(f"{i}.jpg" for i in range(9))
    gate = judged(replace(PERFECT, non_finite=names), thresholds_for("fp16"))[0][0]
    assert (gate.value, gate.where) == (9.0, "0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 4 more")


@pytest.mark.parametrize("kind", gates.UNTRAINED)
def test_masks_of_untrained_weights_are_not_gated_and_a_note_explains_it(kind: str) -> None:
    bad_masks = replace(PERFECT, iou_mean=0.1, iou_worst=0.0, label_drop_points=50.0)
    found, notes = judged(bad_masks, thresholds_for(kind, trained=False))
    assert all(gate.passed for gate in found)
    assert any("masks cut from them mean nothing" in note for note in notes)


def test_every_kind_has_bars_for_trained_and_untrained_weights() -> None:
    assert set(gates.TRAINED) == set(gates.UNTRAINED)


def test_missing_logits_are_noted_and_leave_the_masks_to_judge_by() -> None:
    without = replace(PERFECT, psnr_mean_db=None, psnr_worst_db=None, max_abs_logit=None, max_rel_logit=None)
    found, notes = judged(without, thresholds_for("fp16"))
    assert [gate.name for gate in found] == ["non_finite_images", "mean_mask_iou", "worst_mask_iou"]
    [note] = notes
    assert note.startswith("Logits were not available on both sides, so logits PSNR, dB was not gated: ")
    assert "no value before its activation" in note
    assert "does not record" in note


def test_nothing_to_judge_by_is_a_failure() -> None:
    without = replace(PERFECT, psnr_mean_db=None, psnr_worst_db=None, max_rel_logit=None)
    assert failed(without, thresholds_for("fp16", trained=False)) == ["measured"]


def test_missing_drawn_masks_are_noted() -> None:
    without = replace(PERFECT, labelled=0, label_drop_points=None)
    assert "No image has a drawn mask" in judged(without, thresholds_for("int8"))[1][0]


def test_where_names_the_image_that_gave_the_value() -> None:
    found = {gate.name: gate.where for gate in judged(PERFECT, thresholds_for("int8"))[0]}
    assert found == {
        "non_finite_images": "over 3 images",
        "mean_mask_iou": "over 3 images",
        "worst_mask_iou": "a.jpg",
        "label_miou_drop_points": "over 2 drawn masks",
    }


# min_iou → (mean bar, its note), (worst bar, its note)
OVERRIDES = {
    "loosened": (
        0.9,
        (0.9, "set by `min_iou=`; the named bar is 0.999"),
        (0.9, "set by `min_iou=`; the named bar is 0.995"),
    ),
    "loosened_above_worst": (0.997, (0.997, "set by `min_iou=`; the named bar is 0.999"), (0.995, "")),
    "tightened": (0.9999, (0.9999, "set by `min_iou=`; the named bar is 0.999"), (0.995, "")),
    "the_same": (0.999, (0.999, ""), (0.995, "")),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_min_iou_changes_the_mask_bars_and_is_reported(name: str) -> None:
    min_iou, mean, worst = OVERRIDES[name]
    found = {gate.name: gate for gate in judged(PERFECT, thresholds_for("fp16", min_iou=min_iou))[0]}
    assert (found["mean_mask_iou"].threshold, found["mean_mask_iou"].note) == mean
    assert (found["worst_mask_iou"].threshold, found["worst_mask_iou"].note) == worst
    assert found["logits_psnr_db"].threshold == 40.0


def test_min_iou_asks_for_masks_even_of_untrained_weights() -> None:
    thresholds = thresholds_for("fp16", trained=False, min_iou=0.9)
    assert failed(replace(PERFECT, iou_mean=0.5, iou_worst=0.5), thresholds) == ["mean_mask_iou", "worst_mask_iou"]
    assert judged(PERFECT, thresholds)[0][1].note == "set by `min_iou=`; not gated by default"


@pytest.mark.parametrize("value", [-0.1, 1.1, 99, math.nan])
def test_refuses_a_min_iou_outside_0_to_1(value: float) -> None:
    with pytest.raises(UsageError, match=r"`min_iou=` is a mean mask IoU within 0\.\.1"):
        thresholds_for("fp16", min_iou=value)


def test_refuses_an_unknown_kind() -> None:
    with pytest.raises(UsageError) as caught:
        thresholds_for("int9")
    assert str(caught.value) == (
        "There are no gates for packages of kind 'int9'.\n"
        f"hint: did you mean `int8`? The kinds are: {', '.join(sorted(gates.TRAINED))}."
    )


def test_kind_of() -> None:
    assert (kind_of("none", "fp16"), kind_of("none", "fp32"), kind_of("int8", "fp16")) == ("fp16", "fp32", "int8")


def test_size_budgets() -> None:
    at, beyond = (size_gate("segformer_b0", "int8", size) for size in (4_200_000, 4_200_001))
    assert at is not None
    assert beyond is not None
    assert (at.passed, beyond.passed, at.threshold) == (True, False, 4_200_000.0)
    assert size_gate("sernet_former", "none", 10**9) is None


@pytest.mark.parametrize(
    ("iou", "margin", "said"),
    [(0.99, 0.004, "0.004"), (0.99, 0.0136, "0.014"), (0.99, 0.3, ""), (1.0, 0.004, ""), (0.99, math.nan, "")],
    ids=["undecided", "rounded_up", "decided", "passed", "not_finite"],
)
def test_masks_that_differ_only_where_the_model_is_undecided_get_a_note(iou: float, margin: float, said: str) -> None:
    score = replace(PERFECT, iou_mean=iou, flipped_pixels=500.0, flipped_margin=margin)
    found, notes = judged(score, thresholds_for("fp16"))
    assert all(gate.passed for gate in found) == (iou == 1.0)  # the note excuses nothing
    assert any("itself is undecided" in note for note in notes) == bool(said)
    assert any(f"within {said} of" in note for note in notes) == bool(said)


# ---- kinds ------------------------------------------------------------------------------------------------------

KINDS = {"portrait": PERFECT, "everyday": PERFECT, "empty": NOBODY}
# kind of package, kind of photograph, field of its score, value at the bar, value just beyond it, gate that fails then
KIND_EDGES = {
    "portraits_mean": ("fp16", "portrait", "iou_mean", 0.999, 0.9989, "mean_mask_iou.portrait"),
    "everyday_worst": ("fp16", "everyday", "iou_worst", 0.995, 0.9949, "worst_mask_iou.everyday"),
    "everyday_label_drop": ("int8", "everyday", "label_drop_points", 0.2, 0.21, "label_miou_drop_points.everyday"),
    "empty_mean_fp32": ("fp32", "empty", "flipped_share", 2.49e-5, 2.6e-5, "mean_flipped_share.empty"),
    "empty_worst_fp32": ("fp32", "empty", "flipped_share_worst", 2.49e-4, 2.6e-4, "worst_flipped_share.empty"),
    "empty_mean_fp16": ("fp16", "empty", "flipped_share", 2.49e-4, 2.6e-4, "mean_flipped_share.empty"),
    "empty_worst_fp16": ("fp16", "empty", "flipped_share_worst", 1.24e-3, 1.3e-3, "worst_flipped_share.empty"),
    "empty_mean_int8": ("int8", "empty", "flipped_share", 1.24e-3, 1.3e-3, "mean_flipped_share.empty"),
    "empty_worst_int8": ("int8", "empty", "flipped_share_worst", 4.9e-3, 5.1e-3, "worst_flipped_share.empty"),
}


def kinds_failed(kind: str, kinds: dict[str, SetScore]) -> list[str]:
    return [gate.name for gate in judge(PERFECT, kinds, thresholds_for(kind))[0] if not gate.passed]


@pytest.mark.parametrize("name", KIND_EDGES)
def test_each_kind_of_photograph_has_to_reach_the_bars_by_itself(name: str) -> None:
    package, kind, field, at, beyond, gate = KIND_EDGES[name]
    for value, expected in ((at, []), (beyond, [gate]), (math.nan, [gate])):
        changed = KINDS | {kind: replace(KINDS[kind], **{field: value})}
        assert kinds_failed(package, changed) == expected


def test_gates_of_a_mixed_set_name_the_kind_and_logits_are_gated_once() -> None:
    found, notes = judge(PERFECT, KINDS, thresholds_for("fp16"))
    assert [(gate.name, gate.title) for gate in found] == [
        ("non_finite_images", "images with NaN or infinity"),
        ("mean_mask_iou.portrait", "mean mask IoU, portrait"),
        ("mean_mask_iou.everyday", "mean mask IoU, everyday"),
        ("worst_mask_iou.portrait", "worst mask IoU, portrait"),
        ("worst_mask_iou.everyday", "worst mask IoU, everyday"),
        ("mean_flipped_share.empty", "mean share of flipped pixels, empty"),
        ("worst_flipped_share.empty", "worst share of flipped pixels, empty"),
        ("logits_psnr_db", "logits PSNR, dB"),
    ]
    assert found[-2].where == "c.jpg"
    assert notes == (gates.EMPTY_NOTE,)


def test_a_set_of_empty_pictures_alone_is_judged_by_its_flipped_pixels() -> None:
    found, _ = judge(NOBODY, {"empty": NOBODY}, thresholds_for("int8"))
    assert [gate.name for gate in found] == [
        "non_finite_images",
        "mean_flipped_share.empty",
        "worst_flipped_share.empty",
    ]
    assert all(gate.passed for gate in found)


def test_min_iou_sets_the_bar_of_every_kind_with_people() -> None:
    found = judge(PERFECT, KINDS, thresholds_for("fp16", min_iou=0.9))[0]
    bars = {gate.name: (gate.threshold, gate.note) for gate in found}
    for kind in ("portrait", "everyday"):
        assert bars[f"mean_mask_iou.{kind}"] == (0.9, "set by `min_iou=`; the named bar is 0.999")
    assert bars["mean_flipped_share.empty"] == (gates.FP16_EMPTY_MEAN_FLIPPED, "")


def test_an_undecided_model_gets_the_note_if_only_empty_pictures_fail() -> None:
    kinds = KINDS | {"empty": replace(NOBODY, flipped_share=0.1)}
    notes = judge(replace(PERFECT, flipped_pixels=9.0, flipped_margin=0.004), kinds, thresholds_for("int8"))[1]
    assert any("itself is undecided" in note for note in notes)


@pytest.mark.parametrize(
    ("empty", "full", "expected"),
    [
        (0, 0, []),
        (3, 0, ["empty on every one of 3 photographs"]),
        (2, 0, ["empty on 2 of 3 photographs"]),
        (0, 3, ["full on every one of 3 photographs"]),
        (1, 1, ["empty on 1 of 3 photographs", "full on 1 of 3 photographs"]),
    ],
)
def test_masks_of_one_colour_get_a_note_as_their_iou_says_nothing(empty: int, full: int, expected: list[str]) -> None:
    score = replace(PERFECT, with_people=3, both_empty=empty, both_full=full)
    _, notes = judged(score, thresholds_for("fp16"))
    found = [note for note in notes if "Both masks are" in note]
    assert len(found) == len(expected)
    assert all(part in note for part, note in zip(expected, found, strict=True))


def test_masks_of_one_colour_are_not_noted_where_no_mask_is_gated() -> None:
    _, notes = judged(replace(PERFECT, with_people=3, both_empty=3), thresholds_for("fp16", trained=False))
    assert not any("Both masks are" in note for note in notes)
