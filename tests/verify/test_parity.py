"""Parity: two runners compared frame by frame; the report, its JSON and its JUnit."""

from __future__ import annotations

import json
import math
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from portrait_export.artifacts import Frame, LabelledFrame, Prediction, Runner
from portrait_export.errors import DataError, ExecutionError
from portrait_export.verify.gates import Gate, size_gate, thresholds_for
from portrait_export.verify.parity import Comparison, ParityReport, compare, joined, measured, number
from portrait_export.verify.report.markdown import to_markdown

SIDE = 32


class Discs:
    """Segments a disc of each frame's own radius; `noise` is added to the logits, `broken` names get a NaN."""

    def __init__(self, name: str, noise: float = 0.0, broken: Sequence[str] = (), logits: bool = True):
        self.name, self.noise, self.broken, self.logits = name, noise, broken, logits
        self.calls = 0

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        self.calls += 1
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Frame) -> Prediction:
        rows, columns = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2 + 0.3  # no pixel lies on the circle
        logits = (frame.image[0, 0, 0] - np.hypot(rows, columns)).astype(np.float32)
        logits += np.float32(self.noise) * np.random.default_rng(3).standard_normal(logits.shape, np.float32)
        if frame.name in self.broken:
            logits[3, 4] = np.nan
        return Prediction(1 / (1 + np.exp(-logits)), logits[::2, ::2] if self.logits else None)


def frames(count: int = 3, labelled: bool = True) -> Iterator[LabelledFrame]:
    for i in range(count):
        frame = Frame(np.full((SIDE, SIDE, 3), 6 + i, np.uint8), name=f"{i}.jpg")
        mask = Discs("label").run([frame])[0].probability if labelled else None
        yield LabelledFrame(frame, mask)


def test_a_runner_of_the_protocol() -> None:
    assert isinstance(Discs("x"), Runner)


def test_equal_runners_pass_every_kind() -> None:
    for kind in ("fp32", "fp16", "int8"):
        report = compare(Discs("a"), Discs("b"), frames(), thresholds_for(kind))
        assert report.passed
        assert report.summary.iou_mean == 1.0


def test_small_noise_passes_and_larger_noise_fails_by_name() -> None:
    assert compare(Discs("a"), Discs("b", 0.001), frames(), thresholds_for("fp16")).passed
    report = compare(Discs("a"), Discs("b", 2.0), frames(), thresholds_for("fp16"))
    assert not report.passed
    assert [gate.name for gate in report.gates if not gate.passed] == [
        "mean_mask_iou",
        "worst_mask_iou",
        "logits_psnr_db",
    ]


def test_one_nan_fails_and_is_named() -> None:
    report = compare(Discs("a"), Discs("b", broken=["1.jpg"]), frames(), thresholds_for("int8"))
    assert not report.passed
    assert report.summary.non_finite == ("1.jpg",)
    assert report.worst(1)[0].name == "1.jpg"
    assert [score.finite for score in report.images] == [True, False, True]


def test_a_broken_reference_is_named_in_a_note() -> None:
    report = compare(Discs("a", broken=["2.jpg"]), Discs("b"), frames(), thresholds_for("fp16"))
    assert not report.passed
    assert "The reference itself gives NaN or infinity on: 2.jpg." in report.notes


def test_frames_stream_one_at_a_time() -> None:
    reference, candidate = Discs("a"), Discs("b")
    seen: list[tuple[str, int, int]] = []

    def on_image(compared: Comparison) -> None:
        assert compared.reference.probability.shape == compared.candidate.probability.shape == (SIDE, SIDE)
        seen.append((compared.score.name, reference.calls, candidate.calls))

    compare(reference, candidate, frames(), thresholds_for("fp16"), on_image=on_image)
    assert seen == [("0.jpg", 1, 1), ("1.jpg", 2, 2), ("2.jpg", 3, 3)]


def test_worst_images_come_first_and_ties_by_logits() -> None:
    report = compare(Discs("a"), Discs("b", 0.5), frames(6), thresholds_for("fp16"))
    ious = [score.iou for score in report.worst(6)]
    assert ious == sorted(ious)
    assert len(report.worst(2)) == 2


def test_no_frames_is_an_error() -> None:
    with pytest.raises(DataError, match="There is no image to compare on"):
        compare(Discs("a"), Discs("b"), [], thresholds_for("fp16"))


