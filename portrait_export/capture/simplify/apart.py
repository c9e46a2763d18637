"""Run onnxsim in a process of its own, as its C++ code crashes on some models.

The process is started at the first model and kept for the next ones: importing onnxsim takes longer than most models.
After a crash, a model that took too long or an interrupt, the next model gets a new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import onnx

from ...errors import first_line
from ..onnx.light import read_model, write_model

LONGEST_RUN_S = 600.0

Simplifier = Callable[[onnx.ModelProto], onnx.ModelProto]


class Apart:
    """A function of models that runs in a process of its own.

    Args:
        module: where the other process finds a function `serve`, which calls `answer` here.
        longest_s: after how many seconds a model is given up.
    """

    def __init__(self, module: str, longest_s: float = LONGEST_RUN_S):
        self._module = module
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0  # a forked process must not talk to its parent's child

    def __call__(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """What the function makes of a model. Raises RuntimeError where it fails, crashes or takes too long."""
        with self._lock, tempfile.TemporaryDirectory() as folder:
            source, result = Path(folder) / "model.onnx", Path(folder) / "folded.onnx"
            write_model(model, source)
            error = self._ask(source, result)
            if error:
                raise RuntimeError(error)
            return read_model(result)

    def _ask(self, source: Path, result: Path) -> str:
        """Send the names of two files, and wait until the second is written. Returns the error, or nothing."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(self._longest_s, give_up)
        timer.start()
        try:
            child.stdin.write(json.dumps([str(source), str(result)]).encode() + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except OSError:  # it has ended
            line = b""
        except BaseException:  # an interrupt: the answer that is still to come must not be taken for the next one's
            child.kill()
            child.wait()
            raise
        finally:
            timer.cancel()
            timer.join()  # it may be about to end the process
        if line and not late.is_set():
            return str(json.loads(line))
        code = child.wait()  # so that the next model sees that it needs a new process
        if late.is_set():
            return f"it took longer than {self._longest_s:g} s"
        return f"it crashed with signal {-code}" if code < 0 else f"its process ended with code {code}"

    def _running(self) -> subprocess.Popen[bytes]:
        """The process, started if there is none. It finds its modules where this one does."""
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            program = f"import sys; sys.path[:] = {sys.path!r}; from {self._module} import serve; serve()"
            self._child = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,  # its end, as when this process ends, ends the other
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._owner = os.getpid()
        return self._child


def answer(simplified: Simplifier) -> None:
    """The other process: for each line, a pair of file names, write what becomes of the first model to the second.

    Answers with a line: the reason why there is no second file, or an empty text.
    """
    for line in sys.stdin:
        source, result = map(Path, json.loads(line))
        try:
            write_model(simplified(read_model(source)), result)
            reason = ""
        except Exception as error:  # the C++ code raises anything
            reason = first_line(error)
        print(json.dumps(reason), flush=True)
