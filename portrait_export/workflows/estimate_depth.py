"""Estimate depth maps of photos with MiDaS, as 16-bit gray PNGs in which white is near."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, ExecutionError, PortraitError, UsageError
from ..utils.files import refuse_replacing, write_bytes
from ..utils.stages import Observer, Stages

if TYPE_CHECKING:
    import numpy as np

    from ..capture.depth_estimator import DepthEstimator

# The research system divides the outputs of MiDaS small by this for its depth models.
WHITE = 1000.0
TOO_NEAR = 0.01  # share of clipped pixels above which a note is given


@dataclass(frozen=True)
class DepthRequest:
    """The arguments of `estimate_depths`.

    Attributes:
        photos: files, or data folders that contain images/.
        checkpoint, onnx: the network; exactly one of the two.
        out: a folder, or a .png for a single photo; None is the data folder's depth/.
        white: the network's output that becomes white; None stretches each photo's own range from black to white.
        force: replace existing maps.
        folder: `out` is a folder, whatever its name.
    """

    photos: tuple[Path, ...]
    checkpoint: Path | None = None
    onnx: Path | None = None
    out: Path | None = None
    white: float | None = WHITE
    force: bool = False
    folder: bool = False


@dataclass(frozen=True)
class DepthResult:
    """The result for one photo: its map was written, already existed (`kept`), or failed (`error`)."""

    photo: Path
    out: Path
    notes: tuple[str, ...] = ()
    kept: bool = False
    error: PortraitError | None = None


def estimate_depths(request: DepthRequest, observer: Observer) -> Iterator[DepthResult]:
    """Make the depth maps one by one; a photo that fails does not stop the others, and existing maps are kept.

    Raises:
        PortraitError: a problem with all of them: the network, the arguments, a folder without photos.
    """
    pairs = output_paths(request)
    refuse_replacing([out for _, out in pairs], [photo for photo, _ in pairs])
    stages = Stages(observer)
    with stages.stage("load") as stage:
        estimate, stage.summary = open_estimator(request)
    for photo, out in pairs:
        if out.exists() and not request.force:
            yield DepthResult(photo, out, kept=True)
            continue
        try:
            yield DepthResult(photo, out, _estimate_one(photo, out, estimate, request))
        except PortraitError as error:
            yield DepthResult(photo, out, error=error)


def open_estimator(request: DepthRequest) -> tuple[DepthEstimator, str]:
    """Open the network; also return its name."""
    from ..capture.depth_estimator import WHERE, estimator_from_checkpoint, estimator_from_onnx

    if request.checkpoint is not None and request.onnx is not None:
        raise UsageError("`checkpoint=` and `onnx=` cannot be used together.")
    if request.checkpoint is not None:
        return estimator_from_checkpoint(request.checkpoint), f"MiDaS v2.1 small, {request.checkpoint.name}"
    if request.onnx is not None:
        return estimator_from_onnx(request.onnx), request.onnx.name
    raise UsageError(
        "No depth network: neither `checkpoint=` nor `onnx=` is given, and none is bundled.",
        hint=f"download {WHERE}, and pass it as `checkpoint=`.",
    )


def _estimate_one(path: Path, out: Path, estimate: DepthEstimator, request: DepthRequest) -> tuple[str, ...]:
    """Read a photo, estimate its depth and write the map; return notes."""
    from PIL import Image

    from ..imaging.encode import png_bytes
    from ..imaging.photo import open_photo

    photo = open_photo(path)
    gray, notes = to_gray(estimate(photo.pixels), request.white, name=photo.name)
    write_bytes(out, png_bytes(Image.fromarray(gray)), force=request.force)
    return (*photo.notes, *notes)


def to_gray(depth: np.ndarray, white: float | None, *, name: str = "") -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert inverse depth to 16-bit gray: 65535 · depth / white, clipped to 0..65535.

    Args:
        depth: (H, W) float32, larger is nearer.
        white: as in DepthRequest.
        name: the photo's name in errors.
    Returns:
        (H, W) uint16, and a note if much of it is clipped or all of it is black.
    Raises:
        ExecutionError: NaN or infinite values.
    """
    import numpy as np

    if not np.isfinite(depth).all():
        raise ExecutionError(f"The depth of {name or 'the photo'} holds NaN or infinite values.", code="not-finite")
    low, high = (float(depth.min()), float(depth.max())) if white is None else (0.0, white)
    scaled = (depth - low) / (high - low) if high > low else np.zeros_like(depth)
    notes = []
    beyond = float((scaled > 1).mean())
    if beyond > TOO_NEAR:
        notes.append(
            f"{100 * beyond:.0f} % of it is nearer than `white={white:g}` and becomes plain white;"
            f" the nearest value is {depth.max():.0f}."
        )
    if not scaled.any():
        notes.append("all of it has the same depth: the map is black.")
    return (scaled.clip(0, 1) * 65535 + 0.5).astype(np.uint16), tuple(notes)


# ---- output paths -----------------------------------------------------------------------------------------------


def output_paths(request: DepthRequest) -> list[tuple[Path, Path]]:
    """Pair every photo with the path of its map.

    Raises:
        UsageError: no path for a map, or one path for two.
        DataError: a folder without photos, or with two of the same name.
    """
    pairs = [pair for path in request.photos for pair in _paths_of(path, request)]
    outs = [out for _, out in pairs]
    twice = sorted({str(out) for out in outs if outs.count(out) > 1}) if len(set(outs)) < len(outs) else []
    if twice:
        raise UsageError("Several depth maps would be written to the same file.", context=twice[:100])
    return pairs


def _paths_of(path: Path, request: DepthRequest) -> list[tuple[Path, Path]]:
    out = request.out
    if path.is_dir():
        if out is not None and out.suffix.lower() == ".png" and not _is_folder(request):
            raise UsageError(f"The maps of a folder cannot all be written to the file {out}.", hint="pass a folder.")
        return [(photo, (out or path / "depth") / f"{stem}.png") for stem, photo in _photographs(path).items()]
    if out is None:
        raise UsageError(f"No output path for the depth map of {path}.", hint='pass a folder: `out="depth/"`.')
    if _is_folder(request):
        return [(path, out / f"{path.stem}.png")]
    if out.suffix.lower() != ".png":
        raise UsageError(
            f"A depth map is a 16-bit PNG; it cannot be written as {out.name}.",
            hint=f'write it as .png. A folder ends with a slash: `out="{out}/"`.',
        )
    return [(path, out)]


def _is_folder(request: DepthRequest) -> bool:
    """Whether `out` is a folder: it says so, or is one already, or has no file's name."""
    out = request.out
    assert out is not None
    several = len(request.photos) > 1 and out.suffix.lower() != ".png"
    return request.folder or several or not out.suffix or out.is_dir()


def _photographs(folder: Path) -> dict[str, Path]:
    """Map each photo's path below images/, without its suffix, to the photo."""
    from ..calibration.dataset import pictures_by_stem

    images = folder / "images"
    if not images.is_dir():
        raise DataError(f"{folder} has no folder images/.", hint="put the photos into FOLDER/images first.")
    photos, faults = pictures_by_stem(images, folder)
    if faults:
        raise DataError(f"{images} has photos of the same name.", context=faults)
    if not photos:
        raise DataError(f"There is no photo in {images}.")
    return photos
