"""The command line: a word in, the command's own file imported and run, an exit code out."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

import click

from .. import __version__
from ..errors import EXIT_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED, PortraitError, nearest

# command → one line for --help. Each is the function of that name in the file of that name.
COMMANDS = {
    "coreml": "Export a model to a verified Core ML package.",
    "onnx": "Export a model to a checked, simplified ONNX file.",
    "parity": "Compare a saved package's masks with its model's, and gate on them.",
    "blame": "Name the operation where a saved package parts from its model.",
    "models": "List the models with their size, cost and weights.",
    "segment": "Cut people out of photographs with a model or a package.",
    "serve": "Run a package for another program: frames in, probabilities out.",
    "predict": "Run any Core ML ML Program once, and show what comes out.",
    "inspect": "Show what a package or ONNX file takes, gives and holds.",
    "evaluate": "Score a model, checkpoint, package or ONNX file against drawn masks.",
    "train": "Train a model on photographs with masks.",
    "label": "Make masks for photographs that have none, or review those there are.",
    "rebuild": "Train the weights that come along anew, from the photographs they were made from.",
    "depth": "Make depth maps of photographs with a MiDaS file of your own.",
}

# Of writing to stdout, or of the whole machine: these carry no file's name.
SYSTEM_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class LazyGroup(click.Group):
    """A group that imports a command's file only when that command is called, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f".{name}", __package__), name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"There is no command `{args[0]}`: {nearest(args[0], list(COMMANDS), what='command')}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110},
)
@click.version_option(__version__, prog_name="portrait-export")
def portrait_export() -> None:
    """PyTorch portrait segmentation in, a Core ML package that provably gives the same mask out.

    Try: portrait-export coreml --model serseg_b0 --quantize int8
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Every failure becomes one message on stderr."""
    from . import interrupt, render

    render.accept_any_encoding()
    try:
        with interrupt.caught():
            result = portrait_export.main(args=list(arguments), prog_name="portrait-export", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except PortraitError as error:
        render.failure(error)
        return error.exit_code
    except click.ClickException as error:
        render.usage_failure(error)
        return EXIT_INPUT
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        render.say("interrupted: nothing was left half-written.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        _forget_stdout()
        return 0
    except OSError as error:  # what the system refuses, wherever it is met
        if error.filename is None and error.errno not in SYSTEM_ERRORS:
            render.internal_failure(error)
            return EXIT_INTERNAL
        render.system_failure(error)
        if error.filename is None:
            _forget_stdout()  # what is left in its buffer would fail again when Python ends
        return EXIT_INPUT
    except Exception as error:  # the last resort: a bug of ours, said as such
        render.internal_failure(error)
        return EXIT_INTERNAL


def _forget_stdout() -> None:
    """Send what is still to be written nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
