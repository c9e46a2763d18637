"""Packages are written atomically and reproducibly, with everything that Xcode shows."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from portrait_export.errors import UsageError
from portrait_export.mil.compile import compile_program
from portrait_export.mil.package import save_package, saved_package
from portrait_export.mil.program import Metadata, read_program

from .programs import two_convolutions

METADATA = Metadata("an author", "MIT", "1.2", "a description", {"key": "text", "another": "ü"})


def save(path: Path, **options):
    lowered = two_convolutions()
    return save_package(compile_program(lowered), lowered, path, metadata=METADATA, **options)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("package") / "a.mlpackage").path


def test_metadata_and_descriptions_are_stored(package):
    program = read_program(package)
    stored = program.metadata
    assert (stored.author, stored.license, stored.version, stored.description) == (
        "an author",
        "MIT",
        "1.2",
        "a description",
    )
    assert stored.user_defined["key"] == "text"
    assert stored.user_defined["another"] == "ü"
    assert [f.description for f in (*program.inputs, *program.outputs)] == ["a photo", "the person"]


def test_the_manifest_points_at_files_that_exist(package):
    manifest = json.loads((package / "Manifest.json").read_text())
    root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
    assert root["name"] == "model.mlmodel"
    for entry in manifest["itemInfoEntries"].values():
        assert (package / "Data" / entry["path"]).exists()


def test_coremltools_opens_it_and_does_not_change_a_byte(package):
    from portrait_export.mil import coreml

    before = saved_package(package).sha256
    model = coreml.coremltools().models.MLModel(str(package), skip_model_load=True)
    assert model.get_spec().description.metadata.author == "an author"
    assert model.short_description == "a description"
    assert saved_package(package).sha256 == before


def test_the_same_input_gives_the_same_bytes_in_another_process(package, tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.mil.test_package import save\n"
        "print(save(Path(sys.argv[1])).sha256)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.mlpackage")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert other.stdout.strip() == saved_package(package).sha256


def test_no_date_is_stored(package):
    stored = (package / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
    for day in (date.today(), date.today() - timedelta(days=1)):
        assert day.isoformat().encode() not in stored


def test_the_hash_changes_with_any_byte(package, tmp_path):
    import shutil

    copy = tmp_path / "a.mlpackage"
    shutil.copytree(package, copy)
    assert saved_package(copy).sha256 == saved_package(package).sha256
    weights = copy / "Data/com.apple.CoreML/weights/weight.bin"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert saved_package(copy).sha256 != saved_package(package).sha256


def test_an_existing_package_is_not_touched_without_force(tmp_path):
    path = tmp_path / "a.mlpackage"
    path.mkdir()
    (path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        save(path)
    assert (path / "mine").read_text() == "mine"
    assert save(path, force=True).size_bytes > 0
    assert not (path / "mine").exists()


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.mlpackage; found 'a\.zip'"):
        save(tmp_path / "a.zip")
