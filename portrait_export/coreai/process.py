"""Start the process that runs Core AI's packages, and exchange arrays with it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from ..utils.visible import visible_line
from . import worker
from .installed import CoreAIError, require_installed

if TYPE_CHECKING:
    import numpy as np

_TAIL_BYTES = 4096  # of the process's standard error, of which the last line is shown
_LONGEST_REASON = 300  # characters


class Process:
    """One command of `worker.py`, in a process of its own.

    Args:
        what: what is asked of Core AI, to begin the error with, such as `Core AI cannot run x.aimodel`.
        arguments: of the script.
    """

    def __init__(self, what: str, *arguments: str | Path):
        require_installed()
        self._what = what
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # `close` closes it
        command = [sys.executable, "-P", str(Path(worker.__file__)), *map(str, arguments)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)

    def ask(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Send one message and return the answer. Raises CoreAIError if the process ended instead."""
        try:
            worker.write_message(self._pipe("stdin"), inputs)
        except OSError as error:
            raise self._failure() from error
        return self.answer()

    def answer(self) -> dict[str, np.ndarray]:
        """Return the next answer. Raises CoreAIError if the process ended instead."""
        found = worker.read_message(self._pipe("stdout"))
        if found is None:
            raise self._failure()
        return found

    def finish(self) -> None:
        """Wait for the end. Raises CoreAIError if it is not a success."""
        self._pipe("stdin").close()
        if self._child.wait() != 0:
            raise self._failure()
        self.close()

    def close(self) -> None:
        """End the process, if it has not ended, and free what it held."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # unsent bytes of a process that is gone
                    continue

    def _pipe(self, name: str) -> BinaryIO:
        stream = getattr(self._child, name)
        assert stream is not None
        return stream

    def _failure(self) -> CoreAIError:
        """The error for a process that has ended, with the last line that it printed."""
        code = self._child.wait()
        size = self._errors.seek(0, 2)
        self._errors.seek(max(0, size - _TAIL_BYTES))
        lines = [line for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        self.close()
        reason = visible_line(lines[-1].strip())[:_LONGEST_REASON] if lines else ""
        ended = f"its process was ended by signal {-code}" if code < 0 else f"its process ended with code {code}"
        context = [line for line in (ended, reason) if line]
        return CoreAIError(f"{self._what}.", code="core-ai-failed", context=context)
