"""Print the result of `audit`: every weight, what the bytes are for, and what is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from . import render

if TYPE_CHECKING:
    from ..mil.audit import StoredWeight
    from ..workflows.audit import AuditResult

_NAME_WIDTH = 48  # characters of a weight's name; the end distinguishes weights
_MOST_PROBLEMS = 20  # listed one by one


def show(result: AuditResult, *, quiet: bool) -> None:
    """Print the verdict, and before it all tables unless `quiet`."""
    if not quiet:
        _show_weights(result)
        _show_forms(result)
        _show_bytes(result)
    _show_verdict(result)


def _show_weights(result: AuditResult) -> None:
    """Print a line per weight, the largest first."""
    headers = ["weight", "read by", "shape", "stored as", "bits", "bytes", "error", "remarks"]
    rows = [
        [
            _short(weight.name),
            ", ".join(weight.used_by),
            "x".join(map(str, weight.shape)) or "scalar",
            _stored(weight),
            f"{weight.bits:.2f}",
            f"{weight.size_bytes:,}",
            _error(weight.error),
            _plain("; ".join(filter(None, (weight.skipped, weight.note)))),
        ]
        for weight in result.audit.weights
    ]
    render.result("\n" + render.table(headers, rows, right=(4, 5, 6)))


def _show_forms(result: AuditResult) -> None:
    """Print the sums over the weights of each form, and the reasons why others were left alone."""
    groups: dict[str, list[StoredWeight]] = {}
    for weight in result.audit.weights:
        groups.setdefault(_stored(weight), []).append(weight)
    rows = []
    for stored, weights in sorted(groups.items(), key=lambda item: -sum(w.size_bytes for w in item[1])):
        elements, size_bytes = sum(w.elements for w in weights), sum(w.size_bytes for w in weights)
        errors = [w.error for w in weights if w.error is not None]
        largest = _error(max(errors, key=lambda e: math.inf if math.isnan(e) else e)) if errors else "–"
        bits = 8 * size_bytes / max(elements, 1)
        rows.append([stored, str(len(weights)), f"{elements:,}", f"{bits:.2f}", f"{size_bytes:,}", largest])
    headers = ["stored as", "weights", "elements", "bits", "bytes", "largest error"]
    render.result("\n" + render.table(headers, rows, right=(1, 2, 3, 4, 5)))


def _show_bytes(result: AuditResult) -> None:
    """Print what every byte of the package is for."""
    storage = result.audit.storage
    if storage is None:
        return
    parts = {**storage.weight_files, **storage.files}
    rows = [[purpose, f"{size:,}"] for purpose, size in sorted(parts.items(), key=lambda item: -item[1])]
    rows.append(["the whole package", f"{storage.size_bytes:,}"])
    render.result("\n" + render.table(["bytes for", "bytes"], rows, right=(1,)))


def _show_verdict(result: AuditResult) -> None:
    audit = result.audit
    total = len(audit.weights)
    render.result("")
    for problem in audit.problems[:_MOST_PROBLEMS]:
        render.result(f"{render.style('✗', fg='red')} {_plain(problem)}")
    if len(audit.problems) > _MOST_PROBLEMS:
        render.result(f"  … and {len(audit.problems) - _MOST_PROBLEMS} more, which `--json` lists")
    if not total:
        render.result(
            f"{render.style('!', fg='yellow')} no constant is large enough to be a weight: nothing was audited"
        )
    elif audit.passed and result.uncompared:
        render.result(
            f"{render.style('!', fg='yellow')} nothing was found wrong, but {_count(len(result.uncompared))} of layers"
            f" could not be compared: {', '.join(_short(weight.name) for weight in result.uncompared[:_MOST_PROBLEMS])}"
        )
    elif audit.passed:
        render.result(f"{render.style('✓', fg='green')} nothing is wrong with {_count(total)}")
    name, size = result.package.name, render.size(result.size_bytes)
    compressed = f"{len(audit.applied)} compressed" if audit.applied else "none compressed"
    render.result(f"  {_plain(name)}  {size}, needs {result.target} or later; {_count(total)}, {compressed}")
    if not result.reference:
        render.result("  not compared with a network: `--against` gives one, and finds wrong values too")
    elif result.compared < total or not total:
        left = sum(w.size_bytes for w in audit.weights if w.error is None)
        render.result(
            f"  {result.compared} compared with {_plain(result.reference)}; {total - result.compared}"
            f" ({render.size(left)}) have no counterpart there"
        )
    else:
        render.result(f"  all compared with {_plain(result.reference)}")


def _count(weights: int) -> str:
    return f"{weights} weight" if weights == 1 else f"{weights} weights"


def _stored(weight: StoredWeight) -> str:
    return weight.dtype if weight.form == "plain" else f"{weight.form} {weight.dtype}"


def _error(value: float | None) -> str:
    """A relative error in per cent with three digits, however small; `exact` where there is none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    return "exact" if value == 0 else f"{100 * value:.3g} %"


def _short(name: str) -> str:
    plain = _plain(name)
    return plain if len(plain) <= _NAME_WIDTH else "…" + plain[1 - _NAME_WIDTH :]


def _plain(text: str) -> str:
    """Text from a package, with control characters as U+FFFD, so that it cannot change the terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
