"""Photographs and a MiDaS file in; depth maps out, as the depth variants read them: 16-bit gray PNG, white is near."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, ExecutionError, PortraitError, UsageError
from ..utils.files import write_bytes
from ..utils.stages import Observer, Stages

if TYPE_CHECKING:
    import numpy as np

    from ..capture.depth_estimator import DepthEstimator

# The research system divides MiDaS small's numbers by this before its depth models see them.
WHITE = 1000.0
TOO_NEAR = 0.01  # share of a photograph beyond white that is worth a word


@dataclass(frozen=True)
class DepthRequest:
    """What `estimate_depths` is asked for.

    Attributes:
        photos: files, or folders of data with images/ in them.
        checkpoint, onnx: the network; one of the two.
        out: for files: a folder, or a .png for one. None is for folders of data: their own depth/.
        white: the network's number that becomes white; None stretches each photograph's own range to black and white.
        force: make maps anew that exist.
    """

    photos: tuple[Path, ...]
    checkpoint: Path | None = None
    onnx: Path | None = None
    out: Path | None = None
    white: float | None = WHITE
    force: bool = False


@dataclass(frozen=True)
class Estimated:
    """One photograph: its map is written, was there already (`kept`), or could not be made (`error`)."""

    photo: Path
    out: Path
    notes: tuple[str, ...] = ()
    kept: bool = False
    error: PortraitError | None = None


def estimate_depths(request: DepthRequest, observer: Observer) -> Iterator[Estimated]:
    """Make one map after the other; a photograph that fails does not stop the rest, and maps that exist are kept.

    Raises:
        PortraitError: what concerns all of them: the network, the options, a folder without photographs.
    """
    places = depth_places(request)
    stages = Stages(observer)
    with stages.stage("load") as stage:
        estimate, stage.summary = open_estimator(request)
    for photo, out in places:
        if out.exists() and not request.force:
            yield Estimated(photo, out, kept=True)
            continue
        try:
            yield Estimated(photo, out, _estimate_one(photo, out, estimate, request))
        except PortraitError as error:
            yield Estimated(photo, out, error=error)


def open_estimator(request: DepthRequest) -> tuple[DepthEstimator, str]:
    """The network, and what to call it."""
    from ..capture.depth_estimator import WHERE, estimator_from_checkpoint, estimator_from_onnx

    if request.checkpoint is not None and request.onnx is not None:
        raise UsageError("--checkpoint and --onnx exclude one another.")
    if request.checkpoint is not None:
        return estimator_from_checkpoint(request.checkpoint), f"MiDaS v2.1 small, {request.checkpoint.name}"
    if request.onnx is not None:
        return estimator_from_onnx(request.onnx), request.onnx.name
    raise UsageError(
        "Which network? Neither --checkpoint nor --onnx is given, and none comes along.",
        hint=f"fetch {WHERE}, and pass it as --checkpoint.",
    )


def _estimate_one(path: Path, out: Path, estimate: DepthEstimator, request: DepthRequest) -> tuple[str, ...]:
    """Read, estimate and write one photograph; gives what is worth saying about it."""
    from PIL import Image

    from ..imaging.encode import png_bytes
    from ..imaging.photo import open_photo

    photo = open_photo(path)
    gray, notes = to_gray(estimate(photo.pixels), request.white, name=photo.name)
    write_bytes(out, png_bytes(Image.fromarray(gray)), force=request.force)
    return (*photo.notes, *notes)


def to_gray(depth: np.ndarray, white: float | None, *, name: str = "") -> tuple[np.ndarray, tuple[str, ...]]:
    """Inverse depth as 16-bit gray: 65535 · depth / white, cut to black and white.

    Args:
        depth: (H, W) float32, larger is nearer.
        white: as in DepthRequest.
        name: what to call the photograph in errors.
    Returns:
        (H, W) uint16, and a sentence where much of it is cut.
    Raises:
        ExecutionError: values that are no numbers.
    """
    import numpy as np

    if not np.isfinite(depth).all():
        raise ExecutionError(
            f"The depth of {name or 'the photograph'} holds NaN or infinite values.", code="not-finite"
        )
    low, high = (float(depth.min()), float(depth.max())) if white is None else (0.0, white)
    scaled = (depth - low) / (high - low) if high > low else np.zeros_like(depth)
    notes = []
    beyond = float((scaled > 1).mean())
    if beyond > TOO_NEAR:
        notes.append(
            f"{100 * beyond:.0f} % of it is nearer than --white {white:g} and becomes plain white;"
            f" the nearest is {depth.max():.0f}."
        )
    if not scaled.any():
        notes.append("no part of it is nearer than another: the map is black.")
    return (scaled.clip(0, 1) * 65535 + 0.5).astype(np.uint16), tuple(notes)


# ---- places -----------------------------------------------------------------------------------------------------


def depth_places(request: DepthRequest) -> list[tuple[Path, Path]]:
    """Every photograph and where its map goes.

    Raises:
        UsageError: no place for a map, or one place for two.
        DataError: a folder without photographs, or with two of one name.
    """
    places = [place for path in request.photos for place in _places_of(path, request)]
    outs = [out for _, out in places]
    twice = sorted({str(out) for out in outs if outs.count(out) > 1}) if len(set(outs)) < len(outs) else []
    if twice:
        raise UsageError("Several depth maps would be written to one place.", context=twice[:100])
    return places


def _places_of(path: Path, request: DepthRequest) -> list[tuple[Path, Path]]:
    out = request.out
    if path.is_dir():
        if out is not None and out.suffix:
            raise UsageError(f"The maps of a folder cannot all be written to the file {out}.", hint="give a folder.")
        return [(photo, (out or path / "depth") / f"{stem}.png") for stem, photo in _photographs(path).items()]
    if out is None:
        raise UsageError(f"Where shall the depth map of {path} go?", hint="give a folder: `-o depth/`.")
    if not out.suffix or out.is_dir():
        return [(path, out / f"{path.stem}.png")]
    if out.suffix.lower() != ".png":
        raise UsageError(f"A depth map is a 16-bit PNG; it cannot be written as {out.name}.")
    return [(path, out)]


def _photographs(folder: Path) -> dict[str, Path]:
    """The photographs of a folder of data, by their paths below images/ without suffix."""
    from ..calibration.dataset import pictures_by_stem

    images = folder / "images"
    if not images.is_dir():
        raise DataError(f"{folder} has no folder images/.", hint="put the photographs into FOLDER/images first.")
    photos, faults = pictures_by_stem(images, folder)
    if faults:
        raise DataError(f"{images} has photographs of the same name.", context=faults)
    if not photos:
        raise DataError(f"There is no photograph in {images}.")
    return photos
