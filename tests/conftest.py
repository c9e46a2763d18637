"""Shared fixtures: run the command line in this process, two small photos, one small export."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

SIDE = 64  # pixels per side of the networks that tests export: the same graphs as at 512, in seconds


@dataclass(frozen=True)
class Ran:
    """The result of a command line: its exit code and output."""

    code: int
    out: str
    err: str


def pytest_collection_finish() -> None:
    """Take what is imported and collected by now out of garbage collection.

    coremltools collects garbage at each conversion. That looks at every object, most of them torch's and pytest's: half
    a second to a second, for a conversion of some hundredths.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `portrait-export` in this process: `cli("models", "--json")`."""
    from portrait_export.cli import run

    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two small pictures: a bright ellipse on a ramp, and noise."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    rows, columns = np.mgrid[0:96, 0:80]
    ellipse = ((rows - 60) / 40) ** 2 + ((columns - 40) / 22) ** 2 < 1
    ramp = np.stack([rows * 2, columns * 2, 255 - rows * 2], axis=-1)
    portrait = np.where(ellipse[..., None], np.array([224, 172, 140]), ramp).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(portrait).save(folder / "portrait.png")
    Image.fromarray(noise).save(folder / "noise.png")
    return folder


@pytest.fixture(scope="session")
def small_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of segformer_b0 at 64x64, random weights, int8, without parity. Do not write into it."""
    from portrait_export.cli.render import Silence
    from portrait_export.inputs.sources import ModelSource
    from portrait_export.workflows.export import export_coreml
    from portrait_export.workflows.requests import CoreMLRequest

    folder = tmp_path_factory.mktemp("export") / "out"
    source = ModelSource(model="segformer_b0", random_weights=True, size=(SIDE, SIDE))
    export_coreml(CoreMLRequest(source=source, recipe="int8", out=folder, parity=None), Silence())
    return folder


@pytest.fixture
def package(small_export: Path, tmp_path: Path) -> Path:
    """A copy of the small export's package, to damage."""
    import shutil

    return Path(shutil.copytree(small_export / "segformer_b0.mlpackage", tmp_path / "copy.mlpackage"))
