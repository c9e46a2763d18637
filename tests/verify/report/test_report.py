"""The report's files: pictures by their pixels, the page by its parsed structure."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.artifacts import Frame, LabelledFrame, Prediction
from portrait_export.cli.export_summary import show_parity
from portrait_export.imaging.encode import png_bytes
from portrait_export.mil.audit import StoredWeight
from portrait_export.utils.files import OutputError
from portrait_export.verify.gates import Gate, thresholds_for
from portrait_export.verify.parity import Comparison, ParityReport, compare
from portrait_export.verify.report import write_report
from portrait_export.verify.report.html import report_page
from portrait_export.verify.report.markdown import to_markdown
from portrait_export.verify.report.page import SCRIPT
from portrait_export.verify.report.pictures import (
    BAD,
    FLIPPED,
    HEAT_COLORS,
    PANEL,
    THUMB,
    Thumbnails,
    clip,
    heat_picture,
    label_font,
    mask_picture,
    side_by_side,
    values_picture,
    worst_sheet,
)
from portrait_export.verify.scores import score_image

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)> &amp; \x00\x1b 名前.jpg'


def compared(
    name: str = "a.jpg", size: tuple[int, int] = (48, 64), shift: int = 3, bad: bool = False, kind: str = ""
) -> Comparison:
    image = np.random.default_rng(7).integers(0, 256, (*size, 3), dtype=np.uint8)
    reference = np.zeros(size, np.float32)
    reference[:, : size[1] // 2] = 0.9
    candidate = np.roll(reference, shift, axis=1)
    if bad:
        candidate[0, 0] = math.nan
    predictions = [Prediction(p, p * 4) for p in (reference, candidate)]
    labelled = LabelledFrame(Frame(image, name=name), reference, kind=kind)
    return Comparison(labelled, *predictions, score_image(*predictions, label=reference, name=name, kind=kind))


class Fixed:
    """Gives the predictions that `compared` made, by side and name."""

    def __init__(self, name: str, side: Callable[[Comparison], Prediction], known: list[Comparison]):
        self.name, self.side, self.known = name, side, {item.score.name: item for item in known}

    def run(self, frames: list[Frame]) -> list[Prediction]:
        return [self.side(self.known[frame.name]) for frame in frames]


def report_of(items: list[Comparison], name: str = "package") -> ParityReport:
    reference = Fixed("pytorch", lambda item: item.reference, items)
    candidate = Fixed(name, lambda item: item.candidate, items)
    return compare(reference, candidate, [item.labelled for item in items], thresholds_for("fp16"))


# ---- pictures ---------------------------------------------------------------------------------------------------


def test_a_mask_is_gray_and_what_is_not_finite_is_pink() -> None:
    picture = mask_picture(np.array([[0.0, 0.5, 1.0, math.nan, math.inf]]))
    assert picture.tolist() == [[[0] * 3, [128] * 3, [255] * 3, list(BAD), list(BAD)]]


def test_heat_is_black_where_equal_bright_where_far_cyan_where_flipped_pink_where_broken() -> None:
    reference = np.array([[0.2, 0.5625, 0.6, 0.49, math.nan]])
    candidate = np.array([[0.2, 0.6875, 1.0, 0.51, 0.2]])  # |ΔP| = 0, half of full scale, over it, flipped
    expected = [HEAT_COLORS[0], HEAT_COLORS[2], HEAT_COLORS[4], FLIPPED, BAD]
    assert heat_picture(reference, candidate, 0.5)[0].tolist() == [list(color) for color in expected]


def test_heat_counts_flips_at_the_threshold_it_is_given() -> None:
    reference, candidate = np.array([[0.49]]), np.array([[0.51]])
    assert heat_picture(reference, candidate, 0.3)[0, 0].tolist() != list(FLIPPED)


SIZES = {"landscape": (48, 64), "portrait": (640, 480), "one_pixel": (1, 1), "one_column": (500, 1), "tiny": (2, 3)}


@pytest.mark.parametrize("name", SIZES)
def test_side_by_side_holds_four_panels_of_any_size(name: str) -> None:
    H, W = SIZES[name]
    picture = side_by_side(compared(size=(H, W), shift=0))
    scale = PANEL / max(H, W)
    assert picture.width >= 4 * max(1, round(W * scale))
    assert picture.height >= max(1, round(H * scale))
    assert picture.mode == "RGB"


def test_side_by_side_shows_the_masks_themselves() -> None:
    item = compared(size=(PANEL, PANEL), shift=40)
    picture = np.asarray(side_by_side(item)).astype(int)
    mask = mask_picture(item.candidate.probability)
    windows = [
        (picture[top : top + PANEL, left : left + PANEL] - mask)
        for top in range(picture.shape[0] - PANEL + 1)
        for left in range(2 * PANEL, picture.shape[1] - 2 * PANEL + 60)
        if (picture[top, left] == mask[0, 0]).all() and (picture[top, left + PANEL - 1] == mask[0, -1]).all()
    ]
    assert any(not window.any() for window in windows)


def test_pictures_are_the_same_bytes_each_time() -> None:
    assert png_bytes(worst_sheet([compared(), compared("b.jpg")])) == png_bytes(
        worst_sheet([compared(), compared("b.jpg")])
    )


def test_text_is_clipped_to_its_room_and_to_the_fonts_letters() -> None:
    text = clip("名" + "long name " * 50, 200)
    assert text.startswith("?long")
    assert text.endswith("...")
    assert label_font().getlength(text) <= 200
    assert clip("short.jpg", 200) == "short.jpg"


def test_thumbnails_keep_the_worst_first() -> None:
    thumbnails = Thumbnails(limit=2)
    for shift in (1, 9, 5):
        thumbnails(compared(f"{shift}.jpg", shift=shift))
    assert len(thumbnails) == 2
    assert [entry[1] for entry in thumbnails._kept] == ["9.jpg", "5.jpg"]
    sheet = thumbnails.sheet()
    assert sheet.width >= 2 * THUMB
    assert sheet.height >= THUMB


def test_thumbnails_survive_a_broken_candidate() -> None:
    thumbnails = Thumbnails()
    thumbnails(compared(bad=True))
    assert thumbnails.sheet().height > THUMB


# ---- the page ---------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser would find: tags with attributes, and text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(items: list[Comparison], **options: str) -> Page:
    return Page(report_page(report_of(items), items, title="net", facts={"spec": "{}"} | options))


def test_the_page_holds_gates_notes_images_and_facts() -> None:
    page = page_of([compared("a.jpg"), compared("b.jpg")], licence="MIT")
    words = " ".join(page.text)
    for expected in ("mean mask IoU", "logits PSNR, dB", "failed", "a.jpg", "b.jpg", "licence", "MIT", "package"):
        assert expected in words
    assert len(page.of("img")) == 8


def test_the_page_shows_what_a_networks_own_output_was_taken_as() -> None:
    without, empty, person = compared("a.jpg"), compared("b.jpg", kind="empty"), compared("c.jpg", kind="portrait")
    raw = np.linspace(-2, 6, 48 * 64, dtype=np.float32).reshape(48, 64)
    shown = [replace(item, reference=replace(item.reference, raw=raw)) for item in (empty, person)]
    page = page_of([without, *shown], meaning="logits: both signs")
    words = " ".join(page.text)
    assert "What the network's output was taken as" in words
    assert "logits: both signs" in words
    headings = ("photo", "the network's output, -2 (black) to 6 (white)", "package mask")
    assert [tag["alt"] for tag in page.of("img")][:3] == [f"{heading} of c.jpg" for heading in headings]
    assert "What the network's output was taken as" not in " ".join(page_of([without]).text)


def test_values_of_any_range_are_shown_from_black_to_white() -> None:
    values = np.array([[-3, 1], [5, math.inf]], np.float32)
    np.testing.assert_array_equal(values_picture(values)[..., 0], [[0, 128], [255, BAD[0]]])
    assert not values_picture(np.full((2, 2), 7, np.float32)).any(), "a flat output is black"


def test_the_page_has_a_row_per_kind_and_no_iou_for_empty_pictures() -> None:
    items = [compared(f"{kind}.jpg", kind=kind) for kind in ("portrait", "everyday", "empty")]
    page = report_page(report_of(items), items, title="net", facts={})
    section = page.split("<h2>By kind of photograph</h2>")[1].split("</section>")[0]
    rows = section.split("<tr>")[2:]
    assert [row.split("</th>")[0].split(">")[-1] for row in rows] == ["portrait", "everyday", "empty"]
    assert "–" not in rows[1]
    assert rows[2].count("–") == 5  # three of IoU and boundary F, two of drawn masks
    assert "% flipped" in page
    assert "mean share of flipped pixels, empty" in page
    assert "By kind of photograph" not in report_page(report_of([compared()]), [], title="net", facts={})


def test_the_page_loads_nothing_and_runs_one_script_that_its_policy_names() -> None:
    page = page_of([compared(EVIL)], **{EVIL: EVIL})
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "header", "section", "article", "div", "figure", "figcaption",
        "h1", "h2", "h3", "p", "span", "table", "thead", "tbody", "tr", "th", "td", "img", "script",
    }  # fmt: skip
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name == "href" for name in attributes)
    for image in page.of("img"):
        assert str(image["src"]).startswith("data:image/")
    policy = next(m["content"] for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert page.of("script") == [{}]
    assert page.text.count(SCRIPT) == 1
    assert "url(" not in "".join(page.text)


def test_a_hostile_name_is_shown_as_it_is() -> None:
    page = page_of([compared(EVIL)])
    assert EVIL.replace("\x00", "�").replace("\x1b", "�") in page.text


def test_the_pages_pictures_open_and_have_alternatives() -> None:
    for image in page_of([compared(size=(30, 20))]).of("img"):
        data = base64.b64decode(str(image["src"]).split(",", 1)[1])
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (20, 30)
        assert "a.jpg" in str(image["alt"])


WEIGHTS = (
    StoredWeight("a.weight", ("conv",), (64, 32, 3, 3), "int8", True, 64 * 32 * 9 + 128, 0.0042),
    StoredWeight(EVIL, ("linear", "matmul"), (8, 256), "fp16", False, 4096, None, "it is read by <several>"),
)


def test_the_page_shows_each_stored_weight_and_a_bar_of_its_size() -> None:
    page = Page(report_page(report_of([compared()]), [], title="net", facts={}, weights=WEIGHTS))
    words = " ".join(page.text)
    for expected in ("a.weight", "64×32×3×3", "0.42 %", "it is read by <several>", "linear, matmul"):
        assert expected in words
    bars = page.of("rect")
    assert [bar["class"] for bar in bars] == ["compressed", "plain"]
    first, second = (float(str(bar["width"])) * float(str(bar["height"])) for bar in bars)
    assert first / second == pytest.approx(WEIGHTS[0].size_bytes / WEIGHTS[1].size_bytes, rel=1e-2)
    assert not Page(report_page(report_of([compared()]), [], title="net", facts={})).of("rect")


def test_the_page_has_light_and_dark_colours() -> None:
    text = report_page(report_of([compared()]), [], title="net", facts={})
    assert "color-scheme: light dark" in text
    assert "prefers-color-scheme: dark" in text


def test_a_broken_candidate_is_marked() -> None:
    assert "NaN or infinity" in page_of([compared(bad=True)]).text


def test_the_note_on_untrained_weights_is_on_the_page() -> None:
    item = compared(shift=0)
    runners = [Fixed(name, lambda item: item.reference, [item]) for name in "ab"]
    report = compare(*runners, [item.labelled], thresholds_for("int8", trained=False))
    assert "masks cut from them mean nothing" in report_page(report, [], title="net", facts={})


# ---- files ------------------------------------------------------------------------------------------------------


def test_write_report_writes_what_it_says(tmp_path: Path) -> None:
    items = [compared("a.jpg"), compared("b.jpg", shift=9)]
    thumbnails = Thumbnails()
    for item in items:
        thumbnails(item)
    report = report_of(items)
    written = write_report(report, items, tmp_path / "out", title="net", facts={}, thumbnails=thumbnails)
    assert written == "parity.json, report.html, worst.png, contact.png"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(written.split(", "))
    assert json.loads((tmp_path / "out" / "parity.json").read_text()) == report.to_dict()
    for name in ("worst.png", "contact.png"):
        with Image.open(tmp_path / "out" / name) as image:
            image.load()


def test_write_report_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    items = [compared()]
    for _ in range(2):
        write_report(report_of(items), items, tmp_path / "once", title="net", facts={})
    write_report(report_of(items), items, tmp_path / "again", title="net", facts={})
    for name in ("parity.json", "report.html", "worst.png"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_write_report_without_images_to_show(tmp_path: Path) -> None:
    assert write_report(report_of([compared()]), [], tmp_path, title="net", facts={}) == "parity.json, report.html"


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="Cannot write"):
        write_report(report_of([compared()]), [], tmp_path / "file" / "out", title="net", facts={})


def test_markdown_has_every_gate_and_shows_names_literally():
    report = report_of([compared("a.jpg"), compared("b|`c`<b>*d*\n| x\x1b[31m.jpg", shift=9)])
    text = to_markdown(report)
    assert all(gate.title in text for gate in report.gates)
    rows = [line for line in text.splitlines() if line.startswith("| b")]
    assert rows
    assert rows[0].startswith(r"| b\|\`c\`\<b\>\*d\* \| x�\[31m.jpg |")
    assert to_markdown(report) == text


def test_a_near_miss_does_not_look_like_a_hit_in_any_form(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of([compared()])
    miss = Gate("mean_mask_iou", "mean mask IoU", 0.9989996, 0.999, "at_least", False, "over 12 images")
    report = replace(report, gates=(miss,))
    show_parity(report)
    assert "0.9989996" in capsys.readouterr().out
    assert "0.9989996" in to_markdown(report)
    assert "0.9989996" in report_page(report, [], title="net", facts={})
