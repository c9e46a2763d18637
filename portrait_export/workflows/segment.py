"""Segment photos and write pictures at their own resolution."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PortraitError, UsageError, nearest
from ..inputs.photos import NamedPhoto, find_photos
from ..inputs.runners import OpenRunner, open_runner
from ..inputs.sizes import closest, labels
from ..inputs.sources import ModelSource, require_network
from ..preprocessing import SHOWS, Picture, PortraitSpec
from ..utils.files import refuse_existing, refuse_replacing
from ..utils.stages import Observer, Stages

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Runner
    from ..imaging.photo import Photo

SUFFIXES = {"mask": ".png", "cutout": ".png", "replace": ".jpg", "blur": ".jpg"}  # of files written into a folder


@dataclass(frozen=True)
class Look:
    """The kind of picture to make from a photo and its mask.

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
    """The arguments of `segment_photos`.

    Attributes:
        photos: picture files, and folders of them.
        out: a file for a single photo, or a folder.
        folder: `out` is a folder, whatever its name.
        source: the model, unless `package` is given.
        package: a saved package to use instead of a model.
        look: the kind of picture to make.
        depth: for depth models: the map of the single photo, or a folder of maps with the photos' names.
        pictures: what the model takes besides the photo: input's name → the single photo's, or a folder of pictures
            with the photos' names.
        refine: sharpen masks along the photo's edges; False keeps the network's own, as parity compares them.
        force: replace existing files.
        sequence: the photos are the frames of one film, in this order: a recurrent network carries its values.
    """

    photos: tuple[Path, ...]
    out: Path
    source: ModelSource
    package: Path | None = None
    look: Look = Look()
    depth: Path | None = None
    pictures: tuple[tuple[str, Path], ...] = ()
    refine: bool = True
    force: bool = False
    sequence: bool = False
    folder: bool = False


@dataclass(frozen=True)
class SegmentResult:
    """The result for one photo: its picture was written to `out`, or it failed (`error`).

    Attributes:
        person_share: of the photo's pixels that are person.
    """

    photo: Path
    out: Path
    notes: tuple[str, ...] = ()
    person_share: float | None = None
    error: PortraitError | None = None


def segment_photos(request: SegmentRequest, observer: Observer) -> Iterator[SegmentResult]:
    """Segment the photos one by one; a photo that fails does not stop the others.

    Raises:
        PortraitError: a problem with all of them: the model, the arguments, an existing output.
    """
    photos = find_photos(request.photos, without=request.out, numbered=request.sequence)
    outs = output_paths(request, photos)
    refuse_replacing(outs, _read_files(request, photos))
    for path in outs:
        refuse_existing(path, force=request.force)
    paint = Painter(request.look)
    stages = Stages(observer)
    with stages.stage("load") as stage:
        opened = open_model_or_package(request.source, request.package)
        depths = depth_maps(request, photos, opened.spec)
        further = further_pictures(request, photos, opened.spec)
        stage.summary = f"{opened.runner.name}, {labels(opened.sizes, last=' or ')}"
        stage.details += opened.notes
        stage.warnings += [*opened.warnings, *_sequence_warnings(opened, request, len(photos))]
    started = False
    for photo, out, depth, pictures in zip(photos, outs, depths, further, strict=True):
        try:
            yield segment_one(
                photo.path,
                out,
                opened,
                paint,
                depth=depth,
                pictures=pictures,
                refine=request.refine,
                force=request.force,
                continues=started,
            )
            started = request.sequence
        except PortraitError as error:
            yield SegmentResult(photo.path, out, error=error)


def require_recurrent(opened: OpenRunner[Any], asked: str) -> None:
    """Raise UsageError for a sequence that nothing is carried through; `asked` is what asks for one."""
    if not opened.carried:
        raise UsageError(
            f"{asked} is for networks that carry values from frame to frame; {opened.runner.name} does not."
        )


def _sequence_warnings(opened: OpenRunner[Runner], request: SegmentRequest, photos: int) -> list[str]:
    """Warn where a recurrent network gets photos one by one. Raises UsageError for a sequence that nothing carries."""
    if request.sequence:
        require_recurrent(opened, "`sequence=True`")
    if not opened.carried or request.sequence or photos == 1:
        return []
    warning = (
        f"{opened.runner.name} carries {', '.join(opened.carried)} from frame to frame, and each of the {photos} photos"
        " starts anew; `sequence=True` takes them as the frames of one film, in this order."
    )
    return [warning]


