"""Render a parity report as one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...artifacts import EMPTY
from ...utils.bounds import at_most
from ..parity import Comparison, ParityReport, agreement, measured, number, wanted, xml_safe
from ..scores import ImageScore, SetScore
from .page import data_url, facts_table, mark, number_cell, page, section, table, text
from .pictures import HEADINGS, HEAT_FULL, inputs_of, mask_picture, panels, values_picture
from .weights import TALLEST, bits_picture

if TYPE_CHECKING:
    from ...mil.audit import StoredWeight

_MASK = ' class="mask"'
Column = tuple[str, Callable[[ImageScore], float | None], int]  # name, value, significant digits
IMAGE_COLUMNS: tuple[Column, ...] = (
    ("mask IoU", lambda s: _of_people(s, s.iou), 5),
    ("boundary F", lambda s: _of_people(s, s.boundary_f), 5),
    ("flipped pixels", lambda s: s.flipped_pixels, 5),
    ("mean ΔP", lambda s: s.mean_abs_probability, 3),
    ("logits PSNR, dB", lambda s: s.psnr_db, 4),
    ("largest Δlogit", lambda s: s.max_abs_logit, 3),
    ("drawn-mask IoU, reference", lambda s: _of_people(s, s.label_iou_reference), 5),
    ("drawn-mask IoU, package", lambda s: _of_people(s, s.label_iou_candidate), 5),
)


def _of_people(score: ImageScore, value: float | None) -> float | None:
    """A number that means something only if people are in the picture."""
    return None if score.kind == EMPTY else value


def report_page(
    report: ParityReport,
    worst: Sequence[Comparison],
    *,
    title: str,
    facts: Mapping[str, str],
    weights: Sequence[StoredWeight] = (),
) -> str:
    """The whole page. The same report and images give the same text."""
    shown = xml_safe(title)
    body = "".join(
        (
            _head(report, shown),
            section("Gates", _gates(report)),
            *(f'<p class="note">{text(note)}</p>\n' for note in report.notes),
            section("Summary", _summary(report)),
            section("By kind of photograph", _kinds(report.named_kinds)) if report.named_kinds else "",
            *(section("What the network's output was taken as", _reading(each, facts)) for each in _read(worst)),
            section("Where the masks agree least", "".join(map(_worst, worst)) + _legend()) if worst else "",
            section("Every image", _images(report.images, kinds=bool(report.named_kinds))),
            section("Stored weights", _weights(weights)) if weights else "",
            section("Made from", facts_table("Made from", facts)) if facts else "",
        )
    )
    return page(shown, body)


def _head(report: ParityReport, title: str) -> str:
    failed = sum(not gate.passed for gate in report.gates)
    words = "all gates passed" if report.passed else f"{failed} of {len(report.gates)} gates failed"
    count = report.summary.images
    compared = f"{report.candidate} against {report.reference}, on {count} image{'' if count == 1 else 's'}"
    return (
        f"<header>\n<h1>{text(title)}</h1>\n"
        f'<p>{mark(report.passed, words)} <span class="faint">{text(compared)}</span></p>\n</header>\n'
    )


def _gates(report: ParityReport) -> str:
    rows = (
        f"<tr><td>{mark(gate.passed, 'passed' if gate.passed else 'failed')}</td>"
        f'<th scope="row">{text(gate.title)}</th><td class="number" data-name="measured">{text(measured(gate))}</td>'
        f'<td class="number" data-name="bar">{text(wanted(gate))}</td>'
        f'<td class="text">{text(gate.where)}{text(f" ({gate.note})") if gate.note else ""}</td></tr>\n'
        for gate in report.gates
    )
    head = (("result", False), ("gate", False), ("measured", True), ("bar", True), ("where", False))
    return table("Gates", head, rows, style="stack")


def _summary(report: ParityReport) -> str:
    s = report.summary
    rows = [
        ("mask IoU", f"mean {number(s.iou_mean)}, worst {number(s.iou_worst)} ({s.iou_worst_image or '–'})"),
        ("boundary F", f"mean {number(s.boundary_f_mean)}, worst {number(s.boundary_f_worst)}"),
        (
            "flipped pixels",
            f"{number(s.flipped_pixels)} in all, {number(100 * s.flipped_share, 3)} % of an image on average",
        ),
        ("P(person) there", f"by the model, at most {at_most(s.flipped_margin)} from the threshold"),
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
    return facts_table("Summary", dict(rows))


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
        f'<tr><th scope="row">{text(kind or "other")}</th>'
        + "".join(f'<td class="number">{text(show(score))}</td>' for _, show in KIND_COLUMNS)
        + "</tr>\n"
        for kind, score in kinds
    )
    head = (("kind", False), *((name, True) for name, _ in KIND_COLUMNS))
    return table("Scores by kind of photograph", head, rows)


def _read(worst: Sequence[Comparison]) -> list[Comparison]:
    """The image that shows how a network's own output was read, where there is one: with people, if possible."""
    shown = [compared for compared in worst if compared.reference.raw is not None]
    return sorted(shown, key=lambda compared: compared.score.kind == EMPTY)[:1]


