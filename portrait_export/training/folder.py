"""Write the files of a run's folder: its configuration, its log and its checkpoint."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from ..errors import TrainingError
from ..models.config_json import config_to_json
from ..models.spec import ModelSpec
from ..models.weights_io import to_store
from ..utils.files import write_bytes, write_json
from .config import Phase, TrainConfig, stretches_of

LAST = "last.ckpt"  # everything that a resumed run needs
BEST = "best"  # a checkpoint folder, as `--checkpoint` takes it
LOG = "log.csv"


def claim(out: Path, config: TrainConfig, resuming: bool) -> None:
    """Write the configuration into the folder; refuse to resume a run that had another one.

    More steps in the last phase, and further phases, prolong a run: what it has done stays as it would have been, but
    for the learning rate, which falls towards the new end from then on.
    """
    path = out / "config.json"
    current = json.loads(json.dumps(asdict(config)))
    if resuming and path.is_file():
        previous = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            f"{k}: was {previous.get(k)!r}, is {current.get(k)!r}"
            for k in sorted({*previous, *current})
            if previous.get(k) != current.get(k)
            and not (k == "phases" and _prolonged(previous.get(k), current[k], config.every))
        ]
        if changed:
            raise TrainingError(
                f"{out} holds a run with another configuration; resuming would mix the two.",
                context=changed,
                hint="give another `out`, restore these settings, or start over with `fresh=True`. More steps at the"
                " end prolong a run whose steps are a multiple of `every`.",
            )
    write_json(path, current)
    if not resuming:  # an older run's state must not be resumed as this one's
        for name in (LOG, LAST):
            (out / name).unlink(missing_ok=True)


def _prolonged(before: Any, now: list[dict[str, Any]], every: int) -> bool:
    """Whether phases go on where others ended, after a multiple of `every` steps: a run is saved at no other."""
    try:
        done, planned = (stretches_of([Phase(**phase) for phase in phases]) for phases in (before, now))
    except TypeError:  # the folder's file has been edited
        return False
    if not done or len(planned) < len(done) or sum(phase.steps for phase in done) % every:
        return False
    *same, last = done
    longer = planned[len(same)]
    return (
        planned[: len(same)] == tuple(same)
        and replace(last, steps=longer.steps) == longer
        and last.steps <= longer.steps
    )


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a row to a CSV file, after dropping rows that a killed run wrote at this step or later."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [old for old in csv.DictReader(file) if float(old["step"]) < row["step"]]
    lines = [",".join(row), *(",".join(str(line[name]) for name in row) for line in [*rows, row])]
    write_bytes(path, ("\n".join(lines) + "\n").encode(), force=True)


def save_checkpoint(net: nn.Module, spec: ModelSpec, folder: Path, *, half: bool = False) -> None:
    """Write a folder with config.json and model.safetensors, as `--checkpoint` takes it; each file appears whole.

    Args:
        half: store float16, as the bundled weights are stored.
    """
    write_json(folder / "config.json", config_to_json(spec.config))
    write_bytes(folder / "model.safetensors", save(to_store(net.state_dict(), half=half)), force=True)