def segment_one(
    path: Path,
    out: Path,
    opened: OpenRunner[Runner],
    paint: Painter,
    *,
    depth: Path | None,
    pictures: Mapping[str, Path],
    refine: bool,
    force: bool,
    continues: bool = False,
) -> SegmentResult:
    """Read a photo, segment it and write the picture. `continues` as in `Frame`."""
    from ..imaging.compose import write_picture
    from ..imaging.photo import open_depth, open_photo

    photo = open_photo(path)
    further = {name: open_photo(file).pixels for name, file in pictures.items()}
    values = None if depth is None else open_depth(depth)
    probability, _ = segment_photo(opened, photo, values, pictures=further, refine=refine, continues=continues)
    write_picture(out, paint(photo, probability), force=force)
    return SegmentResult(path, out, photo.notes, float((probability >= opened.spec.threshold).mean()))


def segment_photo(
    opened: OpenRunner[Runner],
    photo: Photo,
    depth: np.ndarray | None = None,
    *,
    pictures: Mapping[str, np.ndarray] | None = None,
    refine: bool = True,
    continues: bool = False,
    carried: Mapping[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """Segment a photo of any size at the input size that suits it best.

    Args:
        depth: (h, w) float32 in 0..1 of the same view at any resolution, for depth models; else None.
        pictures: what the model takes besides the photo, by input: (h, w, 3) uint8 of the same view at any resolution.
        refine: sharpen the mask along the photo's edges; False keeps the network's own.
        continues: it follows the photo before it in a sequence.
        carried: what a recurrent network takes instead of the values after the photo before it, or of zeros.
    Returns:
        (H, W) float32 in 0..1: P(person) at the photo's resolution; and what a recurrent network carries to the next.
    """
    from ..imaging.companions import fitted, with_pictures
    from ..imaging.placement import mask_back, refined_back, to_frame

    spec = opened.spec.with_size(*closest(opened.sizes, photo.size))
    frame, placement = to_frame(photo, spec, depth)
    own = {
        picture.name: fitted((pictures or {})[picture.name], picture, placement, where=f"The picture {picture.name!r}")
        for picture in require_pictures(spec, pictures or {})
    }
    frame = replace(with_pictures(frame, None, spec, own), continues=continues, carried=carried)
    found = opened.runner.run([frame])[0]
    mask = found.probability
    full = refined_back(mask, placement, photo.pixels) if refine else mask_back(mask, placement)
    return full, found.carried


def depth_maps(request: SegmentRequest, photos: Sequence[NamedPhoto], spec: PortraitSpec) -> list[Path | None]:
    """Return each photo's depth map; None for models without a depth input.

    Raises:
        UsageError: maps are missing or not wanted, or there is one map for several photos.
    """
    given = request.depth
    if "depth" not in spec.inputs:
        if given is not None:
            raise UsageError("`depth=` is for depth models; this model takes no depth map.")
        return [None] * len(photos)
    if given is None:
        raise UsageError(
            "The model needs a depth map, and `depth=` is not given.",
            code="no-depth",
            hint="make one with `portrait-export depth`, or use any 16-bit gray PNG in which white is near.",
        )
    if given.is_dir():
        return [given / f"{photo.name}.png" for photo in photos]
    if len(photos) > 1:
        raise UsageError(
            f"{given} cannot be the depth map of {len(photos)} photos.",
            hint='pass a folder with one map per photo, of the same name: `depth="depth/"`.',
        )
    return [given]


def require_pictures(spec: PortraitSpec, given: Iterable[str]) -> tuple[Picture, ...]:
    """Return what a model takes besides the photo. The photo itself need not be given a second time.

    Raises:
        UsageError: one is missing, or one is given that the model does not take.
    """
    names, given = [picture.name for picture in spec.pictures], list(given)
    for name in given:
        if name not in names:
            hint = nearest(name, names, what="picture") if names else "it takes the photo alone."
            raise UsageError(f"The model takes no further picture {name!r}.", hint=hint)
    missing = [picture for picture in spec.pictures if picture.name not in given and picture.shows != "photo"]
    if missing:
        lacking = " and ".join(repr(picture.name) for picture in missing)
        raise UsageError(
            f"The model takes pictures besides the photo, and for {lacking} none is given.",
            code="no-picture",
            context=[f"{picture.name}: {SHOWS[picture.shows]}" for picture in missing],
            hint=f"pass each of the same view as the photo, such as `pictures={missing[0].name}=FILE`.",
        )
    return tuple(picture for picture in spec.pictures if picture.name in given)


def further_pictures(
    request: SegmentRequest, photos: Sequence[NamedPhoto], spec: PortraitSpec
) -> list[dict[str, Path]]:
    """Return the files of each photo's further pictures, by input.

    Raises:
        UsageError: as `require_pictures`, or there is one file for several photos.
    """
    given = dict(request.pictures)
    if len(given) < len(request.pictures):
        raise UsageError("A further picture is given twice for the same input.")
    require_pictures(spec, given)
    single = [file for file in given.values() if not file.is_dir()]
    if single and len(photos) > 1:
        raise UsageError(
            f"{single[0]} cannot be the further picture of {len(photos)} photos.",
            hint="pass a folder with one picture per photo, of the same name.",
        )
    return [{name: _file_for(photo, file) for name, file in given.items()} for photo in photos]


def _file_for(photo: NamedPhoto, given: Path) -> Path:
    """The file itself, or the one in a folder that has the photo's name. Raises UsageError if there is none."""
    if not given.is_dir():
        return given
    found = [file for file in sorted(given.glob(f"{glob.escape(str(photo.name))}.*")) if file.is_file()]
    if len(found) != 1:
        raise UsageError(f"{given} has {len(found)} pictures for the photo {photo.name}; one is needed.")
    return found[0]


def open_model_or_package(source: ModelSource, package: Path | None) -> OpenRunner[Runner]:
    """Open the package, or load the model. Raises UsageError if both or none are given."""
    if package is not None and (source.model or source.checkpoint or source.random_weights):
        raise UsageError("`package=` cannot be used with `model=`, `checkpoint=` or `random_weights=True`.")
    if package is None:
        require_network(source, "package")
    return open_runner(source, package)


def output_paths(request: SegmentRequest, photos: Sequence[NamedPhoto]) -> list[Path]:
    """Return the output path of each photo.

    Raises:
        UsageError: several would be written to one file, or the file's format is none that is written.
    """
    from ..imaging.compose import FORMATS

    out, kind = request.out, request.look.kind
    known = out.suffix.lower() in FORMATS
    if not request.folder and not out.is_dir() and (known if len(photos) > 1 else out.suffix):
        if len(photos) > 1:
            raise UsageError(
                f"{len(photos)} photos cannot all be written to the file {out}.",
                hint='pass a folder: `out="masks/"`.',
            )
        if not known:
            raise UsageError(
                f"Pictures cannot be written as {out.suffix!r}.",
                hint=f'the formats are: {", ".join(FORMATS)}. A folder ends with a slash: `out="{out}/"`.',
            )
        return [out]
    paths = [out / f"{photo.name}-{kind}{SUFFIXES[kind]}" for photo in photos]
    twice = sorted({str(path) for path in paths if paths.count(path) > 1}) if len(set(paths)) < len(paths) else []
    if twice:
        raise UsageError(f"Several photos would be written to {', '.join(twice)}.", hint="give them other names.")
    return paths


def _read_files(request: SegmentRequest, photos: Sequence[NamedPhoto]) -> list[Path]:
    """The pictures that are read for the results."""
    further = [request.depth, *(file for _, file in request.pictures), Path(request.look.background or "")]
    return [*(photo.path for photo in photos), *filter(None, further)]


class Painter:
    """Makes pictures of one look. The background is read once.

    Args:
        look: the kind of picture. Raises UsageError if its options conflict.
    """

    def __init__(self, look: Look):
        if look.background is not None and look.kind != "replace":
            raise UsageError('`background=` needs `look="replace"`.')
        if look.sigma is not None and look.kind != "blur":
            raise UsageError('`sigma=` needs `look="blur"`.')
        self._look = look
        self._background = _background(look.background) if look.kind == "replace" else None

    def __call__(self, photo: Photo, probability: np.ndarray) -> np.ndarray:
        """Return the picture, uint8: (H, W), (H, W, 3) or (H, W, 4)."""
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
