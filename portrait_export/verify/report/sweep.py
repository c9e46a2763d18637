"""Write the result of a sweep as a page, a picture and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...artifacts import EMPTY
from ...utils.files import write_bytes, write_text
from ..frontier import KindScore, Point, named_kinds
from ..parity import number, xml_safe
from .markdown import escape, table
from .page import data_url, facts_table, mark, number_cell, page, section, text
from .page import table as html_table

if TYPE_CHECKING:
    from PIL import Image

PICTURE_FILE, PAGE_FILE, MARKDOWN_FILE = "frontier.png", "sweep.html", "sweep.md"
WHAT_BEATS = (
    "A point is on the frontier if none that is as small or smaller has masks as good, by the lowest mean mask IoU of a"
    " kind of photographs with people."
)


def write_sweep(
    points: Sequence[Point],
    folder: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
) -> str:
    """Write the files of a sweep and return their names for a status line.

    Args:
        points: from `frontier.marked`.
        facts: what was swept, name → value.
        notes: what a reader must know, such as recipes that were left out.
    """
    from ...imaging.encode import png_bytes
    from .frontier import frontier_picture

    picture = frontier_picture(points, title=title)
    write_bytes(folder / PICTURE_FILE, png_bytes(picture))
    write_text(folder / MARKDOWN_FILE, sweep_markdown(points, title=title, notes=notes))
    write_text(folder / PAGE_FILE, sweep_page(points, picture, title=title, facts=facts, notes=notes))
    return f"{PAGE_FILE}, {PICTURE_FILE}, {MARKDOWN_FILE}"


def heads(points: Sequence[Point]) -> list[str]:
    """The columns of a table of points."""
    kinds = [_head_of(kind) for kind in named_kinds(points)]
    return ["package", "MB", *kinds, "worst", "drawn masks", "gates", "frontier"]


def _head_of(kind: str) -> str:
    return "empty, flipped" if kind == EMPTY else f"{kind} IoU"


def cells(point: Point, points: Sequence[Point]) -> list[str]:
    """A point's row of that table."""
    kinds = {kind.kind: kind for kind in point.kinds}
    return [
        point.name,
        f"{point.size_bytes / 1e6:.3f}",
        *(_shown(kinds.get(kind)) for kind in named_kinds(points)),
        number(point.worst_iou, 4),
        number(point.label_iou, 4),
        "passed" if point.passed else f"{len(point.failed)} failed",
        "yes" if not point.beaten_by else f"{point.beaten_by} is better",
    ]


def _shown(kind: KindScore | None) -> str:
    if kind is None:
        return "–"
    if kind.kind == EMPTY:
        return f"{100 * kind.flipped_share:.3g} %"
    return number(kind.mask_iou)


def sweep_markdown(points: Sequence[Point], *, title: str, notes: Sequence[str]) -> str:
    """The table of all points and the command of each one, as GitHub-flavoured Markdown."""
    rows = [[escape(cell) for cell in cells(point, points)] for point in points]
    commands = "\n".join(f"- {escape(point.name)}: {_code(point.command)}" for point in points)
    failed = [
        f"> {escape(point.name)} fails: {escape('; '.join(point.failed))}" for point in points if not point.passed
    ]
    parts = [
        f"### {escape(title)}",
        f"![size against masks]({PICTURE_FILE})",
        table([escape(head) for head in heads(points)], rows),
        WHAT_BEATS,
        *failed,
        *(f"> {escape(note)}" for note in notes),
        commands,
    ]
    return "\n\n".join(parts) + "\n"


def _code(command: str) -> str:
    """A command as Markdown shows it literally, in one line."""
    return f"`{' '.join(xml_safe(command).replace('`', '').split())}`"


def sweep_page(
    points: Sequence[Point], picture: Image.Image, *, title: str, facts: Mapping[str, str], notes: Sequence[str]
) -> str:
    """One HTML page. The same points give the same text."""
    said = f"{sum(not point.beaten_by for point in points)} of {len(points)} packages are on the frontier"
    image = (
        f'<figure><img alt="Size against masks; the table has the same numbers" src="{data_url(picture)}"'
        f' width="{picture.width}" height="{picture.height}"></figure>\n'
    )
    body = "".join(
        (
            f'<header>\n<h1>{text(title)}</h1>\n<p class="faint">{said}</p>\n</header>\n',
            section("Size against masks", f'{image}<p class="faint">{text(WHAT_BEATS)}</p>\n'),
            *(f'<p class="note">{text(note)}</p>\n' for note in notes),
            section("Packages", _packages(points)),
            section("Commands", facts_table("Commands", {point.name: point.command for point in points})),
            section("Made from", facts_table("Made from", facts)),
        )
    )
    return page(title, body)


def _packages(points: Sequence[Point]) -> str:
    kinds = named_kinds(points)
    rows = (_row(point, kinds) for point in points)
    named = [(head, True) for head in heads(points)[1:-2]]
    return html_table(
        "Packages", (("package", False), *named, ("gates", False), ("frontier", False)), rows, style="sortable"
    )


def _row(point: Point, kinds: Sequence[str]) -> str:
    by_kind = {kind.kind: kind for kind in point.kinds}
    found = [by_kind.get(kind) for kind in kinds]
    values = [None if kind is None else kind.mask_iou if kind.kind != EMPTY else kind.flipped_share for kind in found]
    verdict = "passed" if point.passed else "; ".join(point.failed)
    place = "on it" if not point.beaten_by else f"{point.beaten_by} is better"
    return (
        f'<tr><th scope="row">{text(point.name)}</th>'
        + number_cell(point.size_bytes, f"{point.size_bytes / 1e6:.3f}")
        + "".join(number_cell(value, _shown(kind)) for value, kind in zip(values, found, strict=True))
        + number_cell(point.worst_iou, number(point.worst_iou, 4))
        + number_cell(point.label_iou, number(point.label_iou, 4))
        + f'<td class="text">{mark(point.passed, verdict)}</td><td class="text">{text(place)}</td></tr>\n'
    )
