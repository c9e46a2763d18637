"""Read pickled checkpoints with PyTorch's restricted unpickler; refuse what would run code."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, first_line
from ...utils.archives import damaged_entry
from ...utils.names import with_article
from ...utils.quiet import quiet
from .locate import MAX_BYTES, SUFFIXES

MAX_PICKLE_BYTES = 2**20  # of a refused pickle that are searched for what it would have imported


def read_pickle(file: Path) -> Mapping[str, Any]:
    import torch

    _check_zip(file)
    _check_unpickler(file, torch.__version__)
    try:
        with quiet():  # about pickle protocols; what matters about them raises
            data = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unpickling_problem(file, str(error)) from error
    # The unpickler and the zip reader raise whatever damaged bytes lead them to: EOFError, IndexError, struct.error, …
    except Exception as error:
        raise CheckpointError(
            f"{file.name} is not a whole PyTorch checkpoint: {first_line(error)[:200]}",
            code="damaged-checkpoint",
            hint="download or save it again.",
        ) from error
    if not isinstance(data, Mapping):
        raise CheckpointError(
            f"{file.name} holds {with_article(type(data).__name__)}; expected a dictionary of tensors.",
            code="no-weights",
            hint="save `model.state_dict()`.",
        )
    return data


def _check_unpickler(file: Path, version: str) -> None:
    """Before 2.10, torch's weights-only unpickler could be made to run code (CVE-2025-32434, CVE-2026-24747)."""
    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < (2, 10):
        raise CheckpointError(
            f"{file.name} is a pickle, and torch {version} cannot read one safely (CVE-2025-32434, CVE-2026-24747).",
            code="unsafe-torch",
            hint="install torch 2.10 or later, or save the weights as .safetensors.",
        )


def _check_zip(file: Path) -> None:
    """Refuse what torch.load would refuse in its own words, and archives that are larger than they look."""
    try:
        if not zipfile.is_zipfile(file):
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{file.name} is a damaged archive: {error}.", code="damaged-checkpoint") from error
    if any(
        entry.filename.endswith(("/constants.pkl", ".torchscript")) or "/code/" in entry.filename for entry in entries
    ):
        raise CheckpointError(
            f"{file.name} is a TorchScript program, not a checkpoint.",
            code="torchscript",
            hint="a TorchScript program is code; save `model.state_dict()` instead.",
        )
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise CheckpointError(f"{file.name} unpacks to more than {MAX_BYTES / 2**30:.0f} GiB.", code="too-large")
    if name := damaged_entry(file):
        raise CheckpointError(
            f"{file.name} is damaged: the bytes of {name[:80]!r} in it do not have the checksum that is stored.",
            code="damaged-checkpoint",
            hint="download or save it again.",
        )


def _unpickling_problem(file: Path, message: str) -> CheckpointError:
    """The error for a pickle that PyTorch's restricted reader refused; it stops before anything is called."""
    names = re.findall(r"GLOBAL ([\w.]+)", message) or _called(file)
    if names or "unrecognized" in message:
        return CheckpointError(
            f"{file.name} would have to run `{names[0] if names else 'unknown code'}` to load. It was refused,"
            " and nothing in it was executed.",
            code="unsafe-pickle",
            hint="ask its author for safetensors, or for `torch.save(model.state_dict(), …)` with tensors only.",
        )
    return CheckpointError(
        f"{file.name} is not a PyTorch checkpoint, or is damaged.",
        code="damaged-checkpoint",
        hint=f"a checkpoint is a folder with config.json, or a file with one of {', '.join(SUFFIXES)}.",
    )


def _called(file: Path) -> list[str]:
    """What a checkpoint's pickles would import, but for PyTorch's own; read off their opcodes, without running them."""
    names: list[str] = []
    strings: list[str] = []
    try:
        stream = io.BytesIO(_pickle_bytes(file))
        for _ in range(8):  # the format before zip is several pickles in a row
            for opcode, argument, _position in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    # Damaged bytes lead the reader anywhere; what it has found until then is the answer.
    except Exception:
        pass
    return [name for name in names if name.partition(".")[0] not in ("torch", "collections")]


def _pickle_bytes(file: Path) -> bytes:
    """The beginning of a file, or of the `data.pkl` in it where it is an archive; empty where it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
            with archive.open(name) as stream:
                return stream.read(MAX_PICKLE_BYTES)
    except (zipfile.BadZipFile, StopIteration, NotImplementedError, ValueError, RuntimeError, EOFError):
        with file.open("rb") as stream:
            return stream.read(MAX_PICKLE_BYTES)
