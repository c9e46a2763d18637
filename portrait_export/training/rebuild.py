"""Retrain the bundled weights from scratch on the photographs they were trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import nn

from ..calibration.dataset import Item, load_item, pictures_by_stem
from ..errors import DataError
from ..models.efficientnet_weights import packaged_lite
from ..models.eight_bit import eight_bit_state
from ..models.registry import build_net, load_shipped, model_spec
from ..models.weights_io import load_into, to_store
from ..utils.files import write_bytes, written_whole
from ..utils.inside import is_inside
from .config import IMAGENET, TrainConfig, read_config
from .label import Segmenter, write_mask
from .review import complete
from .start import Start

HERE = Path(__file__).parent
CORRECTIONS = HERE / "rejected.json"
CUTOUTS = "cutouts"
# In the order of training: a network comes after the ones that it starts or learns from.
CHAIN = ("lite0_fpn", "segformer_b0", "serseg_b0", "serseg_b0_afn", "serseg_b0_dam", "sernet_former")


@dataclass(frozen=True)
class Corrections:
    """Corrections that people made after looking at the photographs, by name.

    Attributes:
        names: portraits that are left out, with the reason.
        completed: portraits whose mask lacks clothes or has holes; it gets what the second opinion adds.
        validation: portraits that are never trained on.
        everyday_names: everyday photographs that are left out, with the reason.
        everyday_calibration: everyday photographs of the calibration set, which are left out, too.
        everyday_sources: repositories whose everyday photographs validate and are never trained on.
    """

    names: Mapping[str, str]
    completed: frozenset[str]
    validation: frozenset[str]
    everyday_names: Mapping[str, str]
    everyday_calibration: frozenset[str]
    everyday_sources: tuple[str, ...]


def read_corrections(path: Path = CORRECTIONS) -> Corrections:
    """Read the bundled list, or another in its format. Raises DataError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        everyday = data["everyday"]
        return Corrections(
            dict(data["names"]),
            frozenset(data["completed"]),
            frozenset(data["validation"]),
            dict(everyday["names"]),
            frozenset(everyday["calibration"]),
            tuple(everyday["validation_sources"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a list of corrections: {error!r}.") from error


@dataclass(frozen=True)
class Chosen:
    """A photograph for training: its name in the new folder, its split, and whether its mask is to be completed."""

    item: Item
    name: str
    split: str
    complete: bool = False


def choose(data: Path, corrections: Corrections) -> list[Chosen]:
    """The photographs of a folder that are good to train and validate on.

    Args:
        data: portraits/ with masks/, and everyday/ with manifest.json, photos/ and masks/; either may be missing.
    Raises:
        DataError: neither is there, or a photograph has no mask.
    """
    chosen = [*_portraits(data, corrections), *_everyday(data, corrections)]
    if {one.split for one in chosen} != {"train", "val"}:
        raise DataError(
            f"{data} does not hold the photographs with masks that the weights were trained on.",
            context=[f"found: {len(chosen)} photographs that are in the bundled list"],
            hint="to train on photographs of your own, use `portrait-export train`.",
        )
    return chosen


def _portraits(data: Path, corrections: Corrections) -> list[Chosen]:
    if not (data / "portraits").is_dir():
        return []
    photos, faults = pictures_by_stem(data / "portraits", data)
    masks, wrong = pictures_by_stem(data / "masks", data)
    faults += wrong + [f"portraits/{name}: it has no mask" for name in photos if name not in masks]
    if faults:
        raise DataError(f"{data} has {len(faults)} faults.", context=faults[:100])
    return [
        Chosen(
            Item(name, photo, masks[name]),
            f"portraits/{name}",
            "val" if name in corrections.validation else "train",
            name in corrections.completed,
        )
        for name, photo in photos.items()
        if name not in corrections.names
    ]


def _everyday(data: Path, corrections: Corrections) -> list[Chosen]:
    root = data / "everyday"
    if not root.is_dir():
        return []
    chosen = []
    for entry in _entries(root / "manifest.json"):
        name = str(entry["id"])
        if name in corrections.everyday_names or name in corrections.everyday_calibration:
            continue
        photo, mask = (_inside(root, entry[key]) for key in ("file", "mask"))
        kind = "people" if "person" in entry["tags"] else "empty"
        repository = str(entry["source"]).removeprefix("github.com/").split(" ")[0]
        split = "val" if repository in corrections.everyday_sources else "train"
        chosen.append(Chosen(Item(name, photo, mask), f"everyday/{kind}/{name}", split))
    return chosen


def _entries(manifest: Path) -> list[dict[str, Any]]:
    """The entries of the everyday photographs' manifest that have what is needed."""
    needed = {"id", "file", "mask", "source", "tags"}
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        if not isinstance(entries, list) or not all(isinstance(e, dict) and needed <= set(e) for e in entries):
            raise ValueError(f"every entry needs {', '.join(sorted(needed))}")
    except (OSError, ValueError) as error:
        raise DataError(f"{manifest} cannot be read as a manifest: {error}.") from error
    return entries


def _inside(root: Path, name: str) -> Path:
    path = root / name
    try:
        inside = is_inside(path, root)
    except OSError as error:
        raise DataError(f"{root / 'manifest.json'} names {name!r}, which cannot be read: {error.strerror}.") from error
    if not inside:
        raise DataError(f"{root / 'manifest.json'} names a file outside its folder: {name!r}.")
    return path


def clean(
    data: Path,
    out: Path,
    segment: Segmenter,
    corrections: Corrections,
    *,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Copy the photographs that are good to train on, with their masks, as the splits train and val of a folder.

    Args:
        data: as for `choose`; the pictures of synthetic/ become cutouts/.
        out: the folder to make; it appears whole.
        segment: the second opinion, for the masks that are to be completed.
    Returns:
        How many photographs train and how many validate.
    Raises:
        DataError: the folder has faults, or its photographs are not those of the corrections.
    """
    chosen = choose(data, corrections)
    with written_whole(out, force=False, folder=True) as folder:
        for done, one in enumerate(chosen):
            _copy(one, folder, segment)
            on_image(done + 1, len(chosen))
        for picture in sorted((data / "synthetic").glob("*.webp")):
            write_bytes(folder / CUTOUTS / picture.name, picture.read_bytes(), force=True)
    validation = sum(one.split == "val" for one in chosen)
    return len(chosen) - validation, validation


def _copy(one: Chosen, out: Path, segment: Segmenter) -> None:
    """The photograph as it is; its mask at the photograph's size."""
    mask_file = out / "masks" / one.split / f"{one.name}.png"
    if one.complete:
        labelled = load_item(one.item, size=None)
        assert labelled.mask is not None
        write_mask(mask_file, complete(labelled.mask, labelled.frame.image, segment))
    else:
        assert one.item.mask is not None
        write_bytes(mask_file, one.item.mask.read_bytes(), force=True)
    image = out / "images" / one.split / f"{one.name}{one.item.image.suffix}"
    write_bytes(image, one.item.image.read_bytes(), force=True)


def chain_configs(data: Path, out: Path, *, backgrounds: str = "", share: float = 1.0) -> list[TrainConfig]:
    """The bundled configurations for the photographs in `data`; each starts from an earlier one.

    Args:
        backgrounds: a folder of pictures without people.
        share: of each phase's steps; below 1 for a quick trial of the chain.
    """
    configs = []
    for name in CHAIN:
        config = read_config(HERE / "configs" / f"{name}.toml")
        configs.append(
            replace(
                config,
                data=str(data),
                out=str(out / name),
                phases=tuple(replace(phase, steps=max(1, round(phase.steps * share))) for phase in config.phases),
                augment=replace(config.augment, backgrounds=backgrounds),
            )
        )
    return configs


def require_published(configs: Sequence[TrainConfig]) -> None:
    """Raise UsageError or CheckpointError if a network starts from published weights that are not installed."""
    if any(config.init == IMAGENET for config in configs):
        packaged_lite()


def train_chain(
    configs: Sequence[TrainConfig],
    out: Path,
    *,
    on_start: Callable[[TrainConfig], None] = lambda config: None,
    on_row: Callable[[TrainConfig, dict[str, float]], None] = lambda config, row: None,
) -> list[Path]:
    """Train one network after another; a complete run is not repeated, an interrupted one is resumed.

    Args:
        configs: `init` and `teacher` name an earlier one's model, else one with bundled weights; `init` may be
            `imagenet`.
        out: gets MODEL.safetensors, float16, as the files in models/weights.
    Returns:
        Those files.
    """
    from .fit import train

    best: dict[str, Path] = {}
    files = []
    for config in configs:
        on_start(config)
        start, teacher = _start(config.init, best), _teacher(config.teacher, best)
        done = train(config, start=start, teacher=teacher, on_row=lambda row, config=config: on_row(config, row))  # type: ignore[misc]
        best[config.model] = done.best
        net = _trained(config.model, best)
        half = to_store(eight_bit_state(net) if config.eight_bit else net.state_dict(), half=True)
        files.append(out / f"{config.model}.safetensors")
        write_bytes(files[-1], save(half), force=True)
    return files


def _start(name: str, best: Mapping[str, Path]) -> Start | None:
    if not name:
        return None
    return Start(packaged_lite()) if name == IMAGENET else Start.of(_trained(name, best))


def _trained(name: str, best: Mapping[str, Path]) -> nn.Module:
    """A network of the chain, or one with the bundled weights."""
    if name not in best:
        return load_shipped(name)
    return load_into(build_net(model_spec(name)), load_file(best[name] / "model.safetensors"), source=name)


def _teacher(name: str, best: Mapping[str, Path]) -> nn.Module | None:
    from .fit import normalised

    if not name:
        return None
    spec = model_spec(name)
    return normalised(_trained(name, best), spec.mean, spec.std)
