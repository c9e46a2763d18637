"""Test the command line under odd conditions: streams, encodings, names, permissions, Ctrl-C, concurrent runs."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = ("-m", "segformer_b0", "--random-weights", "--size", "64x64")
FULL = Path("/dev/full")


def portrait_export(*arguments: object, **how: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "portrait_export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, **how)  # type: ignore[call-overload]


# ---- streams and encodings ------------------------------------------------------------------------------------------

STREAMS = {
    "stdin_closed": ("<&-", 0),
    "stdout_closed": (">&-", 0),
    "stderr_closed": ("2>&-", 0),
    "all_closed": ("<&- >&- 2>&-", 0),
    "reader_gone": ("| head -c 1 >&2", 0),
}


@pytest.mark.parametrize(("how", "code"), STREAMS.values(), ids=STREAMS)
def test_a_closed_stream_is_not_a_failure(how, code):
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m portrait_export models {how}'], capture_output=True, check=False
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"error" not in done.stderr


WITHOUT_A_READER = {
    "help": (["--help"], 0),
    "help_of_a_command": (["models", "--help"], 0),
    "version": (["--version"], 0),
    "text": (["inspect", "PACKAGE"], 0),
    "json": (["inspect", "PACKAGE", "--json"], 0),
    "passed": (["audit", "PACKAGE"], 0),
    "failed": (["audit", "PACKAGE", "--stored-as", "int4"], 1),
    "failed_json": (["audit", "PACKAGE", "--stored-as", "int4", "--json"], 1),
    "bad_input": (["audit", "nothing.mlpackage"], 2),
    "served": (["serve", "PACKAGE"], 0),
}


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(("arguments", "code"), WITHOUT_A_READER.values(), ids=WITHOUT_A_READER)
def test_without_a_reader_the_exit_code_is_still_the_verdict(package, arguments, code, unbuffered):
    """Click exits with 1 then, which would say that a gate failed."""
    words = [sys.executable, "-m", "portrait_export", *(str(package) if a == "PACKAGE" else a for a in arguments)]
    script = f"{{ {shlex.join(words)} </dev/null; echo exit code $? >&2; }} | true"
    surroundings = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=surroundings, check=False)
    assert done.stderr.splitlines()[-1] == f"exit code {code}"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_broken_pipe_to_another_program_is_no_reader_that_left(cli, monkeypatch):
    from portrait_export.workflows import audit

    def broken(*arguments: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(audit, "audit_package", broken)
    ran = cli("audit", "a.mlpackage")
    assert ran.code == 3
    assert ran.err.splitlines()[0] == "error: internal"


@pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_full_stdout_is_reported_and_a_full_stderr_is_ignored(package, photos, tmp_path, unbuffered):
    surroundings = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "portrait_export"]
    segment = ["segment", str(photos / "noise.png"), "-p", str(package), "-o", str(tmp_path / "o.png")]
    with FULL.open("wb") as full:
        done = subprocess.run(
            [*command, "models"], stdout=full, stderr=subprocess.PIPE, text=True, env=surroundings, check=False
        )
        assert done.returncode == 2
        assert done.stderr.splitlines()[0] == "error: refused-by-system"
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        quiet = subprocess.run([*command, *segment], stdout=subprocess.PIPE, stderr=full, env=surroundings, check=False)
        assert quiet.returncode == 0
    assert (tmp_path / "o.png").exists()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_lacks_our_signs_shows_the_rest(package, encoding):
    surroundings = {**os.environ, "PYTHONIOENCODING": encoding}
    result = portrait_export("inspect", package, env=surroundings)
    assert result.returncode == 0, result.stderr
    assert b"tensor" in result.stdout or b"image" in result.stdout
    facts = portrait_export("inspect", package, "--json", env=surroundings)
    assert json.loads(facts.stdout.decode("utf-8" if encoding == "ascii" else encoding)) == json.loads(
        portrait_export("inspect", package, "--json", env={**os.environ, "PYTHONIOENCODING": "utf-8"}).stdout
    )


@pytest.mark.parametrize("columns", [30, 40, 200])
def test_a_progress_bar_is_as_wide_as_the_terminal_allows(capsys, monkeypatch, columns):
    """A line that is broken in two cannot be overwritten: it would be printed again for each photograph."""
    from click import unstyle

    from portrait_export.cli import render

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(render, "_PROGRESS_AFTER_S", -1.0)
    lines = render.StageLines()
    lines._live = True
    lines.stage_started("parity")
    for done in range(1, 33):
        lines.stage_progress(done, 32)
    drawn = [line.removeprefix("\x1b[K") for line in unstyle(capsys.readouterr().err).split("\r")]
    assert "32/32" in drawn[-1]
    assert 20 < max(map(len, drawn)) < min(columns, 50)


# ---- names ----------------------------------------------------------------------------------------------------------


def odd_bytes(folder: Path) -> Path:
    """A file's name that is no UTF-8, as old cameras and archives leave it."""
    return Path(os.fsdecode(os.fsencode(folder) + b"/old\xff.png"))


def spaces_and_letters(folder: Path) -> Path:
    return folder / "ünï cödé ✓" / "фото 1.png"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
