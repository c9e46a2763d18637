"""Write and read the folder of a Core AI asset: bytecode, its hash, and metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PackageError, UsageError
from ..mil.package import SavedPackage, saved_package
from ..mil.program import Metadata
from ..preprocessing import SPEC_KEY, PortraitSpec
from ..utils.files import written_whole
from ..utils.lfs import refuse_pointer
from .decoders import decoders_of
from .process import Process

if TYPE_CHECKING:
    import onnx

    from ..mil.encoded import EncodedWeight

SUFFIX = ".aimodel"
TARGET = "iOS27"  # the first system with Core AI
PROGRAM, HASH, METADATA = "main.mlirb", "main.hash", "metadata.json"
MAX_METADATA_BYTES = 2**20
MAX_PROGRAM_BYTES = 2**31
_BLOCK_BYTES = 2**20  # read at once
_DATE = "creationDate"  # the only difference between two conversions of the same model
_CUSTOM = "creatorDefinedMetadata"


@dataclass(frozen=True)
class Asset:
    """A Core AI asset on disk, without its program.

    Attributes:
        path: the .aimodel folder.
        metadata: author, licence, description and entries of the creator.
        producer: what wrote it.
    """

    path: Path
    metadata: Metadata
    producer: str

    @property
    def spec(self) -> PortraitSpec | None:
        """The preprocessing that it states; None for an asset of another tool."""
        text = self.metadata.user_defined.get(SPEC_KEY)
        return PortraitSpec.from_json(text, source=self.path.name) if text else None


def is_asset(path: Path) -> bool:
    """Whether a path is named as a Core AI asset."""
    return path.suffix.lower() == SUFFIX


def save_asset(
    model: onnx.ModelProto,
    path: Path,
    *,
    metadata: Metadata,
    encoded: Mapping[str, EncodedWeight] | None = None,
    force: bool = False,
) -> SavedPackage:
    """Convert an ONNX model and write the asset. The same model and metadata give the same bytes.

    Args:
        encoded: the stored forms of weights that are inputs of the model, by the input's name.
    Raises:
        UsageError: it exists and `force` is off.
        CoreAIError: the converter refuses the model.
    """
    if path.suffix != SUFFIX:
        raise UsageError(f"A Core AI asset's name must end in {SUFFIX}; found {path.name!r}.")
    with written_whole(path, force=force, folder=True) as partial:
        source = partial.with_name("model.onnx")
        source.write_bytes(model.SerializeToString(deterministic=True))
        weights = partial.with_name("weights.json")
        decoders = {name: decoder.to_json() for name, decoder in decoders_of(encoded or {}).items()}
        weights.write_text(json.dumps(decoders))
        Process(f"Core AI's converter cannot write {path.name}", "convert", source, partial, weights).finish()
        source.unlink()
        weights.unlink()
        _write_metadata(partial / METADATA, metadata)
    return saved_package(path)


def read_asset(path: Path) -> Asset:
    """Read an asset's metadata, and check that its program is whole.

    Raises:
        PackageError: it is not a complete asset, or damaged.
    """
    if not path.is_dir():
        raise PackageError(f"There is no Core AI asset at {path}.")
    _check_program(path)
    data = _read_metadata(path)
    custom = data.get(_CUSTOM, {})
    if not isinstance(custom, dict):
        raise PackageError(f"{_CUSTOM} in {METADATA} of {path.name} is not an object.")
    texts = {key: str(data.get(key, "")) for key in ("author", "license", "description", "producer")}
    entries = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in custom.items()}
    metadata = Metadata(
        author=texts["author"], license=texts["license"], description=texts["description"], user_defined=entries
    )
    return Asset(path, metadata, texts["producer"])


def program_bytes(path: Path) -> bytes:
    """The asset's bytecode. Raises PackageError if it is missing or too large."""
    return _bounded(path / PROGRAM, MAX_PROGRAM_BYTES)


def _check_program(path: Path) -> None:
    """Raise PackageError unless the bytecode is what was written: Apple's reader ends the process on damaged ones."""
    stored = _bounded(path / HASH, hashlib.sha256().digest_size)
    with _opened(path / PROGRAM, MAX_PROGRAM_BYTES) as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
            digest.update(block)
    if digest.digest() != stored:
        raise PackageError(
            f"{path.name} is damaged: the SHA-256 of {PROGRAM} is not the one in {HASH}.",
            hint="copy or export the asset again.",
        )


def _read_metadata(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(_bounded(path / METADATA, MAX_METADATA_BYTES))
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{METADATA} of {path.name} is not JSON ({error}).") from error
    if not isinstance(data, dict):
        raise PackageError(f"{METADATA} of {path.name} is not a JSON object.")
    return data


def _write_metadata(file: Path, metadata: Metadata) -> None:
    """Complete the metadata that Core AI wrote, without the date and in sorted order."""
    data = json.loads(file.read_bytes())
    data.pop(_DATE, None)
    texts = {"author": metadata.author, "license": metadata.license, "description": metadata.description}
    data.update({key: text for key, text in texts.items() if text})
    data[_CUSTOM] = dict(metadata.user_defined)
    file.write_text(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _bounded(file: Path, limit: int) -> bytes:
    with _opened(file, limit) as stream:
        return stream.read()


def _opened(file: Path, limit: int) -> Any:
    """Open a file of an asset. Raises PackageError if it is missing, a link, or larger than `limit` bytes."""
    name = f"{file.parent.name}/{file.name}"
    try:
        if file.is_symlink() or not file.is_file():
            raise PackageError(f"{name} is missing, so {file.parent.name} is not a complete Core AI asset.")
        size = file.stat().st_size
        if size > limit:
            raise PackageError(f"{name} has {size:,} bytes; the limit is {limit:,}.")
        refuse_pointer(file, PackageError)
        return file.open("rb")
    except OSError as error:
        raise PackageError(f"{name} cannot be read: {error.strerror or error}.") from error
