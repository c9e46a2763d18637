"""The only place that prints: results to stdout, talk to stderr, colour where it is wanted."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import click

from ..errors import PortraitError
from ..utils.plain import plain_data
from ..utils.stages import Observer, Stage
from . import interrupt

_BAR = 24  # characters of a progress bar, where the terminal is wide enough
_PROGRESS_AFTER_S = 1.0  # shorter work shows no bar


def _colour() -> bool | None:
    """False switches colour off (NO_COLOR, https://no-color.org); None lets click look for a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def accept_any_encoding() -> None:
    """Let no character of a table or a path end a command where the terminal cannot show it (Latin-1, ASCII)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_utf8 = codecs.lookup(stream.encoding).name == "utf-8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 else "replace")


def style(text: str, **how: Any) -> str:
    """Text with a click style."""
    return click.style(text, **how)


def say(text: str = "") -> None:
    """One line of talk, on stderr."""
    _talk(text + "\n")


def _talk(text: str) -> None:
    """Write to stderr. Where it is closed or full the work goes on in silence; its result and exit code still tell."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True, nl=False, color=_colour())


def result(text: str) -> None:
    """A result, on stdout."""
    click.echo(text, color=_colour())


def result_json(value: Any) -> None:
    """A result for scripts: indented JSON on stdout. NaN and infinities become null: they are no JSON.

    What the stream cannot hold (an umlaut in Latin-1's place, a name that is no UTF-8) is escaped as JSON does it.
    """
    text = json.dumps(plain_data(value), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(plain_data(value), indent=2, allow_nan=False)
    click.echo(text)


def warn(text: str) -> None:
    """A warning, on stderr."""
    say(f"{style('!', fg='yellow', bold=True)} {text}")


def failure(error: PortraitError) -> None:
    """An error that a person can act on: reference, message, context, hint."""
    say(f"{style('error', fg='red', bold=True)}: {error.code}")
    first, *rest = error.message.splitlines() or [""]
    say(f"{style('×', fg='red')} {first}")
    for line in (*rest, *error.context):
        say(f"  {line}")
    if error.hint:
        say(f"{style('hint', fg='cyan')}: {error.hint}")


def usage_failure(error: click.ClickException) -> None:
    """An option or argument that click refused."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "portrait-export"
    failure(PortraitError(error.format_message(), code="usage", hint=f"`{command} --help` shows every option."))


def system_failure(error: OSError) -> None:
    """What the operating system refuses: a folder that may not be entered, a name that is too long, a full disk."""
    reason = error.strerror or str(error)
    what = "The result cannot be written" if error.filename is None else f"{os.fsdecode(error.filename)} cannot be used"
    failure(PortraitError(f"{what}: {reason}.", code="refused-by-system"))


def internal_failure(error: Exception) -> None:
    """A bug of ours. The traceback's last lines are shown, all of them with PORTRAIT_EXPORT_DEBUG=1."""
    lines = traceback.format_exception(error)
    shown = lines if os.environ.get("PORTRAIT_EXPORT_DEBUG") else lines[-2:]
    context = [line for entry in shown for line in entry.rstrip().splitlines()]
    failure(
        PortraitError(
            f"This is a bug of portrait-export: {type(error).__name__}: {error}",
            code="internal",
            context=context,
            hint="please report it; PORTRAIT_EXPORT_DEBUG=1 shows the whole traceback.",
        )
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns of text, as wide as they need to be.

    Args:
        right: indices of the columns that are aligned to the right (numbers).
    """
    widths = [max(len(click.unstyle(row[i])) for row in [headers, *rows]) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for i, cell in enumerate(cells):
            gap = " " * (widths[i] - len(click.unstyle(cell)))
            padded.append(gap + cell if i in right else cell + gap)
        return "  ".join(padded).rstrip()

    return "\n".join([style(line(headers), bold=True), *(line(row) for row in rows)])


def size(size_bytes: int) -> str:
    """Bytes as people read them: 3.93 MB (decimal, as app stores count)."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    for unit, factor in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if size_bytes < factor * 1000 or unit == "GB":
            return f"{size_bytes / factor:.3g} {unit}"
    raise AssertionError("unreachable: GB takes every size")


class StageLines:
    """Shows the stages of a pipeline as they pass: one line each, with a bar inside the long ones.

    It implements `stages.Observer`. On a terminal the running stage is shown at once and overwritten when it ends.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._live = sys.stderr.isatty()
        self._name = ""
        self._started = 0.0

    def stage_started(self, name: str) -> None:
        interrupt.check()
        self._name, self._started = name, time.perf_counter()
        self._show(f"  {style('…', fg='cyan')} {name}")

    def stage_progress(self, done: int, total: int) -> None:
        interrupt.check()
        if time.perf_counter() - self._started < _PROGRESS_AFTER_S:
            return
        count = f"{done}/{total}"
        # A line that the terminal breaks could not be overwritten.
        width = max(0, min(_BAR, shutil.get_terminal_size().columns - len(f"  … {self._name:<9}  {count}") - 1))
        filled = round(width * done / max(total, 1))
        bar = "━" * filled + style("─" * (width - filled), dim=True)
        self._show(f"  {style('…', fg='cyan')} {self._name:<9} {bar} {count}")

    def stage_finished(self, stage: Stage) -> None:
        self._clear()
        say(f"  {style('✓', fg='green')} {stage.name:<9} {stage.seconds:6.1f} s  {stage.summary}")
        for line in stage.details if self._verbose else ():
            say(f"      {style(line, dim=True)}")
        for line in stage.warnings:
            warn(line)

    def stage_failed(self, name: str, seconds: float) -> None:
        self._clear()
        say(f"  {style('×', fg='red')} {name:<9} {seconds:6.1f} s")

    def _show(self, text: str) -> None:
        if self._live:
            _talk(f"\r\033[K{text}")

    def _clear(self) -> None:
        if self._live:
            _talk("\r\033[K")


class Silence:
    """Shows nothing of the stages: for --quiet and --json."""

    def stage_started(self, name: str) -> None:
        interrupt.check()

    def stage_progress(self, done: int, total: int) -> None:
        interrupt.check()

    def stage_finished(self, stage: Stage) -> None:
        """Nothing."""

    def stage_failed(self, name: str, seconds: float) -> None:
        """Nothing: the error itself is shown."""


def observer(*, quiet: bool, verbose: bool) -> Observer:
    """What watches a pipeline for the options --quiet and --verbose."""
    return Silence() if quiet else StageLines(verbose=verbose)
