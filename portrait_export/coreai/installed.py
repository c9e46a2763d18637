"""Check that Core AI's packages are installed, in the versions that are used here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

from ..errors import PortraitError
from ..utils.extras import install

VERSIONS = {"coreai-core": "1.0.0b3", "coreai-onnx": "1.2.1"}  # betas whose private parts change, so exact
OLDEST_PYTHON = (3, 11)
OLDEST_GLIBC = (2, 34)  # of Apple's wheels for Linux


class CoreAIError(PortraitError):
    """Core AI's packages are missing, or refuse a model or an asset."""

    code = "core-ai"


def require_installed() -> None:
    """Raise CoreAIError with everything that is missing to write and run Core AI assets."""
    problems = _platform_problems(sys.version_info[:2], _glibc())
    if problems:
        raise CoreAIError(
            "Core AI's packages cannot be installed here.",
            code="core-ai-platform",
            context=problems,
            hint="use a newer Python or system for Core AI; `portrait-export coreml` works on this one.",
        )
    found = {name: _version(name) for name in VERSIONS}
    wrong = [
        f"{name} {wanted} is needed; {found[name] or 'it'} is {'installed' if found[name] else 'not installed'}"
        for name, wanted in VERSIONS.items()
        if found[name] != wanted
    ]
    if wrong:
        raise CoreAIError(
            "Core AI assets need the extra `coreai`.",
            code="core-ai-missing",
            context=wrong,
            hint=f"{install('coreai')}.",
        )


def _platform_problems(python: tuple[int, ...], glibc: tuple[int, ...] | None) -> list[str]:
    """Why Core AI's packages do not exist for this Python or C library; empty if they do."""
    problems = []
    if python < OLDEST_PYTHON:
        problems.append(f"they need Python {_dotted(OLDEST_PYTHON)} or later; this is {_dotted(python)}")
    if glibc is not None and glibc < OLDEST_GLIBC:
        problems.append(f"they need glibc {_dotted(OLDEST_GLIBC)} or later; this system has {_dotted(glibc)}")
    machine = platform.machine()
    if sys.platform == "linux" and machine != "x86_64":
        problems.append(f"they exist for x86-64 Linux; this machine is {machine}")
    return problems


def _glibc() -> tuple[int, ...] | None:
    """The version of the GNU C library; None on systems without one."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return None
    numbers = text.rpartition(" ")[2].split(".")
    return tuple(int(number) for number in numbers[:2]) if all(map(str.isdigit, numbers[:2])) else None


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
