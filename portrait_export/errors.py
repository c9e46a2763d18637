"""Every failure this project reports: one base class, one class per stage. Imports nothing."""

from __future__ import annotations

# Exit codes of the command line.
EXIT_INPUT = 2  # usage or bad input
EXIT_INTERNAL = 3  # a bug of ours
EXIT_INTERRUPTED = 130  # Ctrl-C or SIGTERM: 128 + SIGINT, as shells count


class PortraitError(Exception):
    """A failure a person can act on.

    Args:
        message: one sentence: what was asked and what was found, with names and numbers.
        code: a stable kebab-case reference such as `unsupported-onnx-op`.
        context: further lines, one per cause, all causes of the kind at once.
        hint: what to do next.
    """

    code = "portrait-error"
    exit_code = EXIT_INPUT

    def __init__(
        self, message: str, *, code: str | None = None, context: tuple[str, ...] | list[str] = (), hint: str = ""
    ):
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.context = tuple(context)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message, *(f"  {line}" for line in self.context)]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class UsageError(PortraitError):
    """A name or option that does not exist or does not go together with another."""

    code = "usage"


class PhotoError(PortraitError):
    """A photograph or mask that cannot be read or used."""

    code = "bad-photo"


class DataError(PortraitError):
    """A folder of images and masks, or its manifest, that does not hold what it should."""

    code = "bad-data"


class CheckpointError(PortraitError):
    """Weights that cannot be read, or do not fit the network."""

    code = "bad-checkpoint"


class CaptureError(PortraitError):
    """PyTorch → ONNX: tracing, exporting, simplifying, or checking failed."""

    code = "capture-failed"


class LoweringError(PortraitError):
    """ONNX → MIL: an operator, attribute or type without a faithful MIL expression."""

    code = "lowering-failed"


class PackageError(PortraitError):
    """A .mlpackage (or the folder to write one into) that is damaged, unsafe or not what was asked for."""

    code = "bad-package"


class QuantizeError(PortraitError):
    """A quantization recipe that does not exist or cannot be applied."""

    code = "quantize-failed"


class ExecutionError(PortraitError):
    """The runtime could not execute a package: an op without kernel, wrong inputs, shapes that do not fit."""

    code = "execution-failed"


class TrainingError(PortraitError):
    """Training could not start or go on."""

    code = "training-failed"


def first_line(error: BaseException) -> str:
    """The first line of another library's message, which may go on for pages; without a message the error's class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(name: str, known: list[str] | tuple[str, ...], *, what: str) -> str:
    """The hint for an unknown name: the closest known one, or all of them.

    >>> nearest("serseg_bo", ["serseg_b0", "sernet_former"], what="model")
    'did you mean `serseg_b0`? The models are: sernet_former, serseg_b0.'
    """
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    everything = f"The {what}s are: {', '.join(sorted(known))}."
    return f"did you mean `{close[0]}`? {everything}" if close else everything