def test_a_runner_that_loses_frames_is_an_error() -> None:
    class Lazy(Discs):
        def run(self, frames: Sequence[Frame]) -> list[Prediction]:
            return []

    with pytest.raises(ExecutionError, match="lazy returned 0 predictions for one frame"):
        compare(Discs("a"), Lazy("lazy"), frames(), thresholds_for("fp16"))


def test_the_threshold_is_handed_on() -> None:
    seen: list[float] = []
    compare(
        Discs("a"),
        Discs("b"),
        frames(1),
        thresholds_for("fp16"),
        threshold=0.3,
        on_image=lambda c: seen.append(c.threshold),
    )
    assert seen == [0.3]


def test_a_budget_joins_the_gates() -> None:
    report = compare(Discs("a"), Discs("b"), frames(), thresholds_for("int8"))
    assert report.with_gates(None, size_gate("segformer_b0", "int8", 4_000_000)).passed
    assert not report.with_gates(size_gate("segformer_b0", "int8", 5_000_000)).passed


def test_reports_are_frozen() -> None:
    report = compare(Discs("a"), Discs("b"), frames(), thresholds_for("fp16"))
    with pytest.raises(FrozenInstanceError):
        report.passed = False  # type: ignore[misc]


# ---- JSON -------------------------------------------------------------------------------------------------------

IMAGE_FIELDS = [
    "name", "kind", "finite", "iou", "boundary_f", "flipped_pixels", "flipped_share", "flipped_margin",
    "mean_abs_probability", "psnr_db", "max_abs_logit", "max_rel_logit", "label_iou_reference", "label_iou_candidate",
    "one_colour", "person_share", "carried_psnr_db", "carried_margin_db",
]  # fmt: skip
SUMMARY_FIELDS = [
    "images", "non_finite", "iou_mean", "iou_worst", "iou_worst_image", "boundary_f_mean", "boundary_f_worst",
    "flipped_pixels", "flipped_share", "flipped_share_worst", "flipped_share_worst_image", "flipped_margin",
    "mean_abs_probability", "psnr_mean_db", "psnr_worst_db", "psnr_worst_image",
    "max_abs_logit", "max_rel_logit", "labelled", "label_miou_reference", "label_miou_candidate", "label_drop_points",
    "with_people", "both_empty", "both_full",
    "carried_worst_db", "carried_worst_image", "carried_margin_db", "carried_margin_image",
]  # fmt: skip
GATE_FIELDS = ["name", "title", "value", "threshold", "better", "passed", "where", "note"]


def test_the_json_schema_is_what_scripts_rely_on() -> None:
    report = compare(Discs("a"), Discs("b"), frames(), thresholds_for("fp16"))
    data = json.loads(report.to_json())
    assert list(data) == ["schema", "reference", "candidate", "passed", "gates", "notes", "summary", "images"]
    assert data["schema"] == 1
    assert [list(row) for row in data["images"]] == [IMAGE_FIELDS] * 3
    assert list(data["summary"]) == SUMMARY_FIELDS
    assert [list(gate) for gate in data["gates"]] == [GATE_FIELDS] * 4
    assert [gate["name"] for gate in data["gates"]] == [
        "non_finite_images", "mean_mask_iou", "worst_mask_iou", "logits_psnr_db",
    ]  # fmt: skip


def test_json_is_strict_even_with_nan_and_missing_values() -> None:
    def forbid(constant: str) -> None:
        raise AssertionError(constant)

    report = compare(Discs("a", logits=False), Discs("b", broken=["0.jpg"]), frames(2, False), thresholds_for("fp16"))
    data = json.loads(report.to_json(), parse_constant=forbid)
    assert data["images"][0]["iou"] is None
    assert data["images"][0]["finite"] is False
    assert data["images"][1]["psnr_db"] is None
    assert data["images"][1]["finite"] is True
    assert [gate["value"] for gate in data["gates"]] == [1.0, None, None]


def test_the_same_comparison_gives_the_same_bytes() -> None:
    reports = [compare(Discs("a"), Discs("b", 0.2), frames(), thresholds_for("fp16")) for _ in range(2)]
    assert reports[0].to_json() == reports[1].to_json()
    assert reports[0].to_junit() == reports[1].to_junit()


# ---- JUnit ------------------------------------------------------------------------------------------------------


