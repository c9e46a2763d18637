"""A checkpoint's folder or file → the network it belongs to, in evaluation mode, and where everything came from."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from ..models.config import NetConfig, SegformerConfig, SernetConfig, SersegConfig
from ..models.registry import ModelSpec, list_models, model_spec, net_class
from ..preprocessing import POSITIVES
from ..utils.quiet import quiet

if TYPE_CHECKING:
    from torch import nn

    from ..models.remap import Canonical

MAX_BYTES = 4 * 2**30  # of all weight files together; the largest network of these families, B5, has 0.34 GB
MAX_JSON_BYTES = 8 * 2**20
MAX_PICKLE_BYTES = 2**20  # of a refused pickle that are searched for what it would have imported
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
# In a folder, the first of these that exists holds the weights.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# A checkpoint's model has its own weights, so what is known about the registered ones is not known about it.
NOTHING_PUBLISHED: dict[str, Any] = {"weights": None, "params": 0, "gmacs": 0.0, "published": ()}
FAMILY_NAMES: dict[type[NetConfig], str] = {
    SegformerConfig: "SegFormer",
    SersegConfig: "SERSeg",
    SernetConfig: "SERNet-Former",
}


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What a checkpoint holds.

    Attributes:
        module: the network in evaluation mode, float32, on the CPU; forward(image, depth=None) gives (N, K, h, w).
        spec: the model it is, with the checkpoint's own config, positive class, mean and std.
        provenance: plain data for reports and metadata: checkpoint, files, sha256, format, layout (whose names the
            keys had), config_json (whether a config.json decided), positive (what the file says, or None), person (the
            classes that are the person where there are several; empty: all but class 0), id2label, ignored (tensors
            of a wrapper around the network).
    """

    module: nn.Module
    spec: ModelSpec
    provenance: dict[str, Any]

    @property
    def config(self) -> NetConfig:
        """The switches and widths that the weights were made for."""
        return self.spec.config

    def person_module(self) -> nn.Module:
        """The network with a single logit: itself if it has one, else with the person's logit computed behind it."""
        from ..models.person import PersonLogit

        labels = self.config.num_labels
        if labels == 1:
            return self.module
        return PersonLogit(self.module, num_labels=labels, person=self.provenance["person"]).eval()


def load_checkpoint(path: str | os.PathLike[str], model: ModelSpec | str | None = None) -> LoadedCheckpoint:
    """Load a published or trained checkpoint. Nothing in it is ever executed.

    A config.json in the folder, or beside the file, decides the switches. Without one the model does; without a model,
    the shapes of the weights do, as far as they can.

    Args:
        path: a folder as `save_pretrained` writes it, or a single file with one of SUFFIXES.
        model: a registered model's name or a spec; must be of the checkpoint's architecture.
    Raises:
        CheckpointError: missing, damaged, unsafe, of another architecture, or not fitting; every cause at once.
        UsageError: there is no such model.
    """
    asked = model_spec(model) if isinstance(model, str) else model
    files, folder, label = locate(Path(path))
    described = _read_json(folder / "config.json")
    found = _canonical(files, label)
    spec = _resolve(found, described, asked, label)
    provenance = _provenance(files, label, found, described or {})
    provenance["positive"] = _positive(described or {}, folder)
    from ..models.initialise import empty_net
    from ..models.weights_io import load_into

    net = load_into(empty_net(net_class(spec), spec.config), found.tensors, source=label).eval()
    said = {"positive": provenance["positive"], **_pixel_statistics(folder, found)}
    if spec.config.num_labels > 1:
        said["positive"] = "person"  # several classes are brought to the person's logit
    spec = dataclasses.replace(spec, **{key: value for key, value in said.items() if value is not None})
    return LoadedCheckpoint(net, spec, provenance)


def locate(path: Path) -> tuple[list[Path], Path, str]:
    """The weight files of a checkpoint, the folder with its config.json, and what to call it."""
    try:
        return _locate(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}.", code="unreadable") from error


