"""Locate the specification and the weight files of a .mlpackage folder, and nothing outside it."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..errors import PackageError
from ..utils.inside import is_inside
from ..utils.lfs import refuse_pointer
from .weights import WeightFile

MAX_SPECIFICATION_BYTES = 2**31  # protobuf's own limit
MAX_MANIFEST_BYTES = 2**20
ARCHIVES = {b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
PICTURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP", b"II*\0": "TIFF"}
LONGEST_MAGIC = max(map(len, (*ARCHIVES, *PICTURES)))
MODEL_PATH = "@model_path/"  # how a program writes "next to the specification file"


def files_of(package: Path) -> list[Path]:
    """Every file of a package, sorted by path."""
    return sorted(file for file in package.rglob("*") if file.is_file())


def package_size_bytes(package: Path) -> int:
    """The total size of all files of a package."""
    return sum(file.stat().st_size for file in files_of(package))


def specification_bytes(file: Path) -> bytes:
    """The content of a specification file. Raises PackageError if it cannot be read or is too large."""
    return _read_bytes(file, MAX_SPECIFICATION_BYTES)


def locate_specification(path: Path) -> Path:
    """Find the specification file of a package, following its manifest. Raises PackageError."""
    if path.is_file():
        _refuse_other_file(path)
        return path
    if not path.is_dir():
        raise PackageError(f"There is no package at {path}.")
    if path.suffix.lower() == ".aimodel":
        raise PackageError(
            f"{path.name} is a Core AI asset; this needs a .mlpackage.",
            code="core-ai-asset",
            hint="`parity`, `segment`, `evaluate` and `inspect` take assets too.",
        )
    if path.suffix == ".mlmodelc" or (path / "coremldata.bin").exists():
        raise PackageError(
            f"{path.name} is a compiled model.",
            code="not-an-ml-program",
            hint="open the .mlpackage that it was compiled from.",
        )
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise PackageError(f"{path.name} has no Manifest.json, so it is not a complete .mlpackage.")
    try:
        data = json.loads(_read_bytes(manifest, MAX_MANIFEST_BYTES))
        item = data["itemInfoEntries"][data["rootModelIdentifier"]]["path"]
        if not isinstance(item, str):
            raise TypeError("the model's path is not a string")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackageError(
            f"Manifest.json of {path.name} does not name the model file ({type(error).__name__}: {error})."
        ) from error
    return _inside(path, path / "Data", item, "the model that Manifest.json names", name=path.name)


def _refuse_other_file(path: Path) -> None:
    """Raise PackageError for a file that is known to be something else, and say what to do with it.

    An archive may be a package, which is a folder, and which mail programs and browsers zip.
    """
    if path.suffix.lower() == ".onnx":
        raise PackageError(
            f"{path} is an ONNX file; a Core ML package is needed here.",
            code="not-a-package",
            hint=f"make one: `portrait-export coreml` with `onnx={path}`. `inspect` shows ONNX files too.",
        )
    try:
        with path.open("rb") as file:
            start = file.read(LONGEST_MAGIC)
    except OSError:
        return  # reading the specification says why
    for magic, kind in PICTURES.items():
        if start.startswith(magic):
            raise PackageError(
                f"{path} is a {kind} picture; a Core ML package is needed here.",
                code="not-a-package",
                hint="pass a .mlpackage. `portrait-export segment` takes pictures.",
            )
    for magic, kind in ARCHIVES.items():
        if start.startswith(magic):
            raise PackageError(
                f"{path.name} is a {kind} archive; a .mlpackage is a folder.",
                code="archive",
                hint=f"unpack it first: {'unzip' if kind == 'zip' else 'tar -xf'} {path}",
            )


def _inside(root: Path, folder: Path, relative: str, what: str, *, name: str) -> Path:
    """The path of a file below `folder`. Raises PackageError unless it is inside `root` after following links.

    Args:
        what: the file, for errors.
        name: of what it belongs to, a package or an .mlmodel, for errors.
    """
    parts = PurePosixPath(relative)
    if not relative or "\x00" in relative or parts.is_absolute() or ".." in parts.parts:
        raise PackageError(f"The path of {what}, {relative!r}, is not inside the package.", code="unsafe-path")
    path = folder.joinpath(*parts.parts)
    try:
        inside = is_inside(path, root)
        exists = path.is_file()
    except OSError as error:
        raise PackageError(f"The path of {what}, {relative!r}, cannot be read: {error.strerror or error}.") from error
    if not inside:
        raise PackageError(f"The path of {what}, {relative!r}, is outside the package.", code="unsafe-path")
    if not exists:
        if name.endswith(".mlmodel"):
            raise PackageError(
                f"{name} needs {what}, {relative}, which is not beside it.",
                hint="open the .mlpackage that it is from: an .mlmodel alone does not hold the weights.",
            )
        raise PackageError(f"{name} does not contain {what}: {relative}.")
    return path


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise PackageError(f"{path.name} has {size:,} bytes; the limit is {limit:,}.")
        refuse_pointer(path, PackageError)
        return path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror or error}.") from error


class WeightFiles:
    """The weight files of one package, each opened once."""

    def __init__(self, root: Path, model_folder: Path, *, name: str = ""):
        """
        Args:
            root: no file outside this folder is read.
            model_folder: of the specification.
            name: what errors call the package; by default its folder's name.
        """
        self.root = root
        self._name = name or root.name
        self.model_folder = model_folder
        self._opened: dict[str, WeightFile] = {}

    def open(self, name: str, owner: str) -> WeightFile:
        """Open the file that a program names, such as `@model_path/weights/weight.bin`."""
        if name not in self._opened:
            relative = name.removeprefix(MODEL_PATH)
            path = _inside(self.root, self.model_folder, relative, f"the weight file of {owner}", name=self._name)
            self._opened[name] = WeightFile(path)
        return self._opened[name]

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Every file in the package's weight folder."""
        folder = self.model_folder / "weights"
        return tuple(sorted(p for p in folder.iterdir() if p.is_file())) if folder.is_dir() else ()