def test_junit_counts_and_names_failures() -> None:
    report = compare(Discs("a"), Discs("b", 2.0, broken=["1.jpg"]), frames(), thresholds_for("fp16"))
    root = ET.fromstring(report.to_junit().encode())
    suites = {suite.get("name"): suite for suite in root}
    assert root.tag == "testsuites"
    for suite in suites.values():
        cases = suite.findall("testcase")
        assert suite.get("tests") == str(len(cases))
        assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
    assert suites["parity.gates"].get("failures") == "4"
    failed = failed_images(report)
    assert list(failed) == ["0.jpg", "1.jpg", "2.jpg"]
    assert failed["1.jpg"] == "the candidate gives NaN or infinity"
    assert failed["2.jpg"].startswith("worst mask IoU: 0.")


def failed_images(report: ParityReport) -> dict[str, str]:
    """The failed test cases of a report's images: name → message."""
    cases = ET.fromstring(report.to_junit().encode()).findall("testsuite[@name='parity.images']/testcase")
    found = {case.get("name", ""): case.find("failure") for case in cases}
    return {name: failure.get("message", "") for name, failure in found.items() if failure is not None}


class Worse(Discs):
    """Noise in the logits of some frames alone."""

    def _one(self, frame: Frame) -> Prediction:
        self.noise = 2.0 if frame.name in ("1.jpg", "4.jpg") else 0.0
        return super()._one(frame)


