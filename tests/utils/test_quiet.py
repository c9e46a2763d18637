"""Test that other libraries are silent inside the block, and only there."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest

from portrait_export.utils.quiet import mute, quiet


def talk() -> None:
    """Warn, print, and write to the descriptors directly, as libraries do."""
    warnings.warn("a warning", stacklevel=1)
    print("a print")
    print("an error", file=sys.stderr)
    os.write(1, b"native\n")
    os.write(2, b"native error\n")


KINDS = {
    "warnings": ({}, "a print\nnative\n", "an error\nnative error\n"),
    "prints": ({"prints": True}, "native\n", "native error\n"),
    "all": ({"prints": True, "native": True}, "", ""),
}


@pytest.mark.parametrize(("how", "out", "err"), KINDS.values(), ids=KINDS)
def test_only_the_selected_streams_are_silent_and_only_in_the_block(capfd, how, out, err):
    with quiet(**how):
        talk()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == (out, err)
    with pytest.warns(UserWarning, match="a warning"):
        talk()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("a print\nnative\n", "an error\nnative error\n")


def test_an_exception_in_the_block_restores_the_streams(capfd):
    with pytest.raises(ZeroDivisionError), quiet(prints=True, native=True):
        print("lost")
        raise ZeroDivisionError
    os.write(1, b"back\n")
    assert capfd.readouterr().out == "back\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_stay_closed(closed):
    program = (
        "import os, sys; from portrait_export.utils.quiet import quiet\n"
        "before = [n for n in (1, 2) if os.path.exists(f'/dev/fd/{n}')]\n"
        "with quiet(prints=True, native=True): print('lost')\n"
        "sys.exit(before != [n for n in (1, 2) if os.path.exists(f'/dev/fd/{n}')])"
    )
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, program], check=False)
    assert done.returncode == 0


def test_a_muted_logger_logs_only_errors(caplog):
    logger = logging.getLogger("portrait_export.tests.chatty")
    mute(logger.name)
    logger.warning("advice")
    logger.error("trouble")
    assert caplog.messages == ["trouble"]
