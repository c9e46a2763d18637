"""Render a parity report as one HTML page, without scripts or external resources."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from ...artifacts import EMPTY
from ...imaging.encode import image_bytes, png_bytes
from ..parity import SIGNS, Comparison, ParityReport, agreement, measured, number, xml_safe
from ..scores import ImageScore, SetScore
from .pictures import HEADINGS, HEAT_FULL, panels

if TYPE_CHECKING:
    import numpy as np

# The page may show images and styles that it carries itself, and nothing else, whatever a file name tries.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --ink: #1c1c1e; --faint: #63636a; --rule: #dcdcd8; --card: #fff;
  --good: #0a6b3d; --good-paper: #e2f4ea; --bad: #a3123b; --bad-paper: #fce6ec; }
@media (prefers-color-scheme: dark) { :root { --paper: #161618; --ink: #ececf0; --faint: #a0a0a8; --rule: #38383d;
  --card: #202023; --good: #7be0ab; --good-paper: #12382a; --bad: #ff9ab2; --bad-paper: #451726; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0; } .faint { color: var(--faint); }
.mark { display: inline-block; padding: .05rem .6rem; border-radius: 1rem; font-weight: 600; white-space: nowrap; }
.good { color: var(--good); background: var(--good-paper); } .bad { color: var(--bad); background: var(--bad-paper); }
.note { border-left: 3px solid var(--rule); padding: .1rem .8rem; margin: .6rem 0; }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: .5rem; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { font-weight: 600; color: var(--faint); font-size: .85rem; vertical-align: bottom; line-height: 1.3; }
tbody th { font-weight: 500; } .number { text-align: right; } td.number { white-space: nowrap; }
td.text, tbody th { overflow-wrap: anywhere; min-width: 9rem; }
article { border: 1px solid var(--rule); border-radius: .5rem; background: var(--card); padding: 1rem;
  margin: 0 0 1rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin-top: .75rem; }
figure { margin: 0; } figure img { width: 100%; height: auto; display: block; border-radius: .25rem; }
figcaption { font-size: .85rem; color: var(--faint); margin-top: .25rem; }
"""

_NUMBER = ' class="number"'
IMAGE_COLUMNS = (
    ("mask IoU", lambda s: _of_people(s, s.iou)),
    ("boundary F", lambda s: _of_people(s, s.boundary_f)),
    ("flipped pixels", lambda s: number(s.flipped_pixels)),
    ("mean ΔP", lambda s: number(s.mean_abs_probability, 3)),
    ("logits PSNR, dB", lambda s: number(s.psnr_db, 4)),
    ("largest Δlogit", lambda s: number(s.max_abs_logit, 3)),
    ("drawn-mask IoU, reference", lambda s: _of_people(s, s.label_iou_reference)),
    ("drawn-mask IoU, package", lambda s: _of_people(s, s.label_iou_candidate)),
)


def _of_people(score: ImageScore, value: float | None) -> str:
    """A number that means something only if people are in the picture; else a dash."""
    return number(None if score.kind == EMPTY else value)


