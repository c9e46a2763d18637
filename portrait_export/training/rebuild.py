"""The free photographs with machine-made masks in, weights for the networks that come with some out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..calibration.dataset import Item, find_items, load_item
from ..errors import DataError
from ..models.weights_io import to_store
from ..utils.files import write_bytes, written_whole
from .config import TrainConfig, read_config
from .label import Segmenter, write_mask
from .review import complete

HERE = Path(__file__).parent
CORRECTIONS = HERE / "rejected.json"
REPEAT = {"cc0/*": 4}  # few, and more various than the others
# In the order of training: what another one starts from comes before it.
CHAIN = ("segformer_b0", "serseg_b0", "serseg_b0_afn", "serseg_b0_dam")


@dataclass(frozen=True)
class Corrections:
    """What people found when they looked at the masks, by photographs' names.

    Attributes:
        names: left out, with the reason.
        completed: lacks clothes or has holes; gets what the second opinion adds.
        validation: never trained on.
    """

    names: Mapping[str, str]
    completed: frozenset[str]
    validation: frozenset[str]


def read_corrections(path: Path = CORRECTIONS) -> Corrections:
    """Read the list that comes along, or another of its form. Raises DataError."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Corrections(dict(told["names"]), frozenset(told["completed"]), frozenset(told["validation"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a list of corrections: {error!r}.") from error


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
        data: images/ and masks/, named as the corrections name them.
        out: the folder to make; it appears whole.
        segment: the second opinion, for the masks that are to be completed.
    Returns:
        How many photographs train and how many validate.
    Raises:
        DataError: the folder is at fault, or holds other photographs than the corrections are about.
    """
    items, faults = find_items(data)
    if faults:
        raise DataError(f"{data} has {len(faults)} faults.", context=faults)
    used = [item for item in items if item.name not in corrections.names]
    validation = sum(item.name in corrections.validation for item in used)
    if not validation or validation == len(used) or any(item.mask is None for item in used):
        raise DataError(
            f"{data} does not hold the photographs with masks that the weights were made from.",
            context=[f"found: {len(items)} photographs, such as {items[0].name}, {validation} of them to validate on"],
            hint="to train on photographs of your own, use `portrait-export train`.",
        )
    with written_whole(out, force=False, folder=True) as folder:
        for done, item in enumerate(used):
            _copy(item, folder, "val" if item.name in corrections.validation else "train", segment, corrections)
            on_image(done + 1, len(used))
    return len(used) - validation, validation


def _copy(item: Item, out: Path, split: str, segment: Segmenter, corrections: Corrections) -> None:
    labelled = load_item(item, size=None)
    assert labelled.mask is not None
    mask = labelled.mask
    if item.name in corrections.completed:
        mask = complete(mask, labelled.frame.image, segment)
    write_mask(out / "masks" / split / f"{item.name}.png", mask)
    image = out / "images" / split / f"{item.name}{item.image.suffix}"
    write_bytes(image, item.image.read_bytes(), force=True)


def chain_configs(data: Path, out: Path, *, backgrounds: str = "", share: float = 1.0) -> list[TrainConfig]:
    """The configurations that come along, for the photographs in `data`, each starting from one before it.

    Args:
        backgrounds: a folder of pictures without people.
        share: of each phase's steps; under 1 to try the chain.
    """
    configs = []
    for name in CHAIN:
        config = read_config(HERE / "configs" / f"{name}.toml")
        configs.append(
            replace(
                config,
                data=str(data),
                out=str(out / name),
                repeat=REPEAT,
                phases=tuple(replace(phase, steps=max(1, round(phase.steps * share))) for phase in config.phases),
                augment=replace(config.augment, backgrounds=backgrounds),
            )
        )
    return configs


def train_chain(
    configs: Sequence[TrainConfig],
    out: Path,
    *,
    on_start: Callable[[TrainConfig], None] = lambda config: None,
    on_row: Callable[[TrainConfig, dict[str, float]], None] = lambda config, row: None,
) -> list[Path]:
    """Train one network after another; a run that is complete is not repeated, one that was interrupted goes on.

    Args:
        configs: `init` names an earlier one's model, or nothing.
        out: gets MODEL.safetensors, float16, as the files in models/weights.
    Returns:
        Those files.
    """
    from safetensors.torch import load_file, save

    from .fit import train

    best: dict[str, Path] = {}
    files = []
    for config in configs:
        on_start(config)
        start = load_file(best[config.init] / "model.safetensors") if config.init else None
        done = train(config, start=start, on_row=lambda row, config=config: on_row(config, row))  # type: ignore[misc]
        best[config.model] = done.best
        half = to_store(load_file(done.best / "model.safetensors"), half=True)
        files.append(out / f"{config.model}.safetensors")
        write_bytes(files[-1], save(half), force=True)
    return files
