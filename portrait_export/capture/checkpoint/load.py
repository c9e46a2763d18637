"""Load a checkpoint into the network it belongs to, and record where everything came from."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.config import NetConfig
from ...models.registry import model_spec, net_class
from ...models.spec import ModelSpec
from ..huggingface import labels_of, licence_of, read_json, read_preprocessor
from .entries import doubts_about, origin, read_all
from .locate import locate
from .metadata import choose_person, person_of, positive_of, preprocessing_of
from .resolve import resolve
from .tensors import is_safetensors

if TYPE_CHECKING:
    from torch import nn

    from ...models.remap import Canonical


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What a checkpoint holds.

    Attributes:
        module: the network in evaluation mode, float32, on the CPU; forward(image, depth=None) gives (N, K, h, w).
        spec: the model it is, with the checkpoint's own config, positive class and preprocessing.
        provenance: plain data for reports and metadata: checkpoint, origin (the checkpoint, and the entry that was
            used), files, sha256, format, layout (whose names the keys had), config_json (whether a config.json
            decided), positive (what the file says, or None), person (the classes that are the person where there are
            several; empty: not known), id2label, ignored (tensors of a wrapper around the network), licence (as the
            model card states it; empty: not known).
        size_problem: why the checkpoint's own preprocessing gives no fixed input size; empty where it does.
        warnings: what of its files is not applied, or was only guessed.
    """

    module: nn.Module
    spec: ModelSpec
    provenance: dict[str, Any]
    size_problem: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def config(self) -> NetConfig:
        """The switches and widths that the weights were made for."""
        return self.spec.config

    def person_classes(self, asked: Sequence[int] | None = None) -> tuple[int, ...]:
        """The classes that are the person; empty for a network with a single logit.

        Args:
            asked: the user's choice; None uses the checkpoint's own, or class 1 of two.
        Raises:
            UsageError: it is needed, or names classes that do not exist.
        """
        total, labels = self.config.num_labels, self.provenance["id2label"]
        if len(labels) not in (0, total):  # names of another network's classes
            return choose_person(total, asked, (), {})
        return choose_person(total, asked, self.provenance["person"], labels)

    def person_module(self, asked: Sequence[int] | None = None) -> nn.Module:
        """The network with a single logit: itself if it has one, else followed by the person's logit.

        Args:
            asked: as for `person_classes`.
        """
        from ...models.person import PersonLogit

        labels = self.config.num_labels
        person = self.person_classes(asked)
        return PersonLogit(self.module, num_labels=labels, person=person).eval() if labels > 1 else self.module


def load_checkpoint(path: str | os.PathLike[str], model: ModelSpec | str | None = None) -> LoadedCheckpoint:
    """Load a published or trained checkpoint. Nothing in it is ever executed.

    A config.json in the folder, or next to the file, decides the switches. Without one the model does; without a model,
    the shapes of the weights do, as far as they can.

    Args:
        path: a folder as `save_pretrained` writes it, or a single file with one of SUFFIXES.
        model: a registered model's name or a spec; must be of the checkpoint's architecture.
    Raises:
        CheckpointError: missing, damaged, unsafe, of another architecture, or not fitting; every cause at once.
        UsageError: there is no such model.
    """
    from ...models.remap import canonical

    asked = model_spec(model) if isinstance(model, str) else model
    files, folder, label = locate(Path(path))
    described = read_json(folder / "config.json")
    found = canonical(read_all(files, label), source=label)
    spec = resolve(found, described, asked, label)
    preprocessor = read_preprocessor(folder)
    provenance = _provenance(files, folder, label, found, described or {})
    provenance["positive"] = positive_of(described or {}, folder)
    from ...models.initialise import empty_net
    from ...models.weights_io import load_into

    net = load_into(empty_net(net_class(spec), spec.config), found.tensors, source=label).eval()
    own = {"positive": provenance["positive"], **preprocessing_of(preprocessor, found)}
    if spec.config.num_labels > 1:
        own["positive"] = "person"  # several classes are brought to the person's logit
    spec = dataclasses.replace(spec, **{key: value for key, value in own.items() if value is not None})
    warnings = doubts_about(label, found.place, found.others)
    if preprocessor is None:
        return LoadedCheckpoint(net, spec, provenance, warnings=warnings)
    return LoadedCheckpoint(net, spec, provenance, preprocessor.why_no_size, (*warnings, *preprocessor.doubts))


def _provenance(
    files: list[Path], folder: Path, label: str, found: Canonical, described: dict[str, Any]
) -> dict[str, Any]:
    labels = labels_of(described)
    return {
        "checkpoint": label,
        "origin": origin(label, found.place),
        "files": [file.name for file in files],
        "sha256": _sha256(files),
        "format": "safetensors" if is_safetensors(files[0]) else "pickle",
        "layout": found.layout,
        "config_json": bool(described),
        "id2label": labels,
        "person": person_of(described, labels),
        "ignored": sorted(found.extras),
        "licence": licence_of(folder),
    }


def _sha256(files: list[Path]) -> str:
    """Of the file; of a sharded checkpoint, of all its files in the order of their names."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