def _reading(compared: Comparison, facts: Mapping[str, str]) -> str:
    """The photograph, the values as the network gives them, and the package's mask."""
    raw, name = compared.reference.raw, compared.score.name or "(no name)"
    assert raw is not None  # `_read` chooses such
    finite = raw[np.isfinite(raw)]
    span = f", {number(float(finite.min()), 4)} (black) to {number(float(finite.max()), 4)} (white)" * bool(finite.size)
    pictures = {
        **inputs_of(compared),
        f"the network's output{span}": values_picture(raw),
        HEADINGS[2]: mask_picture(compared.candidate.probability),
    }
    figures = "".join(_figure(heading, name, panel) for heading, panel in pictures.items())
    said = f'<p class="faint">{text(facts["meaning"])}</p>\n' if "meaning" in facts else ""
    return f'<article>\n<h3>{text(name)}</h3>\n{said}<div class="panels">\n{figures}</div>\n</article>\n'


def _worst(compared: Comparison) -> str:
    name = compared.score.name or "(no name)"
    score = compared.score
    words = [agreement(score), f"{number(score.flipped_pixels)} flipped pixels"]
    if score.kind != EMPTY:
        words.insert(1, f"boundary F {number(score.boundary_f)}")
    if score.psnr_db is not None:
        words.append(f"logits PSNR {number(score.psnr_db, 4)} dB")
    figures = "".join(_figure(heading, name, panel) for heading, panel in panels(compared).items())
    return (
        f'<article class="compared">\n<h3>{text(name)}</h3>\n<p class="faint">{text(" · ".join(words))}</p>\n'
        f'<div class="panels">\n{figures}</div>\n</article>\n'
    )


def _figure(heading: str, name: str, panel: np.ndarray) -> str:
    """A panel under its heading; masks are marked, for the slider."""
    from PIL import Image

    source = data_url(Image.fromarray(panel), photo=heading == HEADINGS[0] or heading.startswith("input "))
    mask = _MASK if heading in HEADINGS[1:3] else ""
    return (
        f'<figure><img{mask} alt="{text(heading)} of {text(name)}" src="{source}"'
        f' width="{panel.shape[1]}" height="{panel.shape[0]}"><figcaption>{text(heading)}</figcaption></figure>\n'
    )


def _legend() -> str:
    agree = f"black where the masks agree, brightest from |ΔP| = {HEAT_FULL:g} on"
    words = f"Difference: {agree}; cyan where a pixel changed sides; pink where a value is NaN or infinite."
    return f'<p class="faint">{text(words)}</p>\n'


def _images(scores: Sequence[ImageScore], *, kinds: bool) -> str:
    """One row per image, with its kind if images have kinds."""
    rows = (
        f'<tr><th scope="row">{text(score.name or "(no name)")}'
        f"{'' if score.finite else ' ' + mark(False, 'NaN or infinity')}</th>"
        + (f'<td class="text">{text(score.kind or "other")}</td>' if kinds else "")
        + "".join(number_cell(of(score), number(of(score), digits)) for _, of, digits in IMAGE_COLUMNS)
        + "</tr>\n"
        for score in scores
    )
    first = (("image", False), ("kind", False)) if kinds else (("image", False),)
    return table("Every image", (*first, *((name, True) for name, _, _ in IMAGE_COLUMNS)), rows, style="sortable")


def _weights(weights: Sequence[StoredWeight]) -> str:
    """A picture of the bits of each weight, and a row per weight."""
    words = (
        f"Each bar is a weight, the largest first: as wide as its elements are many, as high as its bits (lines at 4, 8"
        f" and 12 of {TALLEST:g}), so its area is its size. Green is compressed."
    )
    rows = (
        f'<tr><th scope="row">{text(weight.name)}</th><td class="text">{text(", ".join(weight.used_by))}</td>'
        f'<td class="number">{text("×".join(map(str, weight.shape)) or "scalar")}</td>'
        f'<td class="text">{text(weight.dtype)}</td>'
        + number_cell(weight.bits, number(weight.bits, 3))
        + number_cell(weight.size_bytes, number(weight.size_bytes))
        + number_cell(weight.error, "–" if weight.error is None else f"{number(100 * weight.error, 3)} %")
        + f'<td class="text">{text(weight.skipped or "–")}</td></tr>\n'
        for weight in weights
    )
    head = (
        *(("weight", False), ("read by", False), ("shape", True), ("stored as", False)),
        *(("bits", True), ("bytes", True), ("error", True), ("left alone because", False)),
    )
    picture = f'{bits_picture(weights)}<p class="faint">{text(words)}</p>\n'
    return picture + table("Stored weights", head, rows, style="sortable")