def test_junit_fails_the_images_that_miss_the_bar_of_their_kind() -> None:
    both = [replace(each, kind=("everyday", "empty")[i // 3]) for i, each in enumerate(frames(6))]
    report = compare(Discs("a"), Worse("b", logits=False), both, thresholds_for("int8"))
    failed = failed_images(report)
    ious = {score.name: score for score in report.images}
    assert list(failed) == ["1.jpg", "4.jpg"]
    assert failed["1.jpg"] == f"worst mask IoU, everyday: {number(ious['1.jpg'].iou)} here, wanted ≥ 0.98"
    share = number(ious["4.jpg"].flipped_share)
    assert failed["4.jpg"] == f"worst share of flipped pixels, empty: {share} here, wanted ≤ 0.005"
    report = compare(Discs("a"), Worse("b"), frames(), thresholds_for("fp16"))
    assert list(failed_images(report)) == ["1.jpg"]
    assert "; logits PSNR, dB: " in failed_images(report)["1.jpg"]


def test_junit_fails_the_image_that_a_baseline_gate_names() -> None:
    report = compare(Discs("a"), Discs("b"), frames(), thresholds_for("int8"))
    gate = Gate("image_iou_drop", "largest loss of one mask's IoU", 0.05, 0.01, "at_most", False, "2.jpg", "it was 1")
    assert failed_images(report.with_gates(gate)) == {
        "2.jpg": "largest loss of one mask's IoU is 0.05, wanted ≤ 0.01; 2.jpg (it was 1)"
    }


def test_junit_has_a_case_of_its_own_for_each_size_and_image() -> None:
    good = compare(Discs("a"), Discs("b"), frames(), thresholds_for("int8"))
    bad = compare(Discs("a"), Worse("b"), frames(), thresholds_for("int8"))
    report = joined({"64x64": good, "96x64": bad})
    assert list(failed_images(report)) == ["1.jpg, 96x64"]
    names = [
        (case.get("classname"), case.get("name")) for case in ET.fromstring(report.to_junit().encode()).iter("testcase")
    ]
    assert len(set(names)) == len(names)
    assert ("parity.gates", "worst mask IoU, 64x64") in names
    twice = compare(Discs("a"), Discs("b"), [*frames(1), *frames(1)], thresholds_for("int8"))
    assert [case.get("name") for case in ET.fromstring(twice.to_junit().encode())[1]] == ["0.jpg", "0.jpg_2"]


def test_junit_survives_any_file_name() -> None:
    name = '<a & "b">\x00\x1b[31m\ud800 名前.jpg'
    frame = LabelledFrame(Frame(np.full((SIDE, SIDE, 3), 9, np.uint8), name=name))
    text = compare(Discs("a\x07"), Discs("b<>", broken=[name]), [frame], thresholds_for("fp16")).to_junit()
    case = ET.fromstring(text.encode()).find("testsuite[@name='parity.images']/testcase")
    assert case is not None
    assert case.get("name") == '<a & "b">��[31m� 名前.jpg'
    assert case.find("failure") is not None


# ---- words ------------------------------------------------------------------------------------------------------

NUMBERS = {
    "missing": (None, "–"),
    "nan": (math.nan, "NaN"),
    "infinite": (math.inf, "inf"),
    "whole": (4200000.0, "4,200,000"),
    "five_digits": (0.9912345, "0.99123"),
    "next_to_one": (0.99999876, "0.99999876"),
    "small": (0.000012345, "1.2345e-05"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_number(name: str) -> None:
    value, text = NUMBERS[name]
    assert number(value) == text


def test_a_near_miss_does_not_look_like_a_hit() -> None:
    miss = Gate("mean_mask_iou", "mean mask IoU", 0.9989996, 0.999, "at_least", False, "over 12 images")
    assert measured(miss) == "0.9989996"


def test_sizes_are_judged_each_and_joined_to_one_report() -> None:
    thresholds = thresholds_for("fp16")
    good, bad = (compare(Discs("a"), Discs("b", noise), frames(), thresholds) for noise in (0.0, 9.0))
    report = joined({"64x64": good, "96x64": bad})
    assert good.passed
    assert not bad.passed
    assert not report.passed
    assert joined({"64x64": good, "96x64": good}).passed
    assert [gate.passed for gate in report.gates] == [gate.passed for gate in (*good.gates, *bad.gates)]
    assert report.gates[1].name == "mean_mask_iou@64x64"
    assert report.gates[1].where == "over 3 images, 64x64"
    assert report.worst(1)[0].name.endswith(", 96x64")
    assert report.summary.images == 6
    data = json.loads(report.to_json())
    assert data["sizes"]["64x64"]["iou_mean"] == 1.0
    assert data["sizes"]["96x64"]["iou_mean"] == bad.summary.iou_mean
    assert "sizes" not in good.to_dict()
    assert len(report.notes) == len(good.notes)


# ---- kinds ------------------------------------------------------------------------------------------------------


def mixed() -> Iterator[LabelledFrame]:
    """A portrait, two everyday pictures and two empty ones; Discs sees a few pixels in the last."""
    for i, (kind, radius) in enumerate((("portrait", 9), ("everyday", 6), ("everyday", 7), ("empty", 0), ("empty", 2))):
        frame = Frame(np.full((SIDE, SIDE, 3), radius, np.uint8), name=f"{kind}{i}.jpg")
        mask = np.zeros((SIDE, SIDE), np.float32) if kind == "empty" else Discs("label").run([frame])[0].probability
        yield LabelledFrame(frame, mask, kind=kind)


class Off(Discs):
    """Discs whose masks have one pixel more than they should in pictures of the given kind."""

    def __init__(self, kind: str):
        super().__init__("off")
        self.kind = kind

    def _one(self, frame: Frame) -> Prediction:
        right = super()._one(frame)
        if not frame.name.startswith(self.kind):
            return right
        probability = right.probability.copy()
        probability[0, 0] = 0.51
        return Prediction(probability, right.logits)


def test_a_pixel_on_an_empty_picture_moves_neither_iou_nor_order() -> None:
    report = compare(Discs("a"), Off("empty"), mixed(), thresholds_for("int8"))
    assert [score.iou for score in report.images[3:]] == [0.0, pytest.approx(12 / 13, abs=0.02)]
    assert report.summary.iou_mean == 1.0
    assert report.summary.iou_worst == 1.0
    assert report.summary.labelled == 3
    assert report.summary.label_drop_points == 0.0
    empty = dict(report.kinds)["empty"]
    assert (empty.images, empty.iou_mean, empty.flipped_share) == (2, None, 1 / SIDE**2)
    assert report.passed  # one pixel of 1024 is 0.098 %; the bars are 0.125 % and 0.5 %
    fp16 = compare(Discs("a"), Off("empty"), mixed(), thresholds_for("fp16"))
    assert [gate.name for gate in fp16.gates if not gate.passed] == ["mean_flipped_share.empty"]


def test_a_kind_that_fails_is_named_though_the_mean_of_all_would_pass() -> None:
    report = compare(Discs("a"), Off("everyday"), mixed(), thresholds_for("int8", min_iou=0.994))
    assert report.summary.iou_mean > 0.994
    assert [gate.name for gate in report.gates if not gate.passed] == [
        "mean_mask_iou.everyday",
        "label_miou_drop_points.everyday",
    ]


def test_logits_of_another_size_are_left_out_with_the_reason() -> None:
    class Halved(Discs):
        def _one(self, frame: Frame) -> Prediction:
            found = super()._one(frame)
            assert found.logits is not None
            return Prediction(found.probability, found.logits[::2, ::2])

    report = compare(Discs("a"), Halved("b"), frames(), thresholds_for("fp16"))
    assert report.passed
    assert [gate.name for gate in report.gates] == ["non_finite_images", "mean_mask_iou", "worst_mask_iou"]
    [note] = report.notes
    assert "as they differ in size: a has 16x16, b 8x8." in note
    untrained = compare(Discs("a"), Halved("b"), frames(), thresholds_for("fp16", trained=False))
    assert [gate.name for gate in untrained.gates if not gate.passed] == ["measured"]


def test_a_report_at_several_sizes_counts_its_photographs_once() -> None:
    three = compare(Discs("a"), Discs("b"), frames(), thresholds_for("int8"))
    one = compare(Discs("a"), Discs("b"), frames(1), thresholds_for("int8"))
    assert (three.compared_on, one.compared_on) == ("3 photographs", "1 photograph")
    assert joined({"64x64": three, "96x64": three}).compared_on == "3 photographs at 2 sizes"
    assert joined({"64x64": one, "96x64": one}).compared_on == "1 photograph at 2 sizes"
    assert joined({"64x64": three, "96x64": one}).compared_on == "3 + 1 photographs at 2 sizes"
    assert "on 3 photographs at 2 sizes." in to_markdown(joined({"64x64": three, "96x64": three}))


def test_json_and_junit_list_the_kinds() -> None:
    report = compare(Discs("a"), Off("everyday"), mixed(), thresholds_for("int8"))
    data = json.loads(report.to_json())
    assert list(data["kinds"]) == ["portrait", "everyday", "empty"]
    assert data["kinds"]["empty"]["iou_mean"] is None
    assert data["kinds"]["everyday"]["images"] == 2
    assert [row["kind"] for row in data["images"]] == ["portrait", "everyday", "everyday", "empty", "empty"]
    assert "mean mask IoU, everyday" in report.to_junit()
    sizes = joined({"32x32": report, "64x64": report})
    assert dict(sizes.kinds)["everyday"].images == 4
    assert "mean_mask_iou.everyday@32x32" in [gate.name for gate in sizes.gates]


def test_photographs_without_kinds_have_one_group_and_plain_gates() -> None:
    report = compare(Discs("a"), Discs("b"), frames(), thresholds_for("int8"))
    assert "kinds" not in report.to_dict()
    assert [gate.name for gate in report.gates][1:3] == ["mean_mask_iou", "worst_mask_iou"]


def test_an_empty_drawn_mask_makes_an_empty_picture_of_a_users_photograph() -> None:
    nobody = LabelledFrame(Frame(np.zeros((SIDE, SIDE, 3), np.uint8), name="x.jpg"), np.zeros((SIDE, SIDE), np.float32))
    report = compare(Discs("a"), Discs("b"), [*frames(1), nobody], thresholds_for("int8"))
    assert list(report.to_dict()["kinds"]) == ["other", "empty"]
    assert [gate.name for gate in report.gates] == [
        "non_finite_images",
        "mean_mask_iou",
        "worst_mask_iou",
        "label_miou_drop_points",
        "mean_flipped_share.empty",
        "worst_flipped_share.empty",
    ]


def test_frames_in_threads_give_the_same_report_and_the_reference_sees_one_at_a_time() -> None:
    class Alone(Discs):
        inside = 0

        def run(self, frames: Sequence[Frame]) -> list[Prediction]:
            self.inside += 1
            assert self.inside == 1
            time.sleep(0.002)
            found = super().run(frames)
            self.inside -= 1
            return found

    def threads(work: Callable[[LabelledFrame], Any], items: Iterator[LabelledFrame]) -> Iterator[Any]:
        with ThreadPoolExecutor(3) as pool:
            yield from pool.map(work, items)

    seen: list[str] = []
    overlapped = compare(
        Alone("a"),
        Discs("b", noise=0.5),
        frames(8),
        thresholds_for("int8"),
        run=threads,
        on_image=lambda compared: seen.append(compared.score.name),
    )
    assert overlapped == compare(Discs("a"), Discs("b", noise=0.5), frames(8), thresholds_for("int8"))
    several = compare(Discs("a"), Discs("b", noise=0.5), frames(8), thresholds_for("int8"), run=threads, alone=False)
    assert several == overlapped
    assert seen == [f"{i}.jpg" for i in range(8)]
