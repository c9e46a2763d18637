"""The errors that this package raises: one base class, and one class per kind of failure."""

from __future__ import annotations

# Exit codes of the command line.
EXIT_INPUT = 2  # usage or bad input
EXIT_INTERNAL = 3  # a bug in portrait-export
EXIT_INTERRUPTED = 130  # Ctrl-C or SIGTERM: 128 + SIGINT, as shells count


class PortraitError(Exception):
    """A failure that the user can act on.

    Texts name arguments as Python does, in backquotes and with an equals sign: `` `size=` ``, `` `force=True` ``.
    The command line shows them as its own options (`cli/flags.py`).

    Args:
        message: one sentence: what was asked and what was found, with names and numbers.
        code: a stable kebab-case identifier such as `unsupported-onnx-op`.
        context: further lines, one per cause; every cause of the same kind is listed.
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
    """An argument that does not exist, is out of range, or conflicts with another."""

    code = "usage"


class PhotoError(PortraitError):
    """A photo or mask that cannot be read or used."""

    code = "bad-photo"


class DataError(PortraitError):
    """A folder of images and masks, or its manifest, with missing or unusable files."""

    code = "bad-data"


class CheckpointError(PortraitError):
    """Weights that cannot be read or do not fit the network."""

    code = "bad-checkpoint"


class CaptureError(PortraitError):
    """Tracing, exporting, simplifying or checking an ONNX graph failed."""

    code = "capture-failed"


class LoweringError(PortraitError):
    """An ONNX operator, attribute or type that has no exact equivalent in MIL."""

    code = "lowering-failed"


class PackageError(PortraitError):
    """A .mlpackage (or its output folder) that is damaged, unsafe or not what was asked for."""

    code = "bad-package"


class QuantizeError(PortraitError):
    """A quantization recipe that does not exist or cannot be applied."""

    code = "quantize-failed"


class ExecutionError(PortraitError):
    """The runtime could not run a package: an operator without a kernel, wrong inputs, mismatched shapes."""

    code = "execution-failed"


class TrainingError(PortraitError):
    """Training could not start or continue."""

    code = "training-failed"


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, which may be pages long, or else the error's class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(name: str, known: list[str] | tuple[str, ...], *, what: str) -> str:
    """Return the hint for an unknown name: the closest known name, and all of them.

    >>> nearest("serseg_bo", ["serseg_b0", "sernet_former"], what="model")
    'did you mean `serseg_b0`? The models are: sernet_former, serseg_b0.'
    """
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    everything = f"The {what}s are: {', '.join(sorted(known))}."
    return f"did you mean `{close[0]}`? {everything}" if close else everything
