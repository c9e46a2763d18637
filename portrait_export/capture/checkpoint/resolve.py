"""Find the model and the configuration that a checkpoint belongs to."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError
from ...models.config import EfficientNetFPNConfig, NetConfig, SegformerConfig, SernetConfig, SersegConfig
from ...models.registry import list_models, model_spec
from ...models.spec import ModelSpec
from ...utils.names import with_article

if TYPE_CHECKING:
    from ...models.remap import Canonical


FAMILY_NAMES: dict[type[NetConfig], str] = {
    SegformerConfig: "SegFormer",
    SersegConfig: "SERSeg",
    SernetConfig: "SERNet-Former",
    EfficientNetFPNConfig: "EfficientNet-FPN",
}


def resolve(found: Canonical, described: dict[str, Any] | None, asked: ModelSpec | None, label: str) -> ModelSpec:
    """The model with the configuration of config.json, else the model's own, else the one that the shapes tell."""
    from ...models.config_json import config_from_json
    from ...models.infer_config import infer_config, num_labels

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
        own = FAMILY_NAMES.get(type(asked.config), type(asked.config).__name__)
        raise CheckpointError(
            f"{label} is {with_article(FAMILY_NAMES[origin])} checkpoint; model `{asked.name}` is {with_article(own)}.",
            code="other-architecture",
            hint=f"models of the checkpoint's architecture: {', '.join(_models_of(origin))}.",
        )
    known = {field.name for field in dataclasses.fields(config)}
    config = config.with_overrides(**{key: value for key, value in found.config.items() if key in known})
    # The checkpoint has weights of its own: what was published about the registered ones does not hold for them.
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
    if {"encoder", "decode_head"} <= roots:
        return EfficientNetFPNConfig
    return SernetConfig if {"encoder", "decoder"} <= roots else None


def _models_of(kind: type[NetConfig]) -> list[str]:
    return [name for name in list_models() if type(model_spec(name).config) is kind]


def _closest(config: NetConfig) -> ModelSpec:
    """The registered model with this very configuration, else any of its architecture under the architecture's name."""
    specs = [model_spec(name) for name in _models_of(type(config))]
    same = next((spec for spec in specs if spec.config == config), None)
    name = FAMILY_NAMES[type(config)].lower().replace("-", "_")
    return same or dataclasses.replace(specs[0], name=name, description="")
