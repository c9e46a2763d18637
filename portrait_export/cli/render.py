"""Print results to stdout and messages to stderr. No other file prints.

Names in them come from other people's files, so control characters are made visible. The escape sequences of our own
styles are kept apart from them by `_MARK`, which no text can contain.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import secrets
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any, TextIO

import click

from ..errors import PortraitError
from ..utils.plain import plain_data
from ..utils.stages import Observer, SilentObserver, Stage
from ..utils.visible import visible, visible_in_json, visible_line
from ..utils.wording import in_texts
from . import interrupt
from .flags import with_flags

_MARK = f"\0{secrets.token_hex(8)}\0"  # stands for the escape character of our own styles
_STYLES = re.compile(rf"({_MARK}\[[0-9;]*m)")
_BAR = 24  # characters of a progress bar, if the terminal is wide enough
_PROGRESS_AFTER_S = 1.0  # shorter stages show no bar


def _colour() -> bool | None:
    """Return False if NO_COLOR is set (https://no-color.org), else None: click decides."""
    return False if os.environ.get("NO_COLOR") else None


def accept_any_encoding() -> None:
    """Prevent failures on characters that the terminal's encoding lacks (Latin-1, ASCII)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_utf8 = codecs.lookup(stream.encoding).name == "utf-8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 else "replace")


def style(text: str, **styles: Any) -> str:
    """Apply a click style to text. It is for the functions of this file."""
    return click.style(_cleaned(text), **styles).replace("\x1b", _MARK)


def _cleaned(text: str) -> str:
    """Text with visible control characters and marks of our own styles."""
    parts = _STYLES.split(text)
    parts[::2] = [visible(part) for part in parts[::2]]
    return "".join(parts)


def _shown(text: str) -> str:
    """Text as it is printed: control characters are visible, and our own styles are escape sequences."""
    return _cleaned(text).replace(_MARK, "\x1b")


def _plain(text: str) -> str:
    """Text as it is printed, without styles."""
    return visible(_STYLES.sub("", text))


def message(text: str = "") -> None:
    """Print a line to stderr."""
    _write(_shown(text) + "\n")


def _write(text: str) -> None:
    """Write to stderr. If it is closed or full, the run continues; its result and exit code still tell the outcome."""
    try:
        click.echo(text, err=True, nl=False, color=_colour())
    except OSError:
        forget(sys.stderr)


def result(text: str) -> None:
    """Print a result to stdout, with arguments as flags."""
    _print(_shown(with_flags(text)))


def _print(text: str) -> None:
    """Print to stdout. Once its reader is gone, as with `| head`, the run continues: its exit code is the verdict."""
    try:
        click.echo(text, color=_colour())
    except BrokenPipeError:
        forget(sys.stdout)


def reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads. Only an attempt to write tells."""
    try:
        click.echo()
    except BrokenPipeError:
        return True
    return False


def forget(stream: TextIO | None) -> None:
    """Redirect a stream to /dev/null, so that neither printing nor flushing it at exit can fail."""
    if stream is not None:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def result_json(value: Any) -> None:
    """Print indented JSON to stdout, with arguments as flags.

    NaN and infinities, which JSON does not have, become null.
    Control characters, those that the stream's encoding lacks, and names that are not UTF-8 are escaped.
    """
    value = in_texts(plain_data(value), with_flags)
    text = _escaped_lines(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, allow_nan=False)
    _print(text)


def _escaped_lines(text: str) -> str:
    return "\n".join(map(visible_in_json, text.split("\n")))


def warn(text: str) -> None:
    """Print a warning to stderr, with arguments as flags."""
    message(f"{style('!', fg='yellow', bold=True)} {visible_line(with_flags(text))}")


def problem(text: str) -> None:
    """Print one line to stderr about what is wrong with a result, with arguments as flags."""
    message(f"{style('✗', fg='red')} {visible_line(with_flags(text))}")


def failure(error: PortraitError) -> None:
    """Print an error: code, message, context and hint, with arguments as flags."""
    message(f"{style('error', fg='red', bold=True)}: {error.code}")
    first, *rest = with_flags(error.message).rstrip("\n").split("\n")
    message(f"{style('×', fg='red')} {first}")
    for line in (*rest, *map(with_flags, error.context)):
        message(f"  {line}")
    if error.hint:
        message(f"{style('hint', fg='cyan')}: {with_flags(error.hint)}")


def interrupted(how: str) -> None:
    """Print that the run was interrupted, and how to go on if that is known, with arguments as flags."""
    message(f"interrupted: no file was left half-written{'; ' * bool(how)}{with_flags(how)}.")


def usage_failure(error: click.ClickException) -> None:
    """Print the error for an option or argument that click rejected."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "portrait-export"
    failure(PortraitError(error.format_message(), code="usage", hint=f"`{command} --help` lists every option."))


def system_failure(error: OSError) -> None:
    """Print the error for something that the operating system refused: no permission, a long name, a full disk."""
    reason = error.strerror or str(error)
    what = "The result cannot be written" if error.filename is None else f"{os.fsdecode(error.filename)} cannot be used"
    failure(PortraitError(f"{what}: {reason}.", code="refused-by-system"))


def internal_failure(error: Exception) -> None:
    """Print the error for a bug, with the last lines of the traceback, or all with PORTRAIT_EXPORT_DEBUG=1."""
    lines = traceback.format_exception(error)
    shown = lines if os.environ.get("PORTRAIT_EXPORT_DEBUG") else lines[-2:]
    context = [line for entry in shown for line in entry.rstrip().splitlines()]
    failure(
        PortraitError(
            f"This is a bug in portrait-export: {type(error).__name__}: {error}",
            code="internal",
            context=context,
            hint="please report it; PORTRAIT_EXPORT_DEBUG=1 shows the whole traceback.",
        )
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Format rows as aligned columns, with arguments as flags.

    Args:
        right: indices of the right-aligned columns (numbers).
    """
    rows = [[with_flags(cell).replace("\n", r"\n").replace("\t", r"\t") for cell in row] for row in rows]
    widths = [max(len(_plain(row[i])) for row in [headers, *rows]) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for i, cell in enumerate(cells):
            gap = " " * (widths[i] - len(_plain(cell)))
            padded.append(gap + cell if i in right else cell + gap)
        return "  ".join(padded).rstrip()

    return "\n".join([style(line(headers), bold=True), *(line(row) for row in rows)])


def size(size_bytes: int) -> str:
    """Format a number of bytes: 3.93 MB (decimal, as app stores count)."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    for unit, factor in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if size_bytes < factor * 1000 or unit == "GB":
            return f"{size_bytes / factor:.3g} {unit}"
    raise AssertionError("unreachable: GB takes every size")


class StageLines:
    """Prints one line per stage, with a progress bar during long ones. Implements `stages.Observer`.

    On a terminal, the running stage is shown at once and overwritten when it ends.
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
        # A line that the terminal wraps cannot be overwritten.
        width = max(0, min(_BAR, shutil.get_terminal_size().columns - len(f"  … {self._name:<9}  {count}") - 1))
        filled = round(width * done / max(total, 1))
        bar = "━" * filled + style("─" * (width - filled), dim=True)
        self._show(f"  {style('…', fg='cyan')} {self._name:<9} {bar} {count}")

    def stage_finished(self, stage: Stage) -> None:
        self._clear()
        summary = visible_line(with_flags(stage.summary))
        message(f"  {style('✓', fg='green')} {stage.name:<9} {stage.seconds:6.1f} s  {summary}")
        for line in stage.details if self._verbose else ():
            message(f"      {style(visible_line(with_flags(line)), dim=True)}")
        for line in stage.warnings:
            warn(line)

    def stage_failed(self, name: str, seconds: float) -> None:
        self._clear()
        message(f"  {style('×', fg='red')} {name:<9} {seconds:6.1f} s")

    def _show(self, text: str) -> None:
        if self._live:
            _write(f"\r\033[K{_shown(text)}")

    def _clear(self) -> None:
        if self._live:
            _write("\r\033[K")


class Silence(SilentObserver):
    """Prints nothing about stages: for --quiet and --json. Still checks for Ctrl-C."""

    def stage_started(self, name: str) -> None:
        interrupt.check()

    def stage_progress(self, done: int, total: int) -> None:
        interrupt.check()


def observer(*, quiet: bool, verbose: bool) -> Observer:
    """Return the observer for the options --quiet and --verbose."""
    return Silence() if quiet else StageLines(verbose=verbose)
