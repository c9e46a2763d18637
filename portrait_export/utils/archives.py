"""Find damage in a zip archive by its checksums, which PyTorch stores and does not check."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def damaged_entry(file: Path) -> str:
    """The first entry of a zip archive whose bytes do not have its checksum; empty if all have.

    An entry without a checksum (0, as PyTorch writes it if told to) is not checked.

    Raises:
        zipfile.BadZipFile: the archive's own structure is damaged.
        OSError: it cannot be read.
    """
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.CRC and not _is_whole(archive, entry):
                return entry.filename
    return ""


def _is_whole(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as stream:
            while stream.read(_CHUNK_BYTES):
                pass
    # What the readers of damaged headers and compressed data raise; RuntimeError: it seems to be encrypted.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError):
        return False
    return True