@pytest.mark.parametrize("name", [odd_bytes, spaces_and_letters], ids=lambda name: name.__name__)
def test_photos_of_any_name_are_segmented_and_reported(cli, package, photos, tmp_path, name):
    photo = name(tmp_path / "in")
    photo.parent.mkdir(parents=True)
    shutil.copy(photos / "noise.png", photo)
    ran = cli("segment", photo, "-p", package, "-o", photo.parent / "out dir")
    assert ran.code == 0, ran.err
    assert (photo.parent / "out dir" / f"{photo.stem}-mask.png").exists()
    ran = cli(
        "parity", package, *SMALL, "--data", photo.parent, "--out", tmp_path / "p.json", "--junit", tmp_path / "x"
    )
    assert ran.code in (0, 1), ran.err
    assert json.loads((tmp_path / "p.json").read_text())["images"][0]["name"] == photo.stem


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_network_whose_name_cannot_be_written_into_a_package_is_refused(cli, small_export, tmp_path):
    file = odd_bytes(tmp_path).with_suffix(".onnx")
    shutil.copy(small_export / "segformer_b0.onnx", file)
    ran = cli("coreml", "--onnx", file, "-o", tmp_path / "out")
    assert ran.code == 2
    assert "is not UTF-8" in ran.err
    assert not (tmp_path / "out").exists()


LONG = "x" * 300
REFUSED_NAMES = {
    "long_package": (["inspect", f"{LONG}.mlpackage"], "File name too long"),
    "long_onnx": (["inspect", f"{LONG}.onnx"], "File name too long"),
    "long_out": (["coreml", *SMALL, "-o", LONG], "File name too long"),
    "long_photo": (["segment", f"{LONG}.png", *SMALL, "-o", "o.png"], "File name too long"),
    "empty_out": (["coreml", *SMALL, "-o", ""], "the path is empty"),
    "empty_data": (["parity", "a.mlpackage", *SMALL, "--data", ""], "the path is empty"),
    "dash_in": (["segment", "-", *SMALL, "-o", "o.png"], "use ./- for a file of that name"),
    "dash_out": (["onnx", *SMALL, "-o", "-"], "use ./- for a file of that name"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED_NAMES.values(), ids=REFUSED_NAMES)
def test_an_impossible_file_name_is_refused(cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "bug" not in ran.err
    assert list(tmp_path.iterdir()) == []


FOLDERS_FOR_FILES = {
    "onnx": ["onnx", *SMALL, "-o", "mine", "--force"],
    "parity": ["parity", "a.mlpackage", *SMALL, "--out", "mine"],
    "evaluate": ["evaluate", *SMALL, "--csv", "mine"],
}


@pytest.mark.parametrize("arguments", FOLDERS_FOR_FILES.values(), ids=FOLDERS_FOR_FILES)
def test_a_folder_is_never_replaced_by_a_file(cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/work").write_text("years of it")
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "mine is a folder, not a file." in ran.err
    assert (tmp_path / "mine/work").read_text() == "years of it"


# ---- folders that refuse --------------------------------------------------------------------------------------------


def mortal() -> list[str]:
    """Return a command prefix that makes permissions apply even to root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to drop its capabilities")
    powers = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"]


CLOSED_FOLDERS = {
    "inspect_package": (["inspect", "closed/a.mlpackage"], "closed/a.mlpackage cannot be used: Permission denied."),
    "inspect_onnx": (["inspect", "closed/a.onnx"], "closed/a.onnx cannot be read: Permission denied."),
    "segment_out": (["segment", "a.png", *SMALL, "-o", "closed/o.png"], "closed/o.png cannot be used"),
    "coreml_out": (["coreml", *SMALL, "-o", "read_only/out"], "Cannot write read_only/out: Permission denied."),
}


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize(("arguments", "words"), CLOSED_FOLDERS.values(), ids=CLOSED_FOLDERS)
def test_a_folder_without_permission_is_named(tmp_path, arguments, words):
    (tmp_path / "closed").mkdir(mode=0o000)
    (tmp_path / "read_only").mkdir(mode=0o555)
    command = [*mortal(), sys.executable, "-m", "portrait_export", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "compile" not in done.stderr  # before minutes of work, not after


# ---- Ctrl-C, and two runs at once -----------------------------------------------------------------------------------


def test_a_ctrl_c_that_a_library_swallows_ends_the_run_at_the_next_stage(cli, tmp_path, monkeypatch):
    from portrait_export.workflows import steps

    real: Callable[..., object] = steps.load_sizes

    def deaf(*arguments: object, **more: object) -> object:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments, **more)

    monkeypatch.setattr(steps, "load_sizes", deaf)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    ran = cli("coreml", *SMALL, "-o", tmp_path / "out")
    assert ran.code == 130
    assert "✓ load" in ran.err
    assert "capture" not in ran.err
    assert "interrupted: no file was left half-written." in ran.err
    assert not (tmp_path / "out").exists()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert cli("models", "segformer_b0").code == 0


def test_a_second_run_into_the_same_folder_is_refused_at_once(cli, tmp_path):
    from portrait_export.utils.files import held_alone

    out = tmp_path / "out"
    with held_alone(out):
        ran = cli("coreml", *SMALL, "-o", out, "--force")
        assert ran.code == 2
        assert ran.err.splitlines()[1:3] == ["error: busy", f"× Another run is writing into {out}."]
    assert not out.exists()
