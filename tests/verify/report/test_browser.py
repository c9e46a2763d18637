"""The report in Chromium: no errors, sorting and slider by keyboard, narrow and dark screens, print."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portrait_export.verify.report.html import report_page

from .test_report import EVIL, compared, report_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the report was not opened in a browser")

ITEMS = [
    compared(name, shift=shift, kind=kind)
    for name, shift, kind in (("b.jpg", 9, "portrait"), ("a.jpg", 1, "everyday"), (EVIL, 5, "empty"))
]
SCROLLS = ".scroll"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    page = tmp_path_factory.mktemp("report") / "report.html"
    facts = {"package": "x" * 300, "spec": "{}"}
    page.write_text(report_page(report_of(ITEMS), ITEMS, title="net " + "long_name" * 12, facts=facts))
    return page.as_uri()


@pytest.fixture
def opened(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, in a window as the test's parameter describes it; its console must stay empty."""
    page = browser.new_page(**getattr(request, "param", {}))
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    yield page
    page.close()
    assert said == []


def names(page: Any) -> list[str]:
    return page.locator("table.sortable tbody th").all_inner_texts()


def test_a_table_is_sorted_by_keyboard(opened: Any) -> None:
    button = opened.locator("table.sortable th button", has_text="flipped pixels")
    button.focus()
    opened.keyboard.press("Enter")
    first = names(opened)
    opened.keyboard.press("Space")
    assert [first[0], first[1]] == ["a.jpg", names(opened)[1]]
    assert names(opened) == first[::-1]
    assert opened.locator("th[aria-sort]").evaluate_all("all => all.map(one => one.ariaSort)") == ["descending"]


def test_what_has_no_number_comes_last(opened: Any) -> None:
    button = opened.locator("table.sortable th button", has_text="mask IoU").first
    for _ in range(2):
        button.click()
        assert names(opened)[2].startswith('"><script>')  # the empty picture: its IoU means nothing


def test_the_slider_moves_by_keyboard(opened: Any) -> None:
    slider = opened.locator("article.compared input[type=range]").first
    slider.focus()
    upper = opened.locator(".slider img + img").first
    before = upper.evaluate("one => getComputedStyle(one).clipPath")
    for _ in range(3):
        opened.keyboard.press("ArrowRight")
    assert before == "inset(0px 0px 0px 50%)"
    assert upper.evaluate("one => getComputedStyle(one).clipPath") == "inset(0px 0px 0px 53%)"
    shown = opened.locator("article.compared").first.locator(".panels img.mask")
    sources = opened.locator(".slider").first.locator("img")
    assert sources.evaluate_all("all => all.map(one => one.src)") == shown.evaluate_all(
        "all => all.map(one => one.src)"
    )


@pytest.mark.parametrize("opened", [{"viewport": {"width": 390, "height": 800}}], indirect=True)
def test_a_narrow_screen_shows_every_gate_without_scrolling(opened: Any) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    gates = opened.locator("table.stack")
    assert gates.evaluate("one => one.scrollWidth <= one.parentElement.clientWidth")
    for cell in gates.locator("tbody td, tbody th").all():
        box = cell.bounding_box()
        assert box is None or box["x"] + box["width"] <= 390


def test_what_scrolls_can_be_focused_and_has_a_name(opened: Any) -> None:
    areas = opened.locator(SCROLLS)
    assert areas.count() >= 4
    for area in areas.all():
        assert area.get_attribute("aria-label")
        area.focus()
        assert area.evaluate("one => document.activeElement === one")


def contrasts(page: Any) -> list[float]:
    """Contrast (WCAG 2) of the text of marks, notes and headings with what is behind it."""
    return page.evaluate("""() => {
      const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(v => v / 255)
          .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
      };
      const behind = (one) => {
        for (; one; one = one.parentElement) {
          const color = getComputedStyle(one).backgroundColor;
          if (!color.endsWith(", 0)")) return color;
        }
      };
      return [...document.querySelectorAll(".mark, .faint, h1, h2, th, td, figcaption")].map(one => {
        const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      });
    }""")


@pytest.mark.parametrize("opened", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True)
def test_text_has_contrast_in_light_and_dark(opened: Any) -> None:
    assert min(contrasts(opened)) >= 4.5


def test_paper_shows_whole_tables_in_light_colours(opened: Any, tmp_path: Path) -> None:
    opened.set_viewport_size({"width": 720, "height": 1000})
    opened.emulate_media(media="print", color_scheme="dark")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.locator(".slider").first.is_hidden()
    assert opened.locator(SCROLLS).evaluate_all("all => all.every(one => one.scrollWidth <= document.body.scrollWidth)")
    assert opened.pdf(path=str(tmp_path / "page.pdf"), format="A4").startswith(b"%PDF")
