"""Build an HTML page without external resources from sections, tables and pictures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ...imaging.encode import image_bytes, png_bytes
from ..parity import xml_safe

if TYPE_CHECKING:
    from PIL import Image

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()

# The page may show images and styles that it carries itself and run this one script, and nothing else, whatever a file
# name tries.
POLICY = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_SCRIPT_HASH}'"

_NUMBER = ' class="number"'


def page(title: str, body: str) -> str:
    """The whole page from its title, which is any text, and its finished body."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Anything as HTML text, safe in attributes too."""
    return escape(xml_safe(str(value)), quote=True)


def section(heading: str, content: str) -> str:
    """Finished content under a heading."""
    return f"<section>\n<h2>{text(heading)}</h2>\n{content}</section>\n"


def mark(passed: bool, words: str) -> str:
    """A verdict in words, in its colour."""
    return f'<span class="mark {"good" if passed else "bad"}">{text(words)}</span>'


def scroll(label: str, content: str) -> str:
    """A table that scrolls by itself where it is too wide, by keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">{content}</div>\n'


def table(label: str, head: Sequence[tuple[str, bool]], rows: Iterable[str], *, style: str = "") -> str:
    """A table from (column name, whether it holds numbers) and finished rows.

    Args:
        label: what the table is called by a screen reader.
        style: `sortable` by each column, or `stack`: a block per row on a narrow screen.
    """
    cells = "".join(f'<th scope="col"{_NUMBER if is_number else ""}>{text(name)}</th>' for name, is_number in head)
    start = f'<table class="{style}">' if style else "<table>"
    body = "".join(rows)
    return scroll(label, f"{start}\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>")


def number_cell(value: float | None, shown: str) -> str:
    """A cell that is sorted by its exact value."""
    exact = "" if value is None else f' data-value="{float(value)!r}"'
    return f'<td class="number"{exact}>{text(shown)}</td>'


def facts_table(label: str, facts: Mapping[str, str]) -> str:
    """A table of names and values."""
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td class="text">{text(value)}</td></tr>\n'
        for name, value in facts.items()
    )
    return scroll(label, f"<table>\n<tbody>\n{rows}</tbody>\n</table>")


def data_url(image: Image.Image, *, photo: bool = False) -> str:
    """Photographs as JPEG, for size; masks, differences and drawings as PNG, for every pixel."""
    if not photo:
        return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()
    return "data:image/jpeg;base64," + base64.b64encode(image_bytes(image, "JPEG", quality=88)).decode()
