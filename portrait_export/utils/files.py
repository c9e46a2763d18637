"""Files that appear whole or not at all: built beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import PortraitError, UsageError

_STREAM_FOLDERS = ("/dev", "/dev/fd", "/proc/self/fd")
_LONGEST_STEM = 32  # characters of a name kept in the hidden one, which must not become too long itself
_LOCK = ".portrait-export.lock"
_PARTIAL = ".partial-"  # part of the hidden name under which a thing is built; the builder's process id follows


class OutputError(PortraitError):
    """An output that cannot be written: the folder is read-only, the disk is full, something is in the way."""

    code = "cannot-write"


@contextlib.contextmanager
def written_whole(path: Path, *, force: bool, folder: bool = False) -> Iterator[Path]:
    """Give a hidden path beside `path` to build on; rename it into place if the block succeeds, else remove it.

    Args:
        path: the file or folder to make. A device or a stream (`/dev/stdout`) is written to, not replaced.
        force: replace what is there. Without it, something at `path` is an error before the block runs.
        folder: a folder is made. One never takes the place of a file, nor a file that of a folder.
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


def refuse_existing(path: Path, *, force: bool, folder: bool = False) -> None:
    """Raise UsageError if something is at `path` that the file, or folder, to be made there may not replace."""
    if _is_stream(path) or not path.exists():
        return
    if path.is_dir() != folder:
        found, made = ("folder", "file") if path.is_dir() else ("file", "folder")
        hint = f"name a file in it: {path / 'NAME'}." if found == "folder" else "choose another name."
        raise UsageError(f"{path} is a {found}; a {made} is to be written there.", code="already-exists", hint=hint)
    if not force:
        raise UsageError(f"{path} already exists.", code="already-exists", hint="pass `--force` to replace it.")


def _is_stream(path: Path) -> bool:
    """Whether a path leads to something that is written to and not replaced: a terminal, a pipe, /dev/null."""
    if path.parent.as_posix() in _STREAM_FOLDERS:  # /dev/stdout may lead to a plain file, which the shell has open
        return path.exists()
    return path.exists() and not path.is_file() and not path.is_dir()


def _put_in_place(partial: Path, path: Path, workshop: Path) -> None:
    """Rename; a folder cannot be renamed over a full folder, so the old one steps aside first and back on failure."""
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
    """fsync every file, so that a rename never outlives the content it names."""
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def cannot_write(path: Path, error: OSError, *, hint: str = "") -> OutputError:
    """The one error for anything the operating system has against an output."""
    return OutputError(
        f"Cannot write {path}: {error.strerror or error}.",
        hint=hint or "choose another place with `-o`, or make room and writable what is named above.",
    )


@contextlib.contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Make an output folder and hold it for as long as the block runs, so that two runs do not mix their files in it.

    A folder made here goes again if it stays empty. A killed run holds nothing: the lock is the system's.

    Raises:
        UsageError: another run holds it.
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
            hint="wait until it has ended, or choose another folder with `-o`.",
        ) from error
    except OSError:  # a file system without locks; each file still appears whole
        return


def remove_stale_partials(folder: Path) -> None:
    """Remove what killed runs of ours left behind in a folder; what a running process builds is left alone."""
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
        return True  # it runs, as somebody else
    return True


def write_bytes(path: Path, data: bytes, *, force: bool = True) -> None:
    """Write a file whole or not at all."""
    with written_whole(path, force=force) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str, *, force: bool = True) -> None:
    """Write a UTF-8 file whole or not at all. Of a file's name that is no UTF-8, odd bytes are written as `\\udcff`."""
    write_bytes(path, text.encode(errors="backslashreplace"), force=force)


def write_json(path: Path, value: Any, *, force: bool = True) -> None:
    """Write indented JSON, keys in the given order, with a newline at the end. NaN is refused: it is no JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", force=force)
