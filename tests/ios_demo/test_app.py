"""The app's Xcode project, its resources, and what `portrait-export demo` places for it."""

from __future__ import annotations

import hashlib
import json
import os
import plistlib
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from pbxproj import XcodeProject
from PIL import Image

from portrait_export.inputs import sources
from portrait_export.mil.package import saved_package
from portrait_export.mil.program import read_program
from portrait_export.workflows import requests

from ..conftest import SIDE

ROOT = Path(__file__).parents[2]
APP = ROOT / "ios_demo" / "App"
LANGUAGES = ("de", "fr", "es", "ja", "zh-Hans")
PRODUCTS = ["PortraitKit", "PortraitImages", "PortraitCoreML"]


@pytest.fixture(scope="module")
def project() -> XcodeProject:
    return XcodeProject.load(str(APP / "PortraitDemo.xcodeproj" / "project.pbxproj"))


def test_the_project_builds_one_app_from_the_folder_of_its_name(project):
    assert project.objectVersion == "77"
    (target,) = project.objects.get_targets()
    assert (target.name, target.productType) == ("PortraitDemo", "com.apple.product-type.application")
    (group,) = (project.objects[key] for key in target.fileSystemSynchronizedGroups)
    assert group.isa == "PBXFileSystemSynchronizedRootGroup"
    assert (APP / group.path).is_dir()


def test_every_object_that_is_referred_to_is_there(project):
    text = (APP / "PortraitDemo.xcodeproj" / "project.pbxproj").read_text()
    ids = set(re.findall(r"\bA[0-9A-B][0-9]{22}\b", text))
    assert ids == set(project.objects.get_keys())


def test_the_app_uses_the_swift_package_beside_it(project):
    (reference,) = project.objects.get_objects_in_section("XCLocalSwiftPackageReference")
    assert (APP / reference.relativePath / "Package.swift").is_file()
    products = project.objects.get_objects_in_section("XCSwiftPackageProductDependency")
    assert [product.productName for product in products] == PRODUCTS
    manifest = (ROOT / "ios_demo" / "Package.swift").read_text()
    assert all(f'.library(name: "{name}"' in manifest for name in PRODUCTS)


@pytest.mark.parametrize("name", ["Debug", "Release"])
def test_the_build_settings_that_matter(project, name):
    (target,) = project.objects.get_targets()
    configurations = project.objects[target.buildConfigurationList].buildConfigurations
    (configuration,) = (project.objects[key] for key in configurations if project.objects[key].name == name)
    settings = configuration.buildSettings
    assert settings["SWIFT_VERSION"] == "6.0"
    assert settings["GENERATE_INFOPLIST_FILE"] == "YES"
    assert settings["COREML_CODEGEN_LANGUAGE"] == "None"
    assert "do not leave it" in settings["INFOPLIST_KEY_NSCameraUsageDescription"]
    xcconfig = project.objects[configuration.baseConfigurationReference]
    assert '#include? "Team.xcconfig"' in (APP / "Config" / xcconfig.path).read_text()


def test_the_views_and_the_table_have_the_same_texts():
    strings = json.loads((APP / "PortraitDemo" / "Localizable.xcstrings").read_text())["strings"]
    views = "\n".join(path.read_text() for path in (APP / "PortraitDemo").glob("*.swift"))
    shown = set()
    for start in re.finditer(r'(?:\b(?:Text|Label|Picker|Toggle|Button|PhotosPicker)\(|label: |localized:\s+)"', views):
        shown.add(text_at(views, start.end()))
    assert len(shown) > 40
    assert shown == set(strings)


def text_at(source: str, start: int) -> str:
    """The key of the Swift string literal that begins at `start`: what is interpolated is `%@`."""
    key, depth = "", 0
    for index in range(start, len(source)):
        character = source[index]
        if depth:
            depth += {"(": 1, ")": -1}.get(character, 0)
        elif source.startswith("\\(", index - 1):
            key, depth = key[:-1] + "%@", 1
        elif character == '"':
            return key
        else:
            key += character
    raise AssertionError("the literal has no end")


