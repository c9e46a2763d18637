"""Write files atomically.

Each is built under a hidden name in its folder, then renamed into place.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import PortraitError, UsageError

_STREAM_FOLDERS = ("/dev", "/dev/fd", "/proc/self/fd")
_LONGEST_STEM = 32  # characters of the name that the hidden name keeps, so that it stays short enough
_LOCK = ".portrait-export.lock"
_CHUNK_BYTES = 1 << 20
TEMPORARY_HINT = (
    "this is the temporary folder: free some space in it, or set the environment variable TMPDIR to another one."
)
_PARTIAL = ".partial-"  # part of the hidden name; the id of the writing process follows


class OutputError(PortraitError):
    """An output that cannot be written: a read-only folder, a full disk, a file where a folder should be."""

    code = "cannot-write"


@contextlib.contextmanager
def written_whole(path: Path, *, force: bool, folder: bool = False) -> Iterator[Path]:
    """Yield a hidden path in the folder of `path`; rename it to `path` if the block succeeds, else remove it.

    Args:
        path: the file or folder to make. A device or stream (`/dev/stdout`) is written to, not replaced.
        force: replace an existing file or folder. Otherwise one at `path` is an error before the block runs.
        folder: the block makes a folder. A folder never replaces a file, nor a file a folder.
    """
    refuse_existing(path, force=force, folder=folder)
    try:
        if not _is_stream(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.stem[:_LONGEST_STEM]}{_PARTIAL}{os.getpid()}-"
        workshop = Path(tempfile.mkdtemp(prefix=prefix, dir=None if _is_stream(path) else path.parent))
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        partial = workshop / path.name
        yield partial
        if _is_stream(path):
            with partial.open("rb") as whole, path.open("ab") as stream:
                shutil.copyfileobj(whole, stream)
        else:
            _flush_to_disk(partial)
            _put_in_place(partial, path, workshop)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def refuse_existing(path: Path, *, force: bool, folder: bool = False, hint: str = "") -> None:
    """Raise UsageError if `path` exists and may not be replaced by the new file or folder.

    Args:
        hint: what to do about an existing one; by default `force=True`.
    """
    if _is_stream(path) or not path.exists():
        return
    if path.is_dir() != folder:
        found, made = ("folder", "file") if path.is_dir() else ("file", "folder")
        other = f"name a file in it: {path / 'NAME'}." if found == "folder" else "choose another name."
        raise UsageError(f"{path} is a {found}, not a {made}.", code="already-exists", hint=other)
    if not force:
        hint = hint or "pass `force=True` to replace it."
        raise UsageError(f"{path} already exists.", code="already-exists", hint=hint)


def refuse_replacing(outputs: Iterable[Path], read: Iterable[Path]) -> None:
    """Raise UsageError if a file would be written in the place of one that is read, whatever `force` says."""
    taken = {_identity(path) for path in read if path.is_file()}
    for path in outputs:
        if path.is_file() and not _is_stream(path) and _identity(path) in taken:
            raise UsageError(
                f"{path} is read here, and the result would replace it.", hint="choose another place for the result."
            )


def refuse_shared(outputs: Mapping[str, Path | None]) -> None:
    """Raise UsageError if two results would be written to one file.

    Args:
        outputs: the argument that names a file → the file; None: it is not given.
    """
    first: dict[str, str] = {}
    for argument, path in outputs.items():
        if path is None or _is_stream(path):
            continue
        other = first.setdefault(os.path.realpath(path), argument)
        if other != argument:
            raise UsageError(f"`{other}=` and `{argument}=` name the same file, {path}.", hint="name two files.")


def _identity(path: Path) -> tuple[int, int]:
    """What tells a file from others, whatever its path."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_stream(path: Path) -> bool:
    """Whether a path is written to instead of replaced: a terminal, a pipe, /dev/null."""
    if path.parent.as_posix() in _STREAM_FOLDERS:  # /dev/stdout may be a plain file that the shell has open
        return path.exists()
    return path.exists() and not path.is_file() and not path.is_dir()


def _put_in_place(partial: Path, path: Path, workshop: Path) -> None:
    """Rename into place. A folder cannot be overwritten, so an old one is moved away first and restored on failure."""
    if not path.is_dir() or path.is_symlink():
        partial.replace(path)
        return
    aside = workshop / f"{path.name}.old"
    path.rename(aside)
    try:
        partial.rename(path)
    except OSError:
        aside.rename(path)
        raise


def _flush_to_disk(path: Path) -> None:
    """fsync every file, so that a crash cannot leave a renamed file without its content."""
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def cannot_write(path: Path, error: OSError, *, hint: str = "") -> OutputError:
    """Return the error for an output that the operating system refuses."""
    return OutputError(
        f"Cannot write {path}: {error.strerror or error}.",
        hint=hint or "choose another place for it, or free space and check the permissions there.",
    )


@contextlib.contextmanager
def temporary_files() -> Iterator[None]:
    """Raise OutputError if the block cannot write to the temporary folder."""
    try:
        yield
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error, hint=TEMPORARY_HINT) from error


@contextlib.contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Create an output folder and lock it while the block runs, so that two runs do not mix their files.

    A folder created here is removed if it stays empty. A killed run leaves no lock: the system releases it.

    Raises:
        UsageError: another run has locked it.
        OutputError: it cannot be written to.
    """
    new = not folder.exists()
    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        _lock(handle, folder)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if new:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"Another run is writing into {folder}.",
            code="busy",
            hint="wait for it to end, or choose another folder with `out=`.",
        ) from error
    except OSError:  # a file system without locks; each file is still written atomically
        return


def remove_stale_partials(folder: Path) -> None:
    """Remove the unfinished files of killed runs from a folder; those of running processes stay."""
    for leftover in folder.glob(f".*{_PARTIAL}*"):
        pid = leftover.name.partition(_PARTIAL)[2].partition("-")[0]
        if not (pid.isdigit() and _is_running(int(pid))):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it runs under another user
    return True


def chunks_of(path: Path) -> Iterator[bytes]:
    """The content of a file, never all of it in memory at once."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def write_bytes(path: Path, data: bytes, *, force: bool = True) -> None:
    """Write a file atomically."""
    with written_whole(path, force=force) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str, *, force: bool = True) -> None:
    """Write a UTF-8 file atomically. Bytes of file names that are not UTF-8 are written as `\\udcff`."""
    write_bytes(path, text.encode(errors="backslashreplace"), force=force)


def write_json(path: Path, value: Any, *, force: bool = True) -> None:
    """Write indented JSON atomically, keys in the given order, with a final newline. Raises ValueError for NaN."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", force=force)
