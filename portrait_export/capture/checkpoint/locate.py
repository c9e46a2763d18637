"""Find the weight files of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ...errors import CheckpointError
from ..huggingface import read_json

MAX_BYTES = 4 * 2**30  # of all weight files together; the largest network of these families, B5, has 0.34 GB
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
# In a folder, the first of these that exists holds the weights.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def locate(path: Path) -> tuple[list[Path], Path, str]:
    """The weight files of a checkpoint, the folder with its config.json, and what to call it."""
    try:
        return _locate(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}.", code="unreadable") from error


def _locate(path: Path) -> tuple[list[Path], Path, str]:
    if path.is_file():
        return _bounded([path]), path.parent, path.name
    if not path.is_dir():
        raise CheckpointError(
            f"There is no checkpoint at {path}{', which is neither a file nor a folder' if path.exists() else ''}.",
            code="no-such-file",
            hint="give a folder with config.json, or a file of weights.",
        )
    label = path.resolve().name
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return _bounded(_shards(path / name) if name.endswith(".json") else [path / name]), path, label
    others = sorted(file for file in path.iterdir() if file.is_file() and file.suffix in SUFFIXES)
    if len(others) == 1:
        return _bounded(others), path, label
    names = [file.name for file in others] or [file.name for file in sorted(path.iterdir())]
    raise CheckpointError(
        f"{path} holds {'several' if others else 'no'} weight files; expected one of {', '.join(WEIGHT_FILES)}.",
        code="no-weights",
        context=[f"found: {', '.join(names[:12]) or 'nothing'}"],
        hint="give the file itself." if others else "",
    )


def _shards(index: Path) -> list[Path]:
    """The files that a sharded checkpoint's index names, all of them in the index's own folder."""
    weight_map = (read_json(index) or {}).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError(f"{index.name} has no `weight_map` of keys to files.", code="damaged-checkpoint")
    names = sorted(set(weight_map.values()))
    outside = [name for name in names if name != Path(name).name or name in ("", ".", "..")]
    missing = [name for name in names if name not in outside and not (index.parent / name).is_file()]
    if outside or missing:
        raise CheckpointError(
            f"{index.name} names {len(outside) + len(missing)} files that cannot be used.",
            code="damaged-checkpoint",
            context=[f"outside the folder: {name}" for name in outside] + [f"missing: {name}" for name in missing],
        )
    return [index.parent / name for name in names]


def _bounded(files: list[Path]) -> list[Path]:
    size = sum(file.stat().st_size for file in files)
    empty = [file.name for file in files if file.stat().st_size == 0]
    if empty:
        raise CheckpointError(f"{', '.join(empty)} is empty.", code="damaged-checkpoint")
    if size > MAX_BYTES:
        raise CheckpointError(
            f"The checkpoint has {size / 2**30:.1f} GiB; at most {MAX_BYTES / 2**30:.0f} GiB are read.",
            code="too-large",
        )
    return files
