"""Test reading config.json files of transformers, the research system and this package."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portrait_export.errors import CheckpointError, UsageError
from portrait_export.models.config import NetConfig, SegformerConfig, SernetConfig, SersegConfig
from portrait_export.models.config_json import config_from_json, config_to_json
from portrait_export.models.initialise import empty_net
from portrait_export.models.segformer import Segformer

READ: dict[str, tuple[dict[str, Any], NetConfig]] = {
    "transformers_b0": ({"model_type": "segformer", "num_labels": 1}, SegformerConfig()),
    "labels_from_id2label": (
        {"model_type": "segformer", "id2label": {"0": "a", "1": "b", "2": "c"}},
        SegformerConfig(num_labels=3),
    ),
    "by_architectures_alone": (
        {"architectures": ["SegformerForSemanticSegmentation"], "num_labels": 1},
        SegformerConfig(),
    ),
    "transformers_b1_widths": (
        {"model_type": "segformer", "num_labels": 1, "hidden_sizes": [64, 128, 320, 512], "drop_path_rate": 0},
        SegformerConfig(hidden_sizes=(64, 128, 320, 512), drop_path=0.0),
    ),
    "their_layer_norm_eps_means_nothing": (
        {"model_type": "segformer", "num_labels": 1, "layer_norm_eps": 1e-6},
        SegformerConfig(layer_norm_eps=1e-5),
    ),
    "research_switches": (
        {
            "model_type": "sersegformer",
            "num_labels": 1,
            **dict.fromkeys(["abg", "dbn", "dam", "upsample", "add_depth_channel"], True),
            **dict.fromkeys(["afn", "critic"], False),
        },
        SersegConfig(abg=True, dbn=True, dam=True, depth=True),
    ),
    "research_switches_not_mentioned_are_off": (
        {"architectures": ["SersegformerForSemanticSegmentation"], "num_labels": 1, "afn": True},
        SersegConfig(afn=True, upsample=False),
    ),
    "older_name_of_the_decoder": (
        {"model_type": "sersegformer", "num_labels": 1, "deconv": True},
        SersegConfig(),
    ),
    "sernet": ({"model_type": "sernet_former", "num_labels": 1}, SernetConfig()),
    "sernet_by_class": ({"architectures": ["SERNet_Former"], "num_labels": 2}, SernetConfig(num_labels=2)),
}


@pytest.mark.parametrize("name", READ)
def test_config_is_read(name: str) -> None:
    data, expected = READ[name]
    assert config_from_json(data) == (expected, True)


def test_a_file_without_labels_is_reported_as_such() -> None:
    assert config_from_json({"model_type": "segformer"}) == (SegformerConfig(), False)


@pytest.mark.parametrize(
    "config",
    [
        SegformerConfig(num_labels=9, layer_norm_eps=1e-6, projection_relu=True),
        SersegConfig(abg=True, upsample=False, depth=True, hidden_sizes=(8, 16, 40, 64)),
        SernetConfig(num_labels=3),
    ],
)
def test_our_own_file_reads_back_unchanged(config: NetConfig) -> None:
    text = json.dumps(config_to_json(config))
    assert config_from_json(json.loads(text)) == (config, True)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another_architecture": ({"model_type": "unet"}, "is about `unet`, which is not supported"),
    "no_architecture": ({}, "is about `no named architecture`"),
    "another_activation": ({"model_type": "segformer", "hidden_act": "relu"}, "hidden_act = 'relu'; only 'gelu'"),
    "five_stages": ({"model_type": "segformer", "num_encoder_blocks": 5}, "num_encoder_blocks = 5; only 4"),
    "text_for_a_number": ({"model_type": "segformer", "num_labels": "many"}, "num_labels = 'many'; expected"),
    "number_for_a_switch": ({"model_type": "sersegformer", "abg": 1}, "abg = 1; expected something like False"),
    "negative_width": ({"model_type": "segformer", "hidden_sizes": [32, 64, -1, 256]}, "hidden_sizes = "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_config_is_refused(name: str) -> None:
    data, words = REFUSED[name]
    with pytest.raises(CheckpointError) as caught:
        config_from_json(data)
    assert words in str(caught.value)


def test_all_wrong_fields_are_reported_at_once() -> None:
    with pytest.raises(CheckpointError) as caught:
        config_from_json({"model_type": "segformer", "hidden_act": "relu", "depths": "deep", "num_labels": None})
    assert len(caught.value.context) == 3


HUGE: dict[str, dict[str, Any]] = {
    "depths": {"depths": [10**9, 2, 2, 2]},
    "widths": {"hidden_sizes": [10**9, 64, 160, 256]},
    "stages": {"depths": [2] * 10**6},
    "classes": {"id2label": {str(k): "x" for k in range(10**4)}},
    "a_negative_width": {"decoder_hidden_size": -1},
    "a_share_of_infinity": {"drop_path_rate": float("inf")},
}


@pytest.mark.parametrize("name", HUGE)
def test_sizes_that_would_fill_the_memory_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="describes a network that cannot be built") as caught:
        config_from_json({"model_type": "segformer", **HUGE[name]})
    [line] = caught.value.context
    assert len(line) < 200


def test_a_network_of_too_many_parameters_is_refused_before_it_is_allocated() -> None:
    config = SegformerConfig(hidden_sizes=(8192,) * 4, heads=(1,) * 4)
    with pytest.raises(UsageError, match=r"parameters; at most 1e\+09 are built"):
        empty_net(Segformer, config)
