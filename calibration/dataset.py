"""Load photographs with masks: the calibration set, a user's folder, or an EasyPortrait tree.

Every fault of a set is reported at once.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..artifacts import Frame, LabelledFrame
from ..errors import DataError, PhotoError, UsageError, nearest
from ..imaging.photo import open_depth, open_mask, open_photo
from ..imaging.resize import resize_bilinear
from ..utils.inside import is_inside

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
ROOT = Path(__file__).parent
SPLITS = ("calibrate", "evaluate")  # of the bundled set
KINDS = ("portrait", "everyday", "empty")  # of the bundled set; nobody is in an empty picture
TREE_SPLITS = ("train", "val", "test")  # of a folder laid out as EasyPortrait
# Suffixes of photographs. Other files in a folder (Thumbs.db, notes, hidden files) are ignored.
SUFFIXES = frozenset(
    {*(".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff"), *(".gif", ".bmp", ".ppm", ".jp2")}
)
# Class ids of EasyPortrait (arXiv:2304.13509, section 3): everything but the background is person.
EASYPORTRAIT_CLASSES = (
    *("background", "person", "skin", "left brow", "right brow"),
    *("left eye", "right eye", "lips", "teeth"),
)
# Fields of every entry of the bundled set's manifest.
REQUIRED = frozenset(
    {*("name", "split", "kind", "tags", "image", "mask", "image_sha256", "mask_sha256"), *("source", "licence")}
)
LISTED = 100  # faults that an error lists; it gives the number of the rest
REPAIR = "repair these files, or remove them from the folder."
PERSON = 0.5
PARTNERS = ("masks", "annotations", "depth")  # folders of what belongs to photographs


@dataclass(frozen=True)
class Item:
    """The files of one photograph. Nothing has been opened yet.

    Attributes:
        name: the photograph's path below its folder, without suffix; unique within a split.
        image: the photograph.
        mask: its drawn mask, or None if the folder has no masks.
        classes: the mask holds EasyPortrait's class ids instead of P(person) as gray.
        depth: a depth map, or None.
        split: `calibrate`, `evaluate`, `train`, `val`, `test`, or empty.
        kind: one of KINDS, or an empty string: a user's own photographs have no kinds.
        tags: what the photograph shows, such as `group` or `dark`.
    """

    name: str
    image: Path
    mask: Path | None = None
    classes: bool = False
    depth: Path | None = None
    split: str = ""
    kind: str = ""
    tags: tuple[str, ...] = ()


# ---- the bundled set --------------------------------------------------------------------------------------------


def load_calibration(
    split: str | None = None, size: tuple[int, int] | None = (512, 512), root: Path = ROOT
) -> list[LabelledFrame]:
    """The bundled photographs, in the manifest's order.

    Args:
        split: `calibrate` (to observe ranges), `evaluate` (to judge), or None for both.
        size: (H, W) in pixels; None keeps the stored size.
        root: the folder that holds manifest.json.
    Raises:
        UsageError: an unknown split.
        DataError: names every file that is missing, differs from its sha256 in the manifest, or is outside `root`.
    """
    return load_items(calibration_items(split, root), size=size, where=str(root))


def calibration_items(split: str | None = None, root: Path = ROOT) -> list[Item]:
    """The files of the bundled photographs, checked against the manifest. Arguments and errors as above."""
    if split is not None and split not in SPLITS:
        raise UsageError(f"The calibration set has no split `{split}`.", hint=nearest(split, SPLITS, what="split"))
    entries = [entry for entry in read_manifest(root) if split in (None, entry["split"])]
    faults = [fault for entry in entries for fault in _entry_faults(entry, root)]
    _raise_if(faults, f"The calibration set in {root} does not match its manifest", "reinstall the package.")
    return [
        Item(e["name"], root / e["image"], root / e["mask"], split=e["split"], kind=e["kind"], tags=tuple(e["tags"]))
        for e in entries
    ]


def read_manifest(root: Path = ROOT) -> list[dict[str, Any]]:
    """The manifest's entries, one dict per photograph. Raises DataError if it is not such a manifest."""
    path = root / "manifest.json"
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["images"]
        lacking = [
            f"entry {i}: no {', '.join(sorted(REQUIRED - set(e)))}" for i, e in enumerate(entries) if REQUIRED - set(e)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a manifest: {error!r}.", hint="reinstall the package.") from error
    _raise_if(lacking, f"{path} lacks fields", "reinstall the package.")
    return entries


def _entry_faults(entry: dict[str, Any], root: Path) -> list[str]:
    """Why a manifest's entry cannot be used; empty if it can."""
    faults = [
        f"{entry['name']}: unknown {field} {entry[field]!r}; it is one of {', '.join(known)}"
        for field, known in (("split", SPLITS), ("kind", KINDS))
        if entry[field] not in known
    ]
    for key in ("image", "mask"):
        path = root / entry[key]
        try:
            inside = is_inside(path, root)
        except OSError as error:
            faults.append(f"{entry['name']}: {key} {entry[key]!r} cannot be read: {error.strerror}")
            continue
        if not inside:
            faults.append(f"{entry['name']}: {key} {entry[key]!r} is outside the folder")
        elif not path.is_file():
            faults.append(f"{entry['name']}: {key} {entry[key]!r} is missing")
        elif (found := hashlib.sha256(path.read_bytes()).hexdigest()) != entry[f"{key}_sha256"]:
            faults.append(
                f"{entry['name']}: {key} {entry[key]!r} has sha256 {found[:12]}…, not {entry[f'{key}_sha256'][:12]}…"
            )
    return faults


# ---- a user's own photographs -----------------------------------------------------------------------------------


def load_folder(
    path: str | Path, size: tuple[int, int] | None = (512, 512), split: str | None = None
) -> list[LabelledFrame]:
    """Photographs of a folder at one size, with their masks if there are any. `find_items` lists the layouts.

    Args:
        size: (H, W) in pixels, the photographs' aspect ratio ignored; None keeps each one's own size.
        split: only this one of `train`, `val`, `test`, for folders with splits.
    Raises:
        DataError: names every photograph, mask and depth map that cannot be used, with the reason.
    """
    items, faults = find_items(path, split=split)
    return load_items(items, size=size, where=str(path), faults=faults)


def find_items(path: str | Path, split: str | None = None) -> tuple[list[Item], list[str]]:
    """Pair the photographs of a folder with masks and depth maps by name, without opening any.

    Layouts, recognized by the folders in it:
        photographs only                 PATH/*.jpg, or PATH/images/*.jpg
        soft masks                       PATH/images/*  PATH/masks/*     gray, white = person
        EasyPortrait                     PATH/images/{train,val,test}/*  PATH/annotations/{train,val,test}/*   class ids
    each optionally with PATH/depth/*, 8- or 16-bit gray. `masks` and `depth` may have the splits as folders too.

    Args:
        split: only this one of `train`, `val`, `test`.
    Returns:
        The items sorted by name, and one line for each file without exactly one counterpart.
    Raises:
        DataError: there is no such folder or split, or no photograph in it.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder.", hint="give a folder of photographs, or one with images/ and masks/."
        )
    images = root / "images" if (root / "images").is_dir() else root
    splits = [name for name in TREE_SPLITS if (images / name).is_dir()] if images != root else []
    if split is not None and split not in splits:
        hint = f"the splits are: {', '.join(splits)}." if splits else "it has no splits; leave out `split=`."
        raise DataError(f"{root} has no split `{split}`: there is no folder {images / split}.", hint=hint)
    items: list[Item] = []
    faults: list[str] = []
    for name in [split] if split is not None else splits or [""]:
        found, wrong = _pair(root, images, name)
        items += found
        faults += wrong
    if not items and not faults:
        raise DataError(f"There is no photograph in {images}.", hint=f"the suffixes are: {' '.join(sorted(SUFFIXES))}.")
    return items, faults


def _pair(root: Path, images: Path, split: str) -> tuple[list[Item], list[str]]:
    """The items of one split, and one line for each file that has no counterpart."""
    classes = (root / "annotations").is_dir()
    mask_folder = root / ("annotations" if classes else "masks") / split
    photos, faults = pictures_by_stem(images / split, root, alone=images == root)
    masks, wrong_masks = pictures_by_stem(mask_folder, root) if images != root and mask_folder.is_dir() else ({}, [])
    depth_folder = root / "depth" / split
    depths, wrong_depths = (
        pictures_by_stem(depth_folder, root) if images != root and depth_folder.is_dir() else ({}, [])
    )
    faults += wrong_masks + wrong_depths
    for name, partners in ((mask_folder, masks), (depth_folder, depths)):
        if not partners and not (images != root and name.is_dir()):
            continue
        faults += [
            f"{photos[s].relative_to(root)}: nothing for it in {name.relative_to(root)}"
            for s in photos.keys() - partners
        ]
        faults += [f"{partners[s].relative_to(root)}: there is no such photograph" for s in partners.keys() - photos]
    items = [
        Item(stem, photos[stem], masks.get(stem), classes, depths.get(stem), split)
        for stem in sorted(photos)
        if (not masks or stem in masks) and (not depths or stem in depths)
    ]
    return items, sorted(faults)


def pictures_by_stem(folder: Path, root: Path, *, alone: bool = False) -> tuple[dict[str, Path], list[str]]:
    """Pictures below a folder by their path without suffix; two with the same stem are a fault.

    Args:
        alone: nothing is paired with them, so two with the same stem keep their suffixes and are no fault.
        root: faults name files relative to it; the subfolders of `root` itself are used only if it has no pictures.
    """
    found: dict[str, Path] = {}
    faults = []
    paths = _pictures(folder)
    if folder == root:  # the subfolders of a plain folder of photographs may hold anything
        deep = [path for path in paths if path.relative_to(folder).parts[0] not in PARTNERS]
        paths = [path for path in paths if path.parent == folder] or deep
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    count = Counter(stems)
    for path, stem in zip(paths, stems, strict=True):
        if alone and count[stem] > 1:
            stem = path.relative_to(folder).as_posix()
        if stem in found:
            faults.append(f"{path.relative_to(root)}: another file has this name, {found[stem].relative_to(root)}")
        found.setdefault(stem, path)
    return found, faults


def _pictures(folder: Path) -> list[Path]:
    """The picture files below a folder, sorted, without hidden ones."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


# ---- opening ----------------------------------------------------------------------------------------------------


def load_items(
    items: Sequence[Item], *, size: tuple[int, int] | None, where: str, faults: Iterable[str] = ()
) -> list[LabelledFrame]:
    """Open all items. Raises one DataError with the given faults and those found while opening."""
    frames, wrong = map_each(items, lambda item: load_item(item, size=size))
    _raise_if([*faults, *wrong], f"{where} cannot be used as it is", REPAIR)
    return frames


def usable_items(path: str | Path, split: str | None = None) -> list[Item]:
    """Like `find_items`, but raises DataError unless every file has a counterpart and can be opened."""
    items, faults = find_items(path, split=split)
    _raise_if([*faults, *check_items(items)], f"{path} cannot be used as it is", REPAIR)
    return items


def check_items(items: Sequence[Item]) -> list[str]:
    """Open every file once and return one line per fault; keeps nothing in memory."""

    def check(item: Item) -> None:
        load_item(item, size=None)

    return map_each(items, check)[1]


def map_each(items: Sequence[T], function: Callable[[T], Any]) -> tuple[list[Any], list[str]]:
    """Call `function` on each item in a few threads (decoders release the lock). Returns its results and the faults."""
    from concurrent.futures import ThreadPoolExecutor

    def attempt(item: T) -> tuple[Any, list[str]]:
        try:
            return function(item), []
        except PhotoError as error:
            return None, [error.message]
        except DataError as error:
            return None, [*error.context] or [error.message]

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(attempt, items))
    return [result for result, wrong in done if not wrong], [line for _, wrong in done for line in wrong]


