"""Read a weight file into tensors on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from ...utils.lfs import refuse_pointer
from .pickles import read_pickle


def read_tensors(file: Path) -> Mapping[str, Any]:
    """What a weight file holds, as plain data and CPU tensors; recognised by its content, not by its name.

    Raises:
        CheckpointError: damaged, not a checkpoint, or it would have to run code to load.
    """
    refuse_pointer(file, CheckpointError)
    try:
        return _read_safetensors(file) if is_safetensors(file) else read_pickle(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.", code="unreadable") from error


def is_safetensors(file: Path) -> bool:
    """Eight bytes with the header's length, then the header, which is JSON."""
    with file.open("rb") as stream:
        head = stream.read(9)
    fits = len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= file.stat().st_size
    return fits or file.suffix == ".safetensors"


def _read_safetensors(file: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(file))
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that torch has not
        raise CheckpointError(
            f"{file.name} is not a whole safetensors file: {error}.",
            code="damaged-checkpoint",
            hint="download or save it again.",
        ) from error