def _locate(path: Path) -> tuple[list[Path], Path, str]:
    if path.is_file():
        return _bounded([path]), path.parent, path.name
    if not path.is_dir():
        raise CheckpointError(
            f"There is no checkpoint at {path}{', which is neither a file nor a folder' if path.exists() else ''}.",
            code="no-such-file",
            hint="give a folder with config.json, or a file of weights.",
        )
    label = path.resolve().name
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return _bounded(_shards(path / name) if name.endswith(".json") else [path / name]), path, label
    others = sorted(file for file in path.iterdir() if file.is_file() and file.suffix in SUFFIXES)
    if len(others) == 1:
        return _bounded(others), path, label
    names = [file.name for file in others] or [file.name for file in sorted(path.iterdir())]
    raise CheckpointError(
        f"{path} holds {'several' if others else 'no'} weight files; expected one of {', '.join(WEIGHT_FILES)}.",
        code="no-weights",
        context=[f"found: {', '.join(names[:12]) or 'nothing'}"],
        hint="give the file itself." if others else "",
    )


def _shards(index: Path) -> list[Path]:
    """The files that a sharded checkpoint's index names, all of them in the index's own folder."""
    weight_map = (_read_json(index) or {}).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError(f"{index.name} has no `weight_map` of keys to files.", code="damaged-checkpoint")
    names = sorted(set(weight_map.values()))
    outside = [name for name in names if name != Path(name).name or name in ("", ".", "..")]
    missing = [name for name in names if name not in outside and not (index.parent / name).is_file()]
    if outside or missing:
        raise CheckpointError(
            f"{index.name} names {len(outside) + len(missing)} files that cannot be used.",
            code="damaged-checkpoint",
            context=[f"outside the folder: {name}" for name in outside] + [f"missing: {name}" for name in missing],
        )
    return [index.parent / name for name in names]


def _bounded(files: list[Path]) -> list[Path]:
    size = sum(file.stat().st_size for file in files)
    empty = [file.name for file in files if file.stat().st_size == 0]
    if empty:
        raise CheckpointError(f"{', '.join(empty)} is empty.", code="damaged-checkpoint")
    if size > MAX_BYTES:
        raise CheckpointError(
            f"The checkpoint has {size / 2**30:.1f} GiB; at most {MAX_BYTES / 2**30:.0f} GiB are read.",
            code="too-large",
        )
    return files


