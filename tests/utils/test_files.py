"""Test that files are written atomically."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portrait_export.errors import UsageError
from portrait_export.utils.files import (
    OutputError,
    held_alone,
    refuse_replacing,
    refuse_shared,
    remove_stale_partials,
    write_bytes,
    write_json,
    written_whole,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_content(tmp_path):
    write_bytes(tmp_path / "deep" / "a.bin", b"content")
    assert (tmp_path / "deep" / "a.bin").read_bytes() == b"content"
    assert names(tmp_path / "deep") == ["a.bin"]


def test_a_failed_block_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "a.bin", force=False) as partial:
        partial.write_bytes(b"half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_a_failed_block_keeps_the_old_content(tmp_path):
    target = tmp_path / "package"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), written_whole(target, force=True, folder=True) as partial:
        partial.mkdir()
        raise ZeroDivisionError
    assert (target / "old").read_text() == "old"
    assert names(tmp_path) == ["package"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "package"
    target.mkdir()
    (target / "old").write_text("old")
    with written_whole(target, force=True, folder=True) as partial:
        partial.mkdir()
        (partial / "new").write_text("new")
    assert names(target) == ["new"]
    assert names(tmp_path) == ["package"]


@pytest.mark.parametrize("folder", [True, False], ids=["folder_over_file", "file_over_folder"])
def test_a_folder_and_a_file_never_replace_each_other(tmp_path, folder):
    target = tmp_path / "mine"
    content = target if folder else target / "work"
    content.parent.mkdir(exist_ok=True)
    content.write_text("years of it")
    found = "is a file, not a folder" if folder else "is a folder, not a file"
    with pytest.raises(UsageError, match=found), written_whole(target, force=True, folder=folder):
        pytest.fail("the block ran")
    assert content.read_text() == "years of it"
    assert names(tmp_path) == ["mine"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as other:
        read = other.submit(pipe.read_bytes)
        write_bytes(pipe, b"content", force=False)
        assert read.result() == b"content"
    assert pipe.is_fifo()


def test_standard_output_can_be_named_as_a_file():
    program = (
        "from pathlib import Path; from portrait_export.utils.files import *;"
        " write_bytes(Path('/dev/fd/1'), b'content')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"content"


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    name = "n" * 251 + ".bin"
    write_bytes(tmp_path / name, b"content")
    assert names(tmp_path) == [name]


def test_a_name_that_is_not_utf8_is_escaped_as_json_reads_it(tmp_path):
    write_json(tmp_path / "a.json", {"name": "old\udcff"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": "old\udcff"}


def test_a_folder_is_locked_by_one_run_at_a_time(tmp_path):
    out = tmp_path / "out"
    with held_alone(out):
        with pytest.raises(UsageError, match="Another run is writing into"), held_alone(out):
            pytest.fail("the block ran")
        (out / "kept").touch()
    with held_alone(out):
        assert (out / "kept").exists()
    assert names(out) == ["kept"]


def test_an_existing_file_is_refused_before_the_block_runs(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(UsageError, match=r"already exists"), written_whole(tmp_path / "a.bin", force=False):
        pytest.fail("the block ran")
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_a_parent_that_is_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"Cannot write .*a\.bin"):
        write_bytes(tmp_path / "file" / "a.bin", b"")


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert names(tmp_path) == []


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path):
    """A limit on file sizes simulates a full disk: the write fails halfway."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from portrait_export.utils.files import OutputError, write_bytes\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n"
        "    write_bytes(Path(sys.argv[1]) / 'a.bin', b'x' * 1_000_000)\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "Cannot write" in done.stdout
    assert "File too large" in done.stdout
    assert names(tmp_path) == []


def test_the_hidden_files_of_a_killed_run_are_removed(tmp_path):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from portrait_export.utils.files import written_whole\n"
        "with written_whole(Path(sys.argv[1]) / 'a.mlpackage', force=False, folder=True) as partial:\n"
        "    partial.mkdir(); (partial / 'half').write_text('half')\n"
        "    print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "a.mlpackage").exists()
    assert all(name.startswith(".") for name in names(tmp_path))
    remove_stale_partials(tmp_path)
    assert names(tmp_path) == []


def test_the_files_of_a_running_process_are_kept(tmp_path):
    with written_whole(tmp_path / "a.bin", force=False) as partial:
        remove_stale_partials(tmp_path)
        partial.write_bytes(b"content")
    assert (tmp_path / "a.bin").read_bytes() == b"content"


def test_a_result_never_replaces_what_is_read(tmp_path):
    photo, other = tmp_path / "photo.png", tmp_path / "other.png"
    photo.touch()
    refuse_replacing([other, tmp_path / "new.png"], [photo, tmp_path])
    other.symlink_to(photo)
    for path in (photo, tmp_path / "." / "photo.png", other):
        with pytest.raises(UsageError, match="is read here, and the result would replace it"):
            refuse_replacing([path], [photo])


def test_two_results_in_one_file_are_refused(tmp_path):
    file = tmp_path / "x.xml"
    refuse_shared({"out": file, "junit_file": None, "sheet": tmp_path / "y.xml"})
    refuse_shared({"out": Path("/dev/null"), "sheet": Path("/dev/null")})
    with pytest.raises(UsageError, match="`out=` and `sheet=` name the same file"):
        refuse_shared({"out": file, "sheet": tmp_path / "." / "x.xml"})
