"""Find, import and run a command."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

import click

from ..errors import EXIT_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED, PortraitError, nearest
from ..utils.version import __version__

# command → its line in --help. Each is the function of that name in the file of that name.
COMMANDS = {
    "coreml": "Export a model to a verified Core ML package.",
    "coreai": "Export a model to a verified Core AI asset.",
    "onnx": "Export a model to a checked, simplified ONNX file.",
    "parity": "Compare a saved package's masks with its model's, and gate on the difference.",
    "blame": "Find the operation that makes a saved package differ from its model.",
    "audit": "List how a package stores its weights, and find those that are wrong.",
    "agree": "Compare our runtime with Core ML itself, operator by operator; on a Mac.",
    "sweep": "Make packages with every recipe, and compare their sizes and masks.",
    "recipes": "List the ways to compress weights, with what each needs and buys.",
    "models": "List the models with their size, cost and weights.",
    "segment": "Cut people out of photos with a model or a package.",
    "serve": "Run a package for another program: frames in, probabilities out.",
    "predict": "Run any Core ML ML Program once and show its outputs.",
    "inspect": "Show the inputs, outputs, operations and weights of a saved model or ONNX file.",
    "evaluate": "Score a model, checkpoint, package or ONNX file against ground-truth masks.",
    "train": "Train a model on photos with masks.",
    "label": "Make masks for photos without one, or review existing masks.",
    "rebuild": "Retrain the bundled weights from scratch on the photos they were trained on.",
    "depth": "Make depth maps of photos with your own copy of MiDaS.",
    "demo": "Export packages into the iOS demo app, with photos to try them on.",
}

PROGRAM = "portrait-export"
COMPLETION = "_PORTRAIT_EXPORT_COMPLETE"  # set by Click's scripts for shells, which ask for completions with it

# Errors of writing to stdout or of the whole machine, which carry no file name.
SYSTEM_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class LazyGroup(click.Group):
    """A group that imports a command's file only when the command is used, so that --help is fast."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:  # Click's answer depends on its version
            from . import render

            render.message(ctx.get_help())
            ctx.exit(EXIT_INPUT)
        return super().parse_args(ctx, args)

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
    """Export PyTorch portrait segmentation models to Core ML, and verify that the masks stay the same.

    Try: portrait-export coreml --model serseg_b0 --quantize int8
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Every failure becomes one message on stderr."""
    from . import interrupt, render

    render.accept_any_encoding()
    try:
        with interrupt.caught():
            return _invoke(arguments)
    except PortraitError as error:
        render.failure(error)
        return error.exit_code
    except click.ClickException as error:
        render.usage_failure(error)
        return EXIT_INPUT
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        render.message()  # ends the line in which a terminal shows ^C
        render.interrupted(str(error))
        return EXIT_INTERRUPTED
    except BrokenPipeError as error:
        if render.reader_is_gone():  # of --help or --version, which Click prints
            render.forget(sys.stdout)
            return 0
        render.internal_failure(error)
        return EXIT_INTERNAL
    except OSError as error:  # refused by the operating system, anywhere in the run
        if error.filename is None and error.errno not in SYSTEM_ERRORS:
            render.internal_failure(error)
            return EXIT_INTERNAL
        render.system_failure(error)
        if error.filename is None:
            render.forget(sys.stdout)  # else flushing its buffer fails again at exit
        return EXIT_INPUT
    except Exception as error:  # a bug in portrait-export
        render.internal_failure(error)
        return EXIT_INTERNAL


def _invoke(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code.

    Not by Click's `main`: it turns a pipe without a reader into exit code 1, "a gate failed", and writes to stderr when
    interrupted, which fails where stderr is such a pipe.
    """
    if COMPLETION in os.environ:
        portrait_export.main(prog_name=PROGRAM, complete_var=COMPLETION)
    with portrait_export.make_context(PROGRAM, list(arguments)) as context:
        result = portrait_export.invoke(context)
    return result if isinstance(result, int) else 0
