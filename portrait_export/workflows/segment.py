"""Photographs in, pictures at the photographs' own resolution out, through a model or a saved package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PortraitError, UsageError
from ..inputs.runners import open_runner
from ..inputs.sizes import closest, labels
from ..inputs.sources import ModelSource
from ..preprocessing import PortraitSpec
from ..utils.files import refuse_existing
from ..utils.stages import Observer, Stages

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Runner
    from ..imaging.photo import Photo
    from ..inputs.sizes import Size

SUFFIXES = {"mask": ".png", "cutout": ".png", "replace": ".jpg", "blur": ".jpg"}  # of files written into a folder


@dataclass(frozen=True)
class Look:
    """What to make of a photo and its mask.

    Attributes:
        kind: `mask`, `cutout`, `replace` or `blur`.
        background: for `replace`: a colour or the path of a picture; None is white.
        sigma: for `blur`, in pixels; None is a share of the photo's diagonal.
    """

    kind: str = "mask"
    background: str | None = None
    sigma: float | None = None


@dataclass(frozen=True)
class SegmentRequest:
    """What `segment_photos` is asked for.

    Attributes:
        out: a file for one photo, or a folder.
        depth: for depth models: the map of the one photo, or a folder with maps of the photos' names.
    """

    photos: tuple[Path, ...]
    out: Path
    source: ModelSource
    package: Path | None = None
    look: Look = Look()
    depth: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class Segmented:
    """One photo that is done, or that could not be."""

    photo: Path
    out: Path
    notes: tuple[str, ...] = ()
    error: PortraitError | None = None


def segment_photos(request: SegmentRequest, observer: Observer) -> Iterator[Segmented]:
    """Do one photo after the other; one that fails does not stop the rest.

    Raises:
        PortraitError: what concerns all of them: the model, the options, an output that exists.
    """
    outs = output_paths(request)
    for path in outs:
        refuse_existing(path, force=request.force)
    paint = Painter(request.look)
    stages = Stages(observer)
    with stages.stage("load") as stage:
        runner, spec, sizes = _open(request)
        depths = depth_maps(request, spec)
        stage.summary = f"{runner.name}, {labels(sizes, last=' or ')}"
    for photo, out, depth in zip(request.photos, outs, depths, strict=True):
        try:
            notes = segment_one(photo, out, runner, spec, sizes, paint, depth=depth, force=request.force)
            yield Segmented(photo, out, notes)
        except PortraitError as error:
            yield Segmented(photo, out, error=error)


def segment_one(
    path: Path,
    out: Path,
    runner: Runner,
    spec: PortraitSpec,
    sizes: Sequence[Size],
    paint: Painter,
    *,
    depth: Path | None,
    force: bool,
) -> tuple[str, ...]:
    """Read, segment and write one photo, at the size that suits it; gives what was left aside while reading it."""
    from ..imaging.compose import write_picture
    from ..imaging.photo import open_depth, open_photo
    from ..imaging.placement import mask_back, to_frame

    photo = open_photo(path)
    values = None if depth is None else open_depth(depth)
    frame, placement = to_frame(photo, spec.with_size(*closest(sizes, photo.size)), values)
    probability = mask_back(runner.run([frame])[0].probability, placement)
    write_picture(out, paint(photo, probability), force=force)
    return photo.notes


def depth_maps(request: SegmentRequest, spec: PortraitSpec) -> list[Path | None]:
    """Each photo's depth map; None for a model that reads none.

    Raises:
        UsageError: a model that reads depth without maps, or the other way round, or one map for several photos.
    """
    given = request.depth
    if "depth" not in spec.inputs:
        if given is not None:
            raise UsageError("--depth is for depth models; this one reads the photo alone.")
        return [None] * len(request.photos)
    if given is None:
        raise UsageError(
            "The model reads a depth map beside the photo, and --depth is not given.",
            code="no-depth",
            hint="`portrait-export depth` makes one; a 16-bit gray PNG from elsewhere will do, white is near.",
        )
    if given.is_dir():
        return [given / f"{photo.stem}.png" for photo in request.photos]
    if len(request.photos) > 1:
        raise UsageError(
            f"{given} cannot be the depth map of {len(request.photos)} photos.",
            hint="give a folder with a map of each photo's name: `--depth depth/`.",
        )
    return [given]


def _open(request: SegmentRequest) -> tuple[Runner, PortraitSpec, tuple[Size, ...]]:
    """The package or model to segment with, how it wants its photographs, and the sizes that it takes."""
    source = request.source
    if request.package is not None and (source.model or source.checkpoint or source.random_weights):
        raise UsageError("--package excludes --model, --checkpoint and --random-weights.")
    opened = open_runner(source, request.package)
    return opened.runner, opened.spec, opened.sizes


def output_paths(request: SegmentRequest) -> list[Path]:
    """Where each photo's picture goes. Raises UsageError if two would go to one place."""
    out = request.out
    if out.suffix and not out.is_dir():
        if len(request.photos) > 1:
            raise UsageError(
                f"{len(request.photos)} photos cannot all be written to the file {out}.",
                hint="give a folder: `-o masks/`.",
            )
        return [out]
    paths = [out / f"{photo.stem}-{request.look.kind}{SUFFIXES[request.look.kind]}" for photo in request.photos]
    twice = sorted({path.name for path in paths if paths.count(path) > 1})
    if twice:
        raise UsageError(f"Several photos would be written to {', '.join(twice)}.", hint="segment them one by one.")
    return paths


class Painter:
    """Makes the picture of one look. Its background is read once.

    Args:
        look: what to make. Raises UsageError if its options do not go together.
    """

    def __init__(self, look: Look):
        if look.background is not None and look.kind != "replace":
            raise UsageError("--background goes with `--as replace`.")
        if look.sigma is not None and look.kind != "blur":
            raise UsageError("--blur goes with `--as blur`.")
        self._look = look
        self._background = _background(look.background) if look.kind == "replace" else None

    def __call__(self, photo: Photo, probability: np.ndarray) -> np.ndarray:
        """The picture, uint8: (H, W), (H, W, 3) or (H, W, 4)."""
        from ..imaging import compose

        if self._look.kind == "mask":
            return compose.mask_picture(probability)
        if self._look.kind == "cutout":
            return compose.cut_out(photo, probability)
        if self._background is not None:
            return compose.replace_background(photo, probability, self._background)
        return compose.blur_background(photo, probability, self._look.sigma)


def _background(text: str | None) -> tuple[int, int, int] | Photo:
    from ..imaging.compose import parse_color
    from ..imaging.photo import open_photo

    if text is None:
        return (255, 255, 255)
    return open_photo(text) if Path(text).exists() else parse_color(text)