def report_page(report: ParityReport, worst: Sequence[Comparison], *, title: str, facts: Mapping[str, str]) -> str:
    """The whole page. The same report and images give the same text."""
    shown = xml_safe(title)
    body = "".join(
        (
            _head(report, shown),
            _section("Gates", _gates(report)),
            *(f'<p class="note">{_text(note)}</p>\n' for note in report.notes),
            _section("Summary", _summary(report)),
            _section("By kind of photograph", _kinds(report.named_kinds)) if report.named_kinds else "",
            _section("Where the masks agree least", "".join(map(_worst, worst)) + _legend()) if worst else "",
            _section("Every image", _images(report.images, kinds=bool(report.named_kinds))),
            _section("Made from", _facts(facts)) if facts else "",
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(shown)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _text(value: object) -> str:
    """Anything as HTML text, safe in attributes too."""
    return escape(xml_safe(str(value)), quote=True)


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{_text(heading)}</h2>\n{content}</section>\n"


def _head(report: ParityReport, title: str) -> str:
    failed = sum(not gate.passed for gate in report.gates)
    words = "all gates passed" if report.passed else f"{failed} of {len(report.gates)} gates failed"
    count = report.summary.images
    compared = f"{report.candidate} against {report.reference}, on {count} image{'' if count == 1 else 's'}"
    return (
        f"<header>\n<h1>{_text(title)}</h1>\n"
        f'<p>{_mark(report.passed, words)} <span class="faint">{_text(compared)}</span></p>\n</header>\n'
    )


def _mark(passed: bool, words: str) -> str:
    return f'<span class="mark {"good" if passed else "bad"}">{_text(words)}</span>'


def _table(head: Sequence[tuple[str, bool]], rows: Iterable[str]) -> str:
    """A table from (column name, whether it holds numbers) and finished rows."""
    cells = "".join(f'<th scope="col"{_NUMBER if is_number else ""}>{_text(name)}</th>' for name, is_number in head)
    start = f'<div class="scroll"><table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n'
    return start + "".join(rows) + "</tbody>\n</table></div>\n"


def _gates(report: ParityReport) -> str:
    rows = (
        f"<tr><td>{_mark(gate.passed, 'passed' if gate.passed else 'failed')}</td>"
        f'<th scope="row">{_text(gate.title)}</th><td class="number">{_text(measured(gate))}</td>'
        f'<td class="number">{SIGNS[gate.better]} {_text(number(gate.threshold))}</td>'
        f'<td class="text">{_text(gate.where)}{_text(f" ({gate.note})") if gate.note else ""}</td></tr>\n'
        for gate in report.gates
    )
    return _table((("", False), ("gate", False), ("measured", True), ("bar", True), ("where", False)), rows)


def _summary(report: ParityReport) -> str:
    s = report.summary
    rows = [
        ("mask IoU", f"mean {number(s.iou_mean)}, worst {number(s.iou_worst)} ({s.iou_worst_image or '–'})"),
        ("boundary F", f"mean {number(s.boundary_f_mean)}, worst {number(s.boundary_f_worst)}"),
        (
            "flipped pixels",
            f"{number(s.flipped_pixels)} in all, {number(100 * s.flipped_share, 3)} % of an image on average",
        ),
        ("P(person) there", f"by the model, at most {number(s.flipped_margin, 2)} from the threshold"),
        ("mean |ΔP(person)|", number(s.mean_abs_probability, 3)),
    ]
    if s.psnr_worst_db is not None:
        worst = f"{number(s.psnr_worst_db, 4)} dB ({s.psnr_worst_image})"
        largest = f"{number(s.max_abs_logit, 3)}, {number(s.max_rel_logit, 3)} of the logits' scale"
        rows += [
            ("logits PSNR", f"mean {number(s.psnr_mean_db, 4)} dB, worst {worst}"),
            ("largest logit error", largest),
        ]
    if s.label_drop_points is not None:
        both = f"reference {number(s.label_miou_reference)}, package {number(s.label_miou_candidate)}"
        rows.append(
            (f"mean IoU with {s.labelled} drawn masks", f"{both}: drop {number(s.label_drop_points, 3)} points")
        )
    return _facts(dict(rows))


KIND_COLUMNS = (
    ("images", lambda s: number(s.images)),
    ("mask IoU, mean", lambda s: number(s.iou_mean)),
    ("worst", lambda s: number(s.iou_worst)),
    ("boundary F, mean", lambda s: number(s.boundary_f_mean)),
    ("flipped share, mean", lambda s: f"{number(100 * s.flipped_share, 3)} %"),
    ("worst", lambda s: f"{number(100 * s.flipped_share_worst, 3)} %"),
    ("drawn-mask IoU, reference", lambda s: number(s.label_miou_reference)),
    ("drawn-mask IoU, package", lambda s: number(s.label_miou_candidate)),
)


def _kinds(kinds: Sequence[tuple[str, SetScore]]) -> str:
    """One row per kind of photograph. IoU has no meaning on pictures with nobody in them: a dash."""
    rows = (
        f'<tr><th scope="row">{_text(kind or "other")}</th>'
        + "".join(f'<td class="number">{_text(show(score))}</td>' for _, show in KIND_COLUMNS)
        + "</tr>\n"
        for kind, score in kinds
    )
    return _table((("kind", False), *((name, True) for name, _ in KIND_COLUMNS)), rows)


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td class="text">{_text(value)}</td></tr>\n'
        for name, value in facts.items()
    )
    return f'<div class="scroll"><table>\n<tbody>\n{rows}</tbody>\n</table></div>\n'


def _worst(compared: Comparison) -> str:
    name = compared.score.name or "(no name)"
    score = compared.score
    words = [agreement(score), f"{number(score.flipped_pixels)} flipped pixels"]
    if score.kind != EMPTY:
        words.insert(1, f"boundary F {number(score.boundary_f)}")
    if score.psnr_db is not None:
        words.append(f"logits PSNR {number(score.psnr_db, 4)} dB")
    figures = "".join(
        f'<figure><img alt="{_text(heading)} of {_text(name)}" src="{_data_url(panel, photo=heading == HEADINGS[0])}"'
        f' width="{panel.shape[1]}" height="{panel.shape[0]}"><figcaption>{_text(heading)}</figcaption></figure>\n'
        for heading, panel in zip(HEADINGS, panels(compared), strict=True)
    )
    return (
        f'<article>\n<h3>{_text(name)}</h3>\n<p class="faint">{_text(" · ".join(words))}</p>\n'
        f'<div class="panels">\n{figures}</div>\n</article>\n'
    )


def _legend() -> str:
    agree = f"black where the masks agree, brightest from |ΔP| = {HEAT_FULL:g} on"
    words = f"Difference: {agree}; cyan where a pixel changed sides; pink where a value is NaN or infinite."
    return f'<p class="faint">{_text(words)}</p>\n'


def _images(scores: Sequence[ImageScore], *, kinds: bool) -> str:
    """One row per image, with its kind if images have kinds."""
    rows = (
        f'<tr><th scope="row">{_text(score.name or "(no name)")}'
        f"{'' if score.finite else ' ' + _mark(False, 'NaN or infinity')}</th>"
        + (f'<td class="text">{_text(score.kind or "other")}</td>' if kinds else "")
        + "".join(f'<td class="number">{_text(show(score))}</td>' for _, show in IMAGE_COLUMNS)
        + "</tr>\n"
        for score in scores
    )
    first = (("image", False), ("kind", False)) if kinds else (("image", False),)
    return _table((*first, *((name, True) for name, _ in IMAGE_COLUMNS)), rows)


def _data_url(pixels: np.ndarray, *, photo: bool) -> str:
    """Photographs as JPEG, for size; masks and differences as PNG, for every pixel."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if not photo:
        return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()
    return "data:image/jpeg;base64," + base64.b64encode(image_bytes(image, "JPEG", quality=88)).decode()
