"""Time the stages of a pipeline and report their progress."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Attributes:
        name: one word.
        seconds: wall time.
        summary: the result in half a line.
        details: further lines, which the command line shows with --verbose.
        warnings: possible problems although the stage succeeded; always shown.
        facts: results as plain values for export.json.
    """

    name: str
    seconds: float
    summary: str
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


class Observer(Protocol):
    """Receives the progress of a pipeline. Raise from any method to stop the run.

    `SilentObserver` ignores everything and is a base class for observers that need only some of the methods.
    """

    def stage_started(self, name: str) -> None:
        """A stage begins."""

    def stage_progress(self, done: int, total: int) -> None:
        """The running stage has completed `done` of `total` steps."""

    def stage_finished(self, stage: Stage) -> None:
        """A stage has succeeded."""

    def stage_failed(self, name: str, seconds: float) -> None:
        """A stage has failed after `seconds`; its exception is raised next."""


class SilentObserver:
    """An observer that ignores everything: the default of the Python API."""

    def stage_started(self, name: str) -> None:
        """Ignored."""

    def stage_progress(self, done: int, total: int) -> None:
        """Ignored."""

    def stage_finished(self, stage: Stage) -> None:
        """Ignored."""

    def stage_failed(self, name: str, seconds: float) -> None:
        """Ignored."""


@dataclass
class RunningStage:
    """The stage in progress; the code inside it records its results here."""

    name: str
    observer: Observer
    summary: str = ""
    details: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def progress(self, done: int, total: int) -> None:
        """Report that `done` of `total` steps are complete."""
        self.observer.stage_progress(done, total)

    def counter(self, total: int) -> Callable[[object], None]:
        """What reports one more of `total` steps each time that it is called, whatever it is called with."""
        numbers = itertools.count(1)
        return lambda _step: self.progress(next(numbers), total)


class Stages:
    """Runs stages in order and keeps their results."""

    def __init__(self, observer: Observer):
        self._observer = observer
        self.ended: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[RunningStage]:
        """Time a stage. An exception inside it is reported as the stage's failure and raised again."""
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
