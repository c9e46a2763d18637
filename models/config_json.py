"""Read the config.json files of transformers, the research system and this package; write our own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError
from .config import EfficientNetFPNConfig, NetConfig, SegformerConfig, SernetConfig, SersegConfig

FORMAT = "portrait-export"  # in our own files every field is named as in config.py, with the meaning it has there
FAMILIES: dict[str, type[NetConfig]] = {
    "segformer": SegformerConfig,
    "sersegformer": SersegConfig,
    "sernet_former": SernetConfig,
    "efficientnet_fpn": EfficientNetFPNConfig,
}
# The start of an architecture's name, letters only → its family.
STEMS = {
    "serseg": "sersegformer",
    "sernet": "sernet_former",
    "segformer": "segformer",
    "efficientnetfpn": "efficientnet_fpn",
}
# transformers' and the research system's names → ours. Their `layer_norm_eps` is left out: nothing reads it there.
FIELDS = {
    "num_labels": "num_labels",
    "num_channels": "in_channels",
    "hidden_sizes": "hidden_sizes",
    "depths": "depths",
    "num_attention_heads": "heads",
    "sr_ratios": "sr_ratios",
    "mlp_ratios": "mlp_ratios",
    "patch_sizes": "patch_sizes",
    "strides": "strides",
    "decoder_hidden_size": "decoder_width",
    "drop_path_rate": "drop_path",
    "hidden_dropout_prob": "hidden_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "classifier_dropout_prob": "head_dropout",
    "abg": "abg",
    "dbn": "dbn",
    "afn": "afn",
    "dam": "dam",
    "deconv": "upsample",  # its name in older research configurations
    "upsample": "upsample",
    "add_depth_channel": "depth",
}
# The largest of SegFormer's sizes, of B5: 40 blocks in a stage, 768 channels.
LARGEST = {"depths": 200, "blocks": 200, "patch_sizes": 64, "strides": 64, "kernels": 64, "sr_ratios": 64}
LARGEST_SIZE = 8192
MOST_STAGES = 16
SHOWN = 60  # characters of a value in an error
REQUIRED = {"hidden_act": "gelu", "num_encoder_blocks": 4}  # other values are other networks


def config_from_json(data: Mapping[str, Any], *, source: str = "config.json") -> tuple[NetConfig, bool]:
    """Read the configuration that a config.json describes.

    Returns:
        The configuration, and whether the file says how many classes there are.
    Raises:
        CheckpointError: an unknown architecture, or fields that none of our networks can have; all in one error.
    """
    kind = family(data, source=source)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    names = {name: name for name in fields} if data.get("format") == FORMAT else FIELDS
    problems = [
        f"{key} = {data[key]!r}; only {value!r} is supported"
        for key, value in REQUIRED.items()
        if issubclass(kind, SegformerConfig) and data.get(key, value) != value
    ]
    # A switch that the research system's file does not mention is off there.
    values: dict[str, Any] = {"upsample": False} if kind is SersegConfig and names is FIELDS else {}
    for theirs, ours in names.items():
        if theirs not in data or ours not in fields:
            continue
        value, default = _plain(data[theirs]), fields[ours].default
        if not _same_kind(value, default):
            problems.append(f"{theirs} = {_short(data[theirs])}; expected something like {_listless(default)!r}")
        elif too_large := _too_large(ours, value):
            problems.append(f"{theirs} = {_short(data[theirs])}; {too_large}")
        else:
            values[ours] = type(default)(value) if isinstance(default, float) else value
    if "num_labels" not in values and isinstance(data.get("id2label"), Mapping):
        values["num_labels"] = len(data["id2label"])
        if too_large := _too_large("num_labels", values["num_labels"]):
            problems.append(f"id2label has {values['num_labels']} entries; {too_large}")
    if problems:
        raise CheckpointError(
            f"{source} describes a network that cannot be built.", code="bad-config", context=problems
        )
    return kind(**values), "num_labels" in values


def config_to_json(config: NetConfig, *, positive: str = "person") -> dict[str, Any]:
    """Write a configuration for our checkpoint folders; `config_from_json` reads it back unchanged."""
    kind = next(name for name, known in FAMILIES.items() if type(config) is known)
    fields = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(config).items()}
    return {"format": FORMAT, "model_type": kind, "positive": positive, **fields}


def family(data: Mapping[str, Any], *, source: str = "config.json") -> type[NetConfig]:
    """Find the configuration's class by `model_type`, else by `architectures`."""
    names = [data.get("model_type"), *(data.get("architectures") or [])]
    for name in names:
        plain = re.sub(r"[^a-z]", "", str(name).lower())
        for stem, known in STEMS.items():
            if plain.startswith(stem):
                return FAMILIES[known]
    raise CheckpointError(
        f"{source} is about `{names[0] or 'no named architecture'}`, which is not supported.",
        code="unknown-architecture",
        hint=f"model_type may be: {', '.join(FAMILIES)}.",
    )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _listless(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _same_kind(value: Any, default: Any) -> bool:
    """Whether a JSON value has the type of `default`; an integer is accepted for a float, a boolean is not."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(type(item) is int and item > 0 for item in value)
    if isinstance(default, float):
        return type(value) in (int, float) and 0 <= value <= 1  # epsilons and shares
    if type(default) is int:
        return type(value) is int and value > 0
    return type(value) is type(default)


def _too_large(name: str, value: Any) -> str:
    """Why a size cannot be that of a network of ours; empty if it can. Time and memory to build one grow with it."""
    limit = LARGEST.get(name, LARGEST_SIZE)
    numbers = value if isinstance(value, tuple) else [value]
    if isinstance(value, tuple) and len(value) > MOST_STAGES:
        return f"at most {MOST_STAGES} values are read"
    return f"at most {limit} is read" if any(type(item) is int and item > limit for item in numbers) else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
