"""Write a parity report to a folder: `parity.json`, `report.html` and PNG pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.files import write_bytes, write_text
from ...utils.wording import in_words

if TYPE_CHECKING:
    from ...mil.audit import StoredWeight
    from ..parity import Comparison, ParityReport
    from .pictures import Thumbnails

JSON_FILE = "parity.json"
HTML_FILE = "report.html"
WORST_FILE = "worst.png"
CONTACT_FILE = "contact.png"
REPORT_FILES = (JSON_FILE, HTML_FILE, WORST_FILE, CONTACT_FILE)


def write_report(
    report: ParityReport,
    worst: Sequence[Comparison],
    folder: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    thumbnails: Thumbnails | None = None,
    weights: Sequence[StoredWeight] = (),
) -> str:
    """Write the report's files.

    Args:
        worst: the images to show side by side, worst first; may be empty.
        folder: created if it does not exist; files of these names in it are replaced.
        title: the page's heading.
        facts: provenance and settings to show, name → value.
        thumbnails: of all images, for the contact sheet; None leaves the sheet out.
        weights: the stored weights of the package; empty leaves them out.
    Returns:
        The names of the files, for a status line: `parity.json, report.html, worst.png`.
    Raises:
        OutputError: the folder cannot be written.
    """
    from ...imaging.encode import png_bytes
    from .html import report_page
    from .pictures import worst_sheet
    from .wording import reworded

    report = reworded(report, in_words)
    pictures = {}
    if worst:
        pictures[WORST_FILE] = png_bytes(worst_sheet(worst))
    if thumbnails is not None and len(thumbnails):
        pictures[CONTACT_FILE] = png_bytes(thumbnails.sheet())
    write_text(folder / JSON_FILE, report.to_json())
    for name, data in pictures.items():
        write_bytes(folder / name, data)
    write_text(folder / HTML_FILE, report_page(report, worst, title=title, facts=facts, weights=weights))
    return ", ".join((JSON_FILE, HTML_FILE, *pictures))
