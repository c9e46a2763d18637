"""Account for every byte of a package: weights, other constants, alignment, the specification, the manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import PackageError
from ..folder import files_of
from ..program import Program
from ..weights import ALIGNMENT, HEADER_BYTES, METADATA_BYTES, Blob, WeightFile

WEIGHTS = "weights"
CONSTANTS = "other constants"
LAYOUT = "headers and alignment"
UNUSED = "blobs that nothing reads"
UNKNOWN = "bytes of no blob"
SPECIFICATION = "specification"
MANIFEST = "manifest"
OTHER = "other files"


@dataclass(frozen=True)
class Storage:
    """The size of a package by what its bytes are for.

    Attributes:
        weight_files: bytes of the weight files by purpose; together they are the size of those files.
        files: bytes of the other files by purpose.
        problems: bytes that two constants claim, and lists of blobs that do not hold together.
    """

    weight_files: dict[str, int]
    files: dict[str, int]
    problems: tuple[str, ...] = field(default=())

    @property
    def size_bytes(self) -> int:
        """The size of the package."""
        return sum(self.weight_files.values()) + sum(self.files.values())

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"weight_files": self.weight_files, "files": self.files, "size_bytes": self.size_bytes}


def storage_of(program: Program, weights: Iterable[tuple[str, int]]) -> Storage:
    """Account for the bytes of a package.

    Args:
        weights: file name and offset of each blob that belongs to a weight; the others that the program reads count as
            other constants.
    """
    used: dict[Path, tuple[WeightFile, set[int]]] = {}
    for _, _, constant in program.constants():
        if constant.place is not None:
            file = program.weights.open(constant.place[0], constant.owner)
            used.setdefault(file.path.resolve(), (file, set()))[1].add(constant.place[1])
    of_weights = {(program.weights.open(name, "a weight").path.resolve(), offset) for name, offset in weights}
    totals = dict.fromkeys((WEIGHTS, CONSTANTS, LAYOUT, UNUSED, UNKNOWN), 0)
    problems: list[str] = []
    for path, (file, offsets) in used.items():
        heavy = {offset for where, offset in of_weights if where == path}
        blobs = {}
        for offset in sorted(offsets):
            try:
                blobs[offset] = file.blob(offset)
            except PackageError as error:
                problems += [] if offset in heavy else [error.message]  # weights report their damage themselves
        problems += _add_file(totals, file, blobs, heavy)
    files = _other_files(program, set(used))
    return Storage({key: size for key, size in totals.items() if size}, files, tuple(problems))


def _add_file(totals: dict[str, int], file: WeightFile, blobs: dict[int, Blob], weights: set[int]) -> list[str]:
    """Add the bytes of one weight file to the totals by purpose, and return what is wrong with its layout."""
    problems = []
    found = dict(blobs)
    try:
        found |= {blob.metadata_offset: blob for blob in file.blobs()}
    except PackageError as error:
        problems.append(f"its list of blobs ends early: {error.message}")
    end, size = HEADER_BYTES, len(file.data)
    totals[LAYOUT] += HEADER_BYTES
    for start, stop, purpose, owner in sorted(_regions(found, blobs, weights)):
        if start < end:
            problems.append(
                f"{file.path.name}: the {stop - start} bytes at {start} ({owner}) belong to another blob too"
            )
            start = min(end, stop)
        padding = min(start, -(-end // ALIGNMENT) * ALIGNMENT) - end if start > end else 0
        totals[LAYOUT] += padding
        totals[UNKNOWN] += max(start - end - padding, 0)
        totals[purpose] += stop - start
        end = max(end, stop)
    padding = min(size, -(-end // ALIGNMENT) * ALIGNMENT) - end
    totals[LAYOUT] += padding
    totals[UNKNOWN] += size - end - padding
    if totals[UNKNOWN]:
        problems.append(f"{file.path.name} has {totals[UNKNOWN]:,} bytes that belong to no blob")
    return problems


def _regions(found: dict[int, Blob], used: dict[int, Blob], weights: set[int]) -> Iterable[tuple[int, int, str, str]]:
    """(start, end, purpose, owner) of each blob's metadata and data."""
    for offset, blob in found.items():
        purpose = (WEIGHTS if offset in weights else CONSTANTS) if offset in used else UNUSED
        yield offset, offset + METADATA_BYTES, LAYOUT, f"the metadata of the blob at {offset}"
        if blob.size_bytes:
            yield blob.offset, blob.offset + blob.size_bytes, purpose, f"the data of the blob at {offset}"


def _other_files(program: Program, read: set[Path]) -> dict[str, int]:
    """Bytes of all files that are not weight files, and of weight files that nothing reads."""
    files = files_of(program.path) if program.path.is_dir() else [program.specification, *program.weights.files]
    totals: dict[str, int] = {}
    for path in files:
        if path.resolve() in read:
            continue
        purpose = OTHER
        if path.samefile(program.specification):
            purpose = SPECIFICATION
        elif path.name == "Manifest.json" and path.parent == program.path:
            purpose = MANIFEST
        totals[purpose] = totals.get(purpose, 0) + path.stat().st_size
    return totals