@pytest.mark.parametrize("name", ["Localizable", "InfoPlist"])
def test_every_text_is_in_every_language(name):
    catalogue = json.loads((APP / "PortraitDemo" / f"{name}.xcstrings").read_text())
    assert catalogue["sourceLanguage"] == "en"
    for key, row in catalogue["strings"].items():
        english = row["localizations"].get("en", {"stringUnit": {"value": key}})["stringUnit"]["value"]
        for language in LANGUAGES:
            unit = row["localizations"][language]["stringUnit"]
            assert unit["state"] == "translated", (key, language)
            assert unit["value"].strip(), (key, language)
            for kept in (r"%@", r"`[^`]+`"):  # what is filled in, and what is typed into a shell
                assert re.findall(kept, unit["value"]) == re.findall(kept, english), (key, language)


def test_the_project_knows_every_language(project):
    (root,) = project.objects.get_objects_in_section("PBXProject")
    assert set(LANGUAGES) | {"en", "Base"} == set(root.knownRegions)


def test_the_camera_text_of_the_table_is_that_of_the_project(project):
    table = json.loads((APP / "PortraitDemo" / "InfoPlist.xcstrings").read_text())["strings"]
    settings = [each.buildSettings for each in project.objects.get_objects_in_section("XCBuildConfiguration")]
    for key, row in table.items():
        texts = {str(each[f"INFOPLIST_KEY_{key}"]) for each in settings if f"INFOPLIST_KEY_{key}" in each}
        assert texts == {row["localizations"]["en"]["stringUnit"]["value"]}


def test_the_icon_and_the_privacy_manifest_can_be_read():
    icon = Image.open(APP / "PortraitDemo" / "Assets.xcassets" / "AppIcon.appiconset" / "icon.png")
    assert (icon.size, icon.mode) == ((1024, 1024), "RGB")
    privacy = plistlib.loads((APP / "PortraitDemo" / "PrivacyInfo.xcprivacy").read_bytes())
    assert privacy["NSPrivacyTracking"] is False


def test_demo_places_packages_photos_and_their_list(cli, small_export, tmp_path):
    package = small_export / "segformer_b0.mlpackage"
    (tmp_path / "App.swift").touch()
    (tmp_path / "Placed").mkdir()
    (tmp_path / "Placed" / "old").touch()
    ran = cli("demo", "--package", package, "--app", tmp_path)
    assert ran.code == 0, ran.err
    placed = tmp_path / "Placed"
    assert f"placed in {placed}: 32 photos" in ran.out
    record = json.loads((placed / "packages.json").read_text())
    expected = saved_package(package)
    assert record["packages"] == [{"name": "segformer_b0", "sha256": expected.sha256, "bytes": expected.size_bytes}]
    assert saved_package(placed / "segformer_b0.mlpackage").sha256 == expected.sha256
    assert record["photos"] == sorted(path.name for path in placed.glob("*.jpg"))
    assert not (placed / "old").exists()


def asset_of(name: str, folder: Path) -> Path:
    """A whole asset, as far as it is read without Core AI."""
    path = folder / f"{name}.aimodel"
    path.mkdir()
    (path / "main.mlirb").write_bytes(b"program")
    (path / "main.hash").write_bytes(hashlib.sha256(b"program").digest())
    (path / "metadata.json").write_text("{}")
    return path


def test_demo_places_an_asset_beside_its_package(cli, small_export, tmp_path):
    package = small_export / "segformer_b0.mlpackage"
    (tmp_path / "App.swift").touch()
    asset = asset_of("segformer_b0", tmp_path)
    ran = cli("demo", "--package", package, "--package", asset, "--app", tmp_path)
    assert ran.code == 0, ran.err
    assert "segformer_b0.mlpackage, segformer_b0.aimodel" in ran.out
    placed = tmp_path / "Placed"
    assert (placed / "segformer_b0.aimodel" / "main.mlirb").read_bytes() == b"program"
    assert len(json.loads((placed / "packages.json").read_text())["packages"]) == 1
    other = asset_of("other", tmp_path)
    ran = cli("demo", "--package", package, "--package", other, "--app", tmp_path)
    assert ran.code == 2
    assert "other.aimodel has no package of the same name" in " ".join(ran.err.split())
    (asset / "main.mlirb").write_bytes(b"damaged")
    ran = cli("demo", "--package", package, "--package", asset, "--app", tmp_path)
    assert ran.code == 2
    assert "is damaged" in ran.err