def _read_json(file: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file."""
    if not file.is_file():
        return None
    if file.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{file.name} has more than {MAX_JSON_BYTES / 2**20:.0f} MiB.", code="too-large")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.", code="unreadable") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON: {error}.", code="bad-config") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{file} holds a JSON {type(data).__name__}; expected an object.", code="bad-config")
    return data


def _canonical(files: list[Path], label: str) -> Canonical:
    from ..models.remap import canonical

    merged: dict[str, Any] = {}
    for file in files:
        part = read_tensors(file)
        twice = sorted(set(map(str, merged)) & set(map(str, part)))
        if twice:
            raise CheckpointError(f"{label}: {len(twice)} keys are in more than one shard.", context=twice[:12])
        merged.update(part)
    return canonical(merged, source=label)


def read_tensors(file: Path) -> Mapping[str, Any]:
    """What a weight file holds, as plain data and CPU tensors; recognised by its content, not by its name.

    Raises:
        CheckpointError: damaged, not a checkpoint, or it would have to run code to load.
    """
    try:
        return _read_safetensors(file) if _is_safetensors(file) else _read_pickle(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.", code="unreadable") from error


def _is_safetensors(file: Path) -> bool:
    """Eight bytes with the header's length, then the header, which is JSON."""
    with file.open("rb") as stream:
        head = stream.read(9)
    fits = len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= file.stat().st_size
    return fits or file.suffix == ".safetensors"


def _read_safetensors(file: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(file))
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that torch has not
        raise CheckpointError(
            f"{file.name} is not a whole safetensors file: {error}.",
            code="damaged-checkpoint",
            hint="download or save it again; Git LFS may have left a pointer in its place.",
        ) from error


def _check_unpickler(file: Path, version: str) -> None:
    """Before 2.10, torch's weights-only unpickler could be made to run code (CVE-2025-32434, CVE-2026-24747)."""
    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < (2, 10):
        raise CheckpointError(
            f"{file.name} is a pickle, and torch {version} cannot read one safely (CVE-2025-32434, CVE-2026-24747).",
            code="unsafe-torch",
            hint="install torch 2.10 or later, or save the weights as .safetensors.",
        )


def _read_pickle(file: Path) -> Mapping[str, Any]:
    import torch

    _check_zip(file)
    _check_unpickler(file, torch.__version__)
    try:
        with quiet():  # about pickle protocols; what matters about them raises
            data = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unpickling_problem(file, str(error)) from error
    # The unpickler and the zip reader raise whatever damaged bytes lead them to: EOFError, IndexError, struct.error, …
    except Exception as error:
        first = str(error).strip().splitlines()[0:1] or [type(error).__name__]
        raise CheckpointError(
            f"{file.name} is not a whole PyTorch checkpoint: {first[0][:200]}",
            code="damaged-checkpoint",
            hint="download or save it again.",
        ) from error
    if not isinstance(data, Mapping):
        raise CheckpointError(
            f"{file.name} holds a {type(data).__name__}; expected a dictionary of tensors.",
            code="no-weights",
            hint="save `model.state_dict()`.",
        )
    return data


def _check_zip(file: Path) -> None:
    """Refuse what torch.load would refuse in its own words, and archives that are larger than they look."""
    try:
        if not zipfile.is_zipfile(file):
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{file.name} is a damaged archive: {error}.", code="damaged-checkpoint") from error
    if any(
        entry.filename.endswith(("/constants.pkl", ".torchscript")) or "/code/" in entry.filename for entry in entries
    ):
        raise CheckpointError(
            f"{file.name} is a TorchScript program, not a checkpoint.",
            code="torchscript",
            hint="a TorchScript program is code; save `model.state_dict()` instead.",
        )
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise CheckpointError(f"{file.name} unpacks to more than {MAX_BYTES / 2**30:.0f} GiB.", code="too-large")


def _unpickling_problem(file: Path, message: str) -> CheckpointError:
    """The error for a pickle that PyTorch's restricted reader refused; it stops before anything is called."""
    names = re.findall(r"GLOBAL ([\w.]+)", message) or _called(file)
    if names or "unrecognized" in message:
        return CheckpointError(
            f"{file.name} would have to run `{names[0] if names else 'unknown code'}` to load. It was refused,"
            " and nothing in it was executed.",
            code="unsafe-pickle",
            hint="ask its author for safetensors, or for `torch.save(model.state_dict(), …)` with tensors only.",
        )
    return CheckpointError(
        f"{file.name} is not a PyTorch checkpoint, or is damaged.",
        code="damaged-checkpoint",
        hint=f"a checkpoint is a folder with config.json, or a file with one of {', '.join(SUFFIXES)}.",
    )


def _called(file: Path) -> list[str]:
    """What a checkpoint's pickles would import, but for PyTorch's own; read off their opcodes, without running them."""
    names: list[str] = []
    strings: list[str] = []
    try:
        stream = io.BytesIO(_pickle_bytes(file))
        for _ in range(8):  # the format before zip is several pickles in a row
            for opcode, argument, _position in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    # Damaged bytes lead the reader anywhere; what it has found until then is the answer.
    except Exception:
        pass
    return [name for name in names if name.partition(".")[0] not in ("torch", "collections")]


def _pickle_bytes(file: Path) -> bytes:
    """The beginning of a file, or of the `data.pkl` in it where it is an archive; empty where it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
            with archive.open(name) as stream:
                return stream.read(MAX_PICKLE_BYTES)
    except (zipfile.BadZipFile, StopIteration, NotImplementedError, ValueError, RuntimeError, EOFError):
        with file.open("rb") as stream:
            return stream.read(MAX_PICKLE_BYTES)


def _resolve(found: Canonical, described: dict[str, Any] | None, asked: ModelSpec | None, label: str) -> ModelSpec:
    """The model with the configuration of config.json, else the model's own, else the one that the shapes tell."""
    from ..models.config_json import config_from_json
    from ..models.infer_config import infer_config, num_labels

    origin: type[NetConfig] | None
    if described is not None:
        config, says_labels = config_from_json(described)
        labels = num_labels(found.tensors)
        if not says_labels and labels is not None:
            config = config.with_overrides(num_labels=labels)
        origin = type(config)
    elif asked is not None:
        config, origin = asked.config, _family(found)
    else:
        config = infer_config(found.tensors, source=label)
        origin = type(config)
    if asked is not None and origin is not None and origin is not type(asked.config):
        raise CheckpointError(
            f"{label} is a {FAMILY_NAMES[origin]} checkpoint;"
            f" model `{asked.name}` is a {FAMILY_NAMES.get(type(asked.config), type(asked.config).__name__)}.",
            code="other-architecture",
            hint=f"models of the checkpoint's architecture: {', '.join(_models_of(origin))}.",
        )
    known = {field.name for field in dataclasses.fields(config)}
    config = config.with_overrides(**{key: value for key, value in found.config.items() if key in known})
    return dataclasses.replace(
        asked or _closest(config), config=config, weights=None, params=0, gmacs=0.0, published=()
    )


def _family(found: Canonical) -> type[NetConfig] | None:
    """The architecture that the keys belong to; None where they belong to none."""
    roots = {key.partition(".")[0] for key in found.tensors}
    if "sersegformer" in roots:
        return SersegConfig
    if "segformer" in roots:
        return SegformerConfig
    return SernetConfig if {"encoder", "decoder"} <= roots else None


def _models_of(kind: type[NetConfig]) -> list[str]:
    return [name for name in list_models() if type(model_spec(name).config) is kind]


def _closest(config: NetConfig) -> ModelSpec:
    """The registered model with this very configuration, else any of its architecture under the architecture's name."""
    specs = [model_spec(name) for name in _models_of(type(config))]
    same = next((spec for spec in specs if spec.config == config), None)
    name = FAMILY_NAMES[type(config)].lower().replace("-", "_")
    return same or dataclasses.replace(specs[0], name=name, description="")


def _provenance(files: list[Path], label: str, found: Canonical, described: dict[str, Any]) -> dict[str, Any]:
    labels = _labels(described)
    return {
        "checkpoint": label,
        "files": [file.name for file in files],
        "sha256": _sha256(files),
        "format": "safetensors" if _is_safetensors(files[0]) else "pickle",
        "layout": found.layout,
        "config_json": bool(described),
        "id2label": labels,
        "person": _person(described, labels),
        "ignored": sorted(found.extras),
    }


def _person(described: Mapping[str, Any], labels: Mapping[int, str]) -> list[int]:
    """The classes that are the person: config.json's `person_classes`, else told by their names."""
    from ..models.person import person_classes

    said = described.get("person_classes")
    if said is None:
        return list(person_classes(labels))
    if not isinstance(said, list) or not all(type(item) is int and item >= 0 for item in said):
        raise CheckpointError(f"person_classes is {said!r}; expected a list of class numbers.", code="bad-config")
    return sorted(set(said))


def _sha256(files: list[Path]) -> str:
    """Of the file; of a sharded checkpoint, of all its files in the order of their names."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _labels(described: Mapping[str, Any]) -> dict[int, str]:
    """`id2label` with whole numbers as keys; empty where it is missing or malformed, since only names hang on it."""
    table = described.get("id2label")
    if not isinstance(table, Mapping):
        return {}
    return {int(key): str(value) for key, value in table.items() if str(key).isdigit()}


def _positive(described: Mapping[str, Any], folder: Path) -> str | None:
    """The positive class: config.json's `positive`, else a `positive:` line of the model card, else None."""
    said = described.get("positive")
    card = folder / "README.md"
    if said is None and card.is_file() and card.stat().st_size <= MAX_JSON_BYTES:
        match = re.search(r"^\s*positive:\s*[\"'`]?(\w+)", card.read_text(encoding="utf-8", errors="replace"), re.M)
        said = match[1] if match else None
    if said is not None and said not in POSITIVES:
        raise CheckpointError(
            f"The positive class is said to be {said!r}; it can be {' or '.join(POSITIVES)}.", code="bad-config"
        )
    return said


def _pixel_statistics(folder: Path, found: Canonical) -> dict[str, tuple[float, ...]]:
    """mean and std per RGB channel, of pixels in 0..1: a wrapper's buffers, else preprocessor_config.json's."""
    described = _read_json(folder / "preprocessor_config.json") or {}
    result = {}
    for name in ("mean", "std"):
        tensor = found.extras.get(name)
        values = tensor.flatten().tolist() if tensor is not None else described.get(f"image_{name}")
        if isinstance(values, list) and len(values) == 3 and all(isinstance(v, (int, float)) for v in values):
            result[name] = tuple(float(v) for v in values)
    if result and max(result.get("mean", (0.0,))) > 1.5:  # in units of 0..255
        result = {name: tuple(v / 255 for v in values) for name, values in result.items()}
    # Half-precision or rounded copies of the usual numbers are the usual numbers.
    return {name: tuple(round(v, 6) for v in values) for name, values in result.items()}
