"""Write a compiled program as a .mlpackage, atomically and reproducibly."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import Lowered
from ..errors import UsageError
from ..utils.files import chunks_of, write_bytes, written_whole
from .compile import CompiledProgram
from .folder import files_of, locate_specification, package_size_bytes
from .program import Metadata

_MODEL_FOLDER = "com.apple.CoreML"
_DATE_KEY = "com.github.apple.coremltools.conversion_date"
_DATE_BUILD_INFO = "date"  # coremltools writes the date into the program's buildInfo too
_ID_NAMESPACE = uuid.UUID("6f2a3d0e-3c0b-5d1c-9a53-0a6c2f6f7c11")  # for the ids derived from a package's content


@dataclass(frozen=True)
class SavedPackage:
    """A package on disk.

    Attributes:
        path: the .mlpackage folder.
        sha256: over every file's relative name and content.
        size_bytes: of all files together.
    """

    path: Path
    sha256: str
    size_bytes: int


def save_package(
    compiled: CompiledProgram, lowered: Lowered, path: Path, *, metadata: Metadata, force: bool = False
) -> SavedPackage:
    """Write the package folder. Raises UsageError if it exists and `force` is off, OutputError if it cannot be written.

    Args:
        compiled: the result of `compile_program(lowered)`.
        lowered: has the description of each feature.
        path: must end in `.mlpackage`.
    """
    if path.suffix != ".mlpackage":
        raise UsageError(f"A Core ML package's name must end in .mlpackage; found {path.name!r}.")
    spec = compiled.spec
    _describe(spec, lowered, metadata)
    _remove_date(spec)
    model = spec.SerializeToString(deterministic=True)
    with written_whole(path, force=force, folder=True) as partial:
        _write_files(partial, model, compiled.weights)
    return saved_package(path)


def saved_package(path: Path) -> SavedPackage:
    """Hash and size of a package on disk."""
    digest = hashlib.sha256()
    for file in files_of(path):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        for chunk in chunks_of(file):
            digest.update(chunk)
    return SavedPackage(path=path, sha256=digest.hexdigest(), size_bytes=package_size_bytes(path))


def write_package(folder: Path, model: bytes, weights: Path | None) -> None:
    """Fill an empty folder with a package of a specification and a copy of its folder of weight files."""
    data = folder / "Data" / _MODEL_FOLDER
    data.mkdir(parents=True)
    (data / "model.mlmodel").write_bytes(model)
    items = [("model.mlmodel", "CoreML Model Specification", hashlib.sha256(model).hexdigest())]
    files = [] if weights is None else sorted(file for file in weights.iterdir() if file.is_file())
    if files:
        (data / "weights").mkdir()
        digest = hashlib.sha256()
        for file in files:
            copied = Path(shutil.copy(file, data / "weights" / file.name))
            digest.update(copied.read_bytes())
        items.append(("weights", "CoreML Model Weights", digest.hexdigest()))
    (folder / "Manifest.json").write_text(_manifest(items))


def copy_package(source: Path, path: Path, model: bytes) -> None:
    """Copy a package, or a single .mlmodel file, with another specification; what is at `path` is replaced.

    Raises:
        UsageError: if a package's path has a suffix other than `.mlpackage`; one without a suffix gets it.
    """
    if source.is_file():
        write_bytes(path, model)
        return
    if not path.suffix:
        path = path.with_name(f"{path.name}.mlpackage")
    if path.suffix != ".mlpackage":
        raise UsageError(f"A Core ML package's name must end in .mlpackage; found {path.name!r}.")
    relative = locate_specification(source).relative_to(source)
    with written_whole(path, force=True, folder=True) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
        (partial / relative).write_bytes(model)


def _describe(spec: Any, lowered: Lowered, metadata: Metadata) -> None:
    description = spec.description
    description.metadata.author = metadata.author
    description.metadata.license = metadata.license
    description.metadata.versionString = metadata.version
    description.metadata.shortDescription = metadata.description
    for key, text in metadata.user_defined.items():
        description.metadata.userDefined[key] = text
    for features, entries in (
        (lowered.inputs, description.input),
        (lowered.outputs, description.output),
        (lowered.states, description.state),
    ):
        texts = {feature.name: feature.description for feature in features}
        for entry in entries:
            entry.shortDescription = texts.get(entry.name, "")


def _remove_date(spec: Any) -> None:
    """Remove the date, the only difference between two conversions of the same input."""
    spec.description.metadata.userDefined.pop(_DATE_KEY, None)
    if "buildInfo" in spec.mlProgram.attributes:
        entries = spec.mlProgram.attributes["buildInfo"].immediateValue.dictionary.values
        kept = [entry for entry in entries if _text(entry.key) not in (_DATE_KEY, _DATE_BUILD_INFO)]
        copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
        del entries[:]
        entries.extend(copies)


def _text(value: Any) -> str:
    values = value.immediateValue.tensor.strings.values
    return values[0] if values else ""


def _write_files(folder: Path, model: bytes, weights: bytes) -> None:
    data = folder / "Data" / _MODEL_FOLDER
    data.mkdir(parents=True)
    (data / "model.mlmodel").write_bytes(model)
    items = [("model.mlmodel", "CoreML Model Specification", hashlib.sha256(model).hexdigest())]
    if weights:
        (data / "weights").mkdir()
        (data / "weights" / "weight.bin").write_bytes(weights)
        items.append(("weights", "CoreML Model Weights", hashlib.sha256(weights).hexdigest()))
    (folder / "Manifest.json").write_text(_manifest(items))


def _manifest(items: list[tuple[str, str, str]]) -> str:
    """The package's table of contents. Its ids, random in coremltools, are derived from the content of the files.

    The layout is that of Core ML's own writer, which rewrites this file whenever coremltools opens a package, so
    opening a package does not change its hash.
    """
    ids = {name: str(uuid.uuid5(_ID_NAMESPACE, f"{name}:{sha256}")) for name, _, sha256 in items}
    entries = {
        ids[name]: {
            "author": _MODEL_FOLDER,
            "description": description,
            "name": name,
            "path": f"{_MODEL_FOLDER}/{name}",
        }
        for name, description, _ in items
    }
    content = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": ids["model.mlmodel"]}
    return json.dumps(content, indent=4, sort_keys=True) + "\n"