def test_demo_refuses_what_it_cannot_place(cli, small_export, tmp_path):
    package = small_export / "segformer_b0.mlpackage"
    (tmp_path / "App.swift").touch()
    (tmp_path / "photos").mkdir()
    for words, says in [
        (("--package", package, "--app", tmp_path / "none"), "There is no folder"),
        (
            ("--package", package, "--app", tmp_path / "photos"),
            "has no Swift file: it is not that of the app's sources",
        ),
        (("--package", package, "--package", package, "--app", tmp_path), "Two packages are called segformer_b0"),
        (("--package", tmp_path / "x.mlpackage", "--app", tmp_path), "There is no package at"),
    ]:
        ran = cli("demo", *words)
        assert (ran.code, says in ran.err) == (2, True), ran.err
    assert not list(tmp_path.rglob("Placed"))


@pytest.fixture
def small_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Registered models load small and with random weights; what is exported goes to the temporary folder."""
    monkeypatch.setattr(sources, "ModelSource", partial(sources.ModelSource, random_weights=True, size=(SIDE, SIDE)))
    monkeypatch.chdir(tmp_path)


def app(folder: Path) -> Path:
    """A folder of an app's sources."""
    path = folder / "app"
    path.mkdir()
    (path / "App.swift").touch()
    return path


def compared_on(photos: Path, least_iou: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let exports be gated on a folder of photographs."""
    monkeypatch.setattr(requests, "ParityRequest", partial(requests.ParityRequest, data=photos, min_iou=least_iou))


@pytest.mark.usefixtures("small_models")
def test_demo_exports_a_model_gates_on_it_and_places_it(cli, photos, tmp_path, monkeypatch):
    compared_on(photos, 0.8, monkeypatch)
    app(tmp_path)
    ran = cli("demo", "--model", "segformer_b0", "--app", tmp_path / "app")
    assert ran.code == 0, ran.err
    (row,) = json.loads((tmp_path / "app" / "Placed" / "packages.json").read_text())["packages"]
    package = saved_package(tmp_path / "app" / "Placed" / "segformer_b0.mlpackage")
    assert row == {"name": "segformer_b0", "sha256": package.sha256, "bytes": package.size_bytes}
    stored = read_program(package.path).metadata.user_defined
    assert stored["portrait_export.recipe"] == "int8"
    assert json.loads(stored["portrait_export.spec"])["height"] == SIDE
    assert "2 photographs" in ran.err


@pytest.mark.usefixtures("small_models")
def test_demo_places_nothing_if_a_gate_fails(cli, photos, tmp_path, monkeypatch):
    compared_on(photos, 1.0, monkeypatch)  # int8 weights of a random network move some pixel
    (app(tmp_path) / "Placed").mkdir()
    (tmp_path / "app" / "Placed" / "old").touch()
    ran = cli("demo", "--model", "segformer_b0", "--app", tmp_path / "app")
    assert ran.code == 1, ran.err
    assert [path.name for path in (tmp_path / "app" / "Placed").iterdir()] == ["old"]


@pytest.mark.usefixtures("small_models")
def test_demo_exports_its_default_models_without_options(cli, tmp_path):
    app(tmp_path)
    ran = cli("demo", "--no-parity", "--app", tmp_path / "app")
    assert ran.code == 0, ran.err
    record = json.loads((tmp_path / "app" / "Placed" / "packages.json").read_text())
    assert [row["name"] for row in record["packages"]] == ["serseg_b0", "segformer_b0"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is needed")
def test_make_ios_places_packages_first():
    ran = subprocess.run(["make", "-n", "ios"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (
        0
        < ran.stdout.index("bin/portrait-export demo\n")
        < ran.stdout.index("open ios_demo/App/PortraitDemo.xcodeproj")
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="make is needed")
@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_make_ios_opens_xcode_on_a_mac_only(tmp_path, system):
    """Run the recipe with an environment whose programs write down their calls."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in [("uname", f"echo {system}"), ("open", 'echo "opened $1"'), ("portrait-export", 'echo "ran $1"')]:
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    (programs / "python").touch()
    (tmp_path / ".run").touch()
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        ["make", "--silent", "ios", f"VENV={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    project = "ios_demo/App/PortraitDemo.xcodeproj"
    said = {"Darwin": f"opened {project}", "Linux": f"open {project} in Xcode on a Mac"}[system]
    assert ran.stdout.splitlines() == ["ran demo", said]
    assert (ROOT / project).is_dir()
