"""Freed memory stays with the process: no page faults for values of the sizes that were there before."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from portrait_export.utils.memory import keep_freed_memory

applied = {call}
for run in range(8):
    if run == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    values = [torch.ones(megabytes << 18) for megabytes in (16, 24, 48)]
    del values
print(applied, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")


def faults(call: str, **environment: str) -> tuple[str, int]:
    """What the call returned, and the page faults of six later runs."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(call=call)], env=CLEAN | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    applied, count = done.stdout.split()
    return applied, int(count)


@needs_glibc
def test_values_reuse_the_memory_of_earlier_ones():
    applied, kept = faults("keep_freed_memory()")
    assert applied == "True"
    assert kept < faults("None")[1] / 2  # not 0: the system may take pages from any process


@needs_glibc
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_a_users_own_settings_win(name):
    value = "2" if name.startswith("MALLOC") else "glibc.malloc.arena_max=2"
    assert faults("keep_freed_memory()", **{name: value})[0] == "False"