def load_item(item: Item, *, size: tuple[int, int] | None) -> LabelledFrame:
    """One photograph with its mask and depth map.

    Args:
        size: (H, W) in pixels; None keeps the photograph's.
    Raises:
        PhotoError, DataError: a file that cannot be opened, does not have the photograph's aspect ratio, or holds
            unknown ids.
    """
    pixels = open_photo(item.image).pixels
    shape: tuple[int, int] = pixels.shape[:2]
    target = size or shape
    mask = depth = None
    if item.mask is not None:
        mask = read_classes(item.mask) if item.classes else _read_soft(item.mask)
        _same_shape(item.mask, mask.shape, item.image, shape)
        mask = resize_map(mask, target)
    if item.depth is not None:
        depth = resize_map(open_depth(item.depth), target)
    frame = Frame(resize_photo(pixels, target), depth, item.name)
    return LabelledFrame(frame, mask, item.split, item.kind, item.tags)


def read_classes(path: Path) -> np.ndarray:
    """A file of EasyPortrait's class ids as P(person): (H, W) float32, 0 for the background, 1 for every other class.

    Raises:
        PhotoError: the file is not a picture.
        DataError: it does not hold one 8-bit id per pixel, or it holds ids that EasyPortrait does not have.
    """
    import numpy as np
    from PIL import Image

    open_photo(path)  # raises for a damaged file; below, pixels are ids and must not become colours
    with Image.open(path) as image:
        if image.mode not in ("L", "P", "1"):
            raise DataError(f"{path} has pixels of {image.mode}; an annotation has one 8-bit class id per pixel.")
        ids = np.array(image).astype(np.uint8)
    unknown = sorted(set(np.unique(ids).tolist()) - set(range(len(EASYPORTRAIT_CLASSES))))
    if unknown:
        shown = ", ".join(map(str, unknown[:8])) + ("…" if len(unknown) > 8 else "")
        raise DataError(f"{path} holds class ids {shown}; the known ones are 0 to {len(EASYPORTRAIT_CLASSES) - 1}.")
    return (ids > 0).astype(np.float32)


