"""Stages of a pipeline: each has a name, takes time, says what it did, and can be watched."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Stage:
    """A stage that has ended.

    Attributes:
        name: one word.
        seconds: wall time.
        summary: what it made, in half a line.
        details: what `--verbose` adds.
        warnings: what may be wrong although the stage went well; always shown.
        facts: what it found, as plain values for export.json.
    """

    name: str
    seconds: float
    summary: str
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


class Observer(Protocol):
    """Watches stages pass. The command line's implementation is `cli.render.StageLines`."""

    def stage_started(self, name: str) -> None:
        """A stage begins."""

    def stage_progress(self, done: int, total: int) -> None:
        """The running stage has done so many of its steps."""

    def stage_finished(self, stage: Stage) -> None:
        """A stage has ended well."""

    def stage_failed(self, name: str, seconds: float) -> None:
        """A stage has ended in an error, which is raised after this."""


@dataclass
class RunningStage:
    """Handed to the code of a stage, which writes what it did into it."""

    name: str
    observer: Observer
    summary: str = ""
    details: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def progress(self, done: int, total: int) -> None:
        """Tell the observer how far the stage is."""
        self.observer.stage_progress(done, total)


class Stages:
    """Runs stages in order and keeps what they said."""

    def __init__(self, observer: Observer):
        self._observer = observer
        self.ended: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[RunningStage]:
        """Time a stage. An error inside is reported as the stage's failure and raised on."""
        running = RunningStage(name, self._observer)
        self._observer.stage_started(name)
        start = time.perf_counter()
        try:
            yield running
        except BaseException:
            self._observer.stage_failed(name, time.perf_counter() - start)
            raise
        stage = Stage(
            name,
            time.perf_counter() - start,
            running.summary,
            tuple(running.details),
            tuple(running.warnings),
            running.facts,
        )
        self.ended.append(stage)
        self._observer.stage_finished(stage)
