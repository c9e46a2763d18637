"""The frontier of packages by size and masks, and its picture."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait_export.verify.frontier import KindScore, Point, marked
from portrait_export.verify.report.frontier import (
    BEATEN_COLOR,
    FAILED_COLOR,
    LINE_COLOR,
    _Axis,
    _linear,
    frontier_picture,
)
from portrait_export.verify.report.sweep import cells, heads, sweep_markdown, sweep_page

EVIL = "<b>|`\x1b[31m"


def point(name: str, mb: float, iou: float | None, label: float | None = None, **changed) -> Point:
    kinds = (
        KindScore("portrait", 16, iou, iou, label, 0.001),
        KindScore("empty", 2, None, None, None, 0.00025),
    )
    made = Point(
        *(name, "int8", f"make {name}", f"{name}/net.mlpackage", "0" * 64, round(mb * 1e6)),
        *(iou, iou, label, 0.9 if label else None, kinds, True),
    )
    return replace(made, **changed)


def beaten(*points: Point) -> dict[str, str]:
    return {one.name: one.beaten_by for one in marked(points)}


CASES = {
    "a larger and worse one is beaten": ([("a", 1, 0.9), ("b", 2, 0.8)], {"a": "", "b": "a"}),
    "a larger and better one is not": ([("a", 1, 0.9), ("b", 2, 0.95)], {"a": "", "b": ""}),
    "of two as good the smaller stays": ([("a", 2, 0.9), ("b", 1, 0.9)], {"b": "", "a": "b"}),
    "of two as large the better stays": ([("a", 1, 0.8), ("b", 1, 0.9)], {"b": "", "a": "b"}),
    "equal ones both stay": ([("a", 1, 0.9), ("b", 1, 0.9)], {"a": "", "b": ""}),
    "the best of several is named": ([("a", 1, 0.9), ("b", 2, 0.95), ("c", 3, 0.8)], {"a": "", "b": "", "c": "b"}),
    "what was not measured beats nothing": ([("a", 1, None), ("b", 2, 0.8)], {"a": "", "b": ""}),
}


@pytest.mark.parametrize("case", CASES)
def test_which_points_are_beaten(case):
    rows, expected = CASES[case]
    assert beaten(*(point(*row) for row in rows)) == expected


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=8))
def test_masks_get_better_along_the_frontier(rows):
    points = marked([point(f"p{n}", mb, iou / 6) for n, (mb, iou) in enumerate(rows)])
    line = [(one.size_bytes, one.mask_iou) for one in points if not one.beaten_by]
    assert line
    assert line == sorted(line)
    for one in points:
        covered = any(size <= one.size_bytes and iou >= one.mask_iou for size, iou in line)
        assert covered, one.name


def test_a_point_is_read_as_it_was_written():
    one = point("a", 1, 0.9, 0.8, failed=("worst mask IoU",), passed=False)
    assert Point.from_json(json.loads(json.dumps(asdict(one)))) == one


DAMAGED = {
    "no point": lambda data: [],
    "a name that is a number": lambda data: {**data, "name": 1},
    "a score that is a text": lambda data: {**data, "mask_iou": "0.9"},
    "a score of a kind that is a text": lambda data: {**data, "kinds": [{**data["kinds"][0], "mask_iou": "1"}]},
    "a field too many": lambda data: {**data, "more": 1},
    "no kinds": lambda data: {name: value for name, value in data.items() if name != "kinds"},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_refuses_what_is_no_point(case):
    with pytest.raises((TypeError, KeyError, ValueError)):
        Point.from_json(DAMAGED[case](asdict(point("a", 1, 0.9))))


def colors(points: list[Point]) -> set[tuple[int, int, int]]:
    picture = frontier_picture(marked(points), title="net")
    return {color for _, color in picture.crop((0, 0, picture.width, picture.height - 50)).getcolors(1 << 20)}


def test_the_picture_shows_what_is_beaten_and_what_fails():
    good, beaten_one = point("a", 1, 0.9), point("b", 2, 0.8)
    assert LINE_COLOR in colors([good])
    assert BEATEN_COLOR not in colors([good])
    assert BEATEN_COLOR in colors([good, beaten_one])
    assert FAILED_COLOR not in colors([good, beaten_one])
    assert FAILED_COLOR in colors([good, replace(beaten_one, passed=False)])


EDGES = {
    "one point": [point("a", 1, 0.9)],
    "equal masks": [point("a", 1, 1.0), point("b", 2, 1.0)],
    "masks without agreement": [point("a", 1, 0.0), point("b", 2, 0.0)],
    "masks whose losses leave no round step": [point("a", 1, 0.991, 0.7719), point("b", 2, 0.995, 0.77258)],
    "no masks with people": [point("a", 1, None)],
    "drawn masks": [point("a", 1, 0.9, 0.7), point("b", 2, 0.95, 0.7)],
    "many points at one place": [point(f"package-{n}", 1 + n / 1000, 0.9) for n in range(40)],
    "a name that nothing can draw": [point(EVIL, 1, 0.9)],
}


@pytest.mark.parametrize("case", EDGES)
def test_every_set_of_points_has_a_picture(case):
    points = marked(EDGES[case])
    picture = frontier_picture(points, title=EVIL)
    assert picture.tobytes() == frontier_picture(points, title=EVIL).tobytes()


@given(st.integers(-60, 60), st.integers(5000, 50000))
def test_an_axis_of_any_width_has_ticks(exponent, width):
    high = width * 1.1**exponent
    ticks = _linear(_Axis(0.0, high, 0, 100, float))
    assert 4 <= len(ticks) <= 11
    assert ticks[0] >= 0.0
    assert ticks[-1] <= high


def test_tables_show_every_kind_and_escape_names():
    points = marked([point("a", 1, 0.99991, 0.8), point(EVIL, 2, 0.5, passed=False, failed=("worst mask IoU",))])
    points = [replace(one, command="make") for one in points]
    assert heads(points)[2:6] == ["portrait IoU", "empty, flipped", "worst", "drawn masks"]
    assert cells(points[0], points)[:6] == ["a", "1.000", "0.99991", "0.025 %", "0.9999", "0.8"]
    assert cells(points[1], points)[-2:] == ["1 failed", "a is better"]
    page = sweep_page(points, frontier_picture(points, title="net"), title=EVIL, facts={}, notes=[EVIL])
    markdown = sweep_markdown(points, title=EVIL, notes=[EVIL])
    assert "<b>" not in page + markdown
    assert "\x1b" not in page + markdown
    assert "worst mask IoU" in page
    assert "worst mask IoU" in markdown