def _read_soft(path: Path) -> np.ndarray:
    """A gray mask as P(person). Class ids saved as gray would look like a nearly black mask; they are refused."""
    import numpy as np

    mask = open_mask(path)
    brightest = round(float(mask.max()) * 255)
    if 0 < brightest < len(EASYPORTRAIT_CLASSES):
        raise DataError(
            f"{path} is nearly black (brightest value {brightest} of 255): it seems to hold class ids, not gray;"
            " those belong in annotations/."
        )
    return mask.astype(np.float32)


def _same_shape(path: Path, found: tuple[int, ...], photo: Path, wanted: tuple[int, ...]) -> None:
    """Refuse a mask of another aspect ratio than its photograph.

    Both sides of a scaled mask may have been rounded to whole pixels. One with a single side of the photograph is cut,
    not scaled.
    """
    cut = (found[0] == wanted[0]) != (found[1] == wanted[1])
    difference = abs(found[0] * wanted[1] - found[1] * wanted[0])
    if cut or difference > max(sum(found), sum(wanted)) / 2:
        raise DataError(
            f"{path} is {found[1]}x{found[0]} pixels, its photograph {photo.name} is {wanted[1]}x{wanted[0]}."
            " A mask needs its photograph's aspect ratio."
        )


def resize_photo(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 stretched to `size` = (H, W), bilinear and antialiased; unchanged at its own size."""
    return resize_bilinear(pixels, size)


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 in 0..1 stretched to `size` = (H, W) like `resize_photo`."""
    import numpy as np

    if values.shape == tuple(size):
        return values
    return np.clip(resize_bilinear(values.astype(np.float32), size), 0, 1)


def _raise_if(faults: Sequence[str], message: str, hint: str) -> None:
    if faults:
        more = [f"… and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise DataError(f"{message}: {count}.", context=[*faults[:LISTED], *more], hint=hint)
