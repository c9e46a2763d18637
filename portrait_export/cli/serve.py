"""`portrait-export serve`: run a package's bytes for another program, frame after frame, in one process."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import click

from . import options


@click.command()
@click.argument("package", type=options.File())
def serve(package: Path) -> None:
    """Run PACKAGE for another program: frames on stdin, P(person) on stdout.

    \b
    portrait-export serve my.mlpackage

    The iOS demo uses it on Linux. The protocol is described in portrait_export/workflows/serve.py.
    """
    from ..workflows.serve import serve as serve_frames

    # Whatever a library prints goes to stderr meanwhile: the real stdout belongs to the protocol alone.
    stdout = sys.stdout.fileno()
    # The service also ends when nobody reads its replies any more.
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(stdout), "wb") as replies:
        os.dup2(sys.stderr.fileno(), stdout)
        try:
            serve_frames(package, sys.stdin.buffer, replies)
        finally:
            os.dup2(replies.fileno(), stdout)
