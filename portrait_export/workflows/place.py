"""Place packages and photos into the iOS demo's folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..preprocessing import GRAY, SPEC_KEY, PortraitSpec
from ..utils.files import refuse_existing, write_json, written_whole

APP = Path("ios_demo") / "App" / "PortraitDemo"
FOLDER = "Placed"  # inside the app's sources; git ignores it
LIST = "packages.json"
FORMAT = 1


@dataclass(frozen=True)
class Placed:
    """What is in the app's folder now.

    Attributes:
        folder: where it is.
        packages: names of the packages, in the order of the picker.
        assets: names of the packages with a Core AI asset beside them.
        photos: how many photos.
        size_bytes: of all packages together.
    """

    folder: Path
    packages: tuple[str, ...]
    photos: int
    size_bytes: int
    assets: tuple[str, ...] = ()


def app_folder(asked: Path | None) -> Path:
    """The folder of the app's sources: the given one, or that of this checkout. Raises UsageError if it is none."""
    folder = asked or Path(__file__).resolve().parents[2] / APP
    if not any(folder.glob("*.swift")):
        found = f"{folder} has no Swift file" if folder.is_dir() else f"There is no folder {folder}"
        raise UsageError(
            f"{found}: it is not that of the app's sources.",
            hint=f"pass `app=` with the path of {APP} in a checkout of the repository.",
        )
    return folder


def _require_one_colour_picture(name: str, metadata: Mapping[str, str]) -> None:
    """Raise UsageError for a package that the app has no pictures for: it passes one photo in colour."""
    spec = PortraitSpec.from_json(metadata[SPEC_KEY], source=name) if SPEC_KEY in metadata else None
    if spec is not None and (spec.pictures or spec.color == GRAY):
        takes = ", ".join(f"{picture.name} ({picture.color})" for picture in spec.all_pictures)
        raise UsageError(f"{name} takes {takes}; the demo app passes one photo in colour.")


def _require_package(asset: Path, names: Sequence[str]) -> None:
    """Raise PackageError or UsageError unless a Core AI asset is whole, and its package is placed too."""
    from ..coreai.asset import read_asset

    read_asset(asset)
    if asset.stem not in names:
        raise UsageError(
            f"{asset.name} has no package of the same name, which the app runs where there is no Core AI.",
            hint=f"pass {asset.stem}.mlpackage too.",
        )


def place(given: Sequence[Path], app: Path) -> Placed:
    """Copy packages and the calibration set's portraits into the app, in place of what was placed before.

    Args:
        given: packages, and Core AI assets of the same names.
    Raises:
        PackageError, UsageError: a package cannot be read, or two have the same name, or an asset has no package.
    """
    from ..calibration.dataset import calibration_items
    from ..coreai.asset import is_asset
    from ..mil.package import saved_package
    from ..mil.program import read_program

    assets = [path for path in given if is_asset(path)]
    packages = [path for path in given if path not in assets]
    names = [package.stem for package in packages]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UsageError(
            f"Two packages are called {', '.join(twice)}.", hint="rename one of them: the app needs a name each."
        )
    for package in packages:
        _require_one_colour_picture(package.name, read_program(package).metadata.user_defined)
    for asset in assets:
        _require_package(asset, names)
    saved = [saved_package(package) for package in packages]
    photos = [item.image for item in calibration_items() if item.kind == "portrait"]
    folder = app / FOLDER
    refuse_existing(folder, force=True, folder=True)
    with written_whole(folder, force=True, folder=True) as partial:
        partial.mkdir()
        for package in packages:
            shutil.copytree(package, partial / f"{package.stem}.mlpackage")
        for asset in assets:
            shutil.copytree(asset, partial / asset.name)
        for photo in photos:
            shutil.copyfile(photo, partial / photo.name)
        rows = [{"name": each.path.stem, "sha256": each.sha256, "bytes": each.size_bytes} for each in saved]
        write_json(
            partial / LIST, {"format": FORMAT, "packages": rows, "photos": sorted(photo.name for photo in photos)}
        )
    size_bytes = sum(each.size_bytes for each in [*saved, *map(saved_package, assets)])
    return Placed(folder, tuple(names), len(photos), size_bytes, tuple(asset.stem for asset in assets))
