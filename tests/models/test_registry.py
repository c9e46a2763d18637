"""The registry: names, specs and random weights."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait_export.errors import CheckpointError, UsageError
from portrait_export.models import create_model, list_models, load_shipped, model_spec
from portrait_export.models.config import SegformerConfig, SernetConfig, SersegConfig
from portrait_export.models.registry import ModelSpec, register_model
from portrait_export.preprocessing import PortraitSpec

from .support import inputs_of, net_of

ALL = [
    "lite0_fpn",
    "segformer_b0",
    "sernet_former",
    "serseg_b0",
    "serseg_b0_abg_dbn_depth",
    "serseg_b0_afn",
    "serseg_b0_dam",
    "serseg_b0_dam_depth",
]


def test_list_models_by_pattern() -> None:
    assert list_models() == ALL
    assert list_models("serseg*_depth") == ["serseg_b0_abg_dbn_depth", "serseg_b0_dam_depth"]
    assert list_models("nothing*") == []


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="There is no model `serseg_bo`") as caught:
        model_spec("serseg_bo")
    assert caught.value.hint.startswith(
        "did you mean `serseg_b0`? The models are: lite0_fpn, segformer_b0, sernet_former"
    )


def test_registering_a_name_twice_names_the_first_owner() -> None:
    with pytest.raises(UsageError, match=r"already registered by .*catalogue\.serseg_b0\."):

        @register_model
        def impostor() -> ModelSpec:
            return ModelSpec(name="serseg_b0", config=SersegConfig(), entry=".serseg:Serseg")


def test_listing_models_imports_no_torch() -> None:
    code = (
        "import sys; from portrait_export.models import list_models, model_spec;"
        " [model_spec(n).portrait_spec() for n in list_models()]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ALL)
def test_spec_says_how_a_photo_goes_in(name: str) -> None:
    spec = model_spec(name)
    inputs = ("image", "depth") if name.endswith("_depth") else ("image",)
    expected = PortraitSpec(height=512, width=512, inputs=inputs, positive="person")
    if name == "lite0_fpn":  # TensorFlow's (x - 127) / 128, not ImageNet's statistics
        expected = replace(expected, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    assert spec.portrait_spec() == expected
    assert spec.paper
    assert spec.description
    assert spec.weights == f"{name}.safetensors"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("trivial", [True, False], ids=["create_model", "randomize_"])
def test_random_weights_keep_logits_near_order_one(name: str, trivial: bool) -> None:
    net = create_model(name).eval() if trivial else net_of(model_spec(name).config)
    image, *depth = inputs_of(net.config, 64, 64)
    # Like a photograph: smooth, with some noise.
    ramp = torch.linspace(-2, 2, 64).expand(1, 3, 64, 64)
    with torch.no_grad():
        logits = net(ramp + 0.3 * image, *depth)
    assert 0.15 < float(logits.std()) < 6
    assert float(logits.abs().max()) < 30


def test_same_seed_same_weights_and_global_state_untouched() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    first, second, other = create_model("serseg_b0"), create_model("serseg_b0"), create_model("serseg_b0", seed=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]
    states = [net.state_dict() for net in (first, second, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["decode_head.classifier.weight"], states[2]["decode_head.classifier.weight"])


def test_a_switch_leaves_the_other_weights_alone() -> None:
    plain, more = create_model("serseg_b0").state_dict(), create_model("serseg_b0", dam=True).state_dict()
    assert set(plain) < set(more)
    assert all(torch.equal(plain[key], more[key]) for key in plain)


def test_new_networks_are_ready_to_train() -> None:
    net = create_model("segformer_b0", num_labels=2)
    assert net.training
    assert all(parameter.requires_grad and parameter.device.type == "cpu" for parameter in net.parameters())
    assert net.config == SegformerConfig(num_labels=2)


def test_config_replaces_the_registered_one() -> None:
    assert create_model("serseg_b0", config=SersegConfig(afn=True)).config.afn
    with pytest.raises(UsageError, match="`serseg_b0` takes a SersegConfig; found a SernetConfig"):
        create_model("serseg_b0", config=SernetConfig())


def test_unknown_override_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="SersegConfig has no field upsampel") as caught:
        create_model("serseg_b0", upsampel=False)
    assert "did you mean `upsample`?" in caught.value.hint


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_labels": 0}, "num_labels must be at least 1"),
        ({"depths": (1, 1, 1)}, r"depths = \(1, 1, 1\)"),
        ({"heads": (1, 2, 5, 7)}, "stage 3: width 256 does not divide into 7 heads"),
    ],
)
def test_impossible_configs_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SegformerConfig(**fields)  # type: ignore[arg-type]


def test_load_shipped_without_weights_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("portrait_export.models.registry.WEIGHTS_DIR", tmp_path)
    with pytest.raises(CheckpointError, match="Model `serseg_b0` comes without trained weights") as caught:
        load_shipped("serseg_b0")
    assert "`checkpoint=`" in caught.value.hint
    assert "`random_weights=True`" in caught.value.hint


def test_load_shipped_reads_half_precision_into_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = net_of(model_spec("segformer_b0").config)
    half = {key: t.half() if t.is_floating_point() else t for key, t in net.state_dict().items()}
    save_file(half, f"{tmp_path}/segformer_b0.safetensors")
    monkeypatch.setattr("portrait_export.models.registry.WEIGHTS_DIR", tmp_path)
    loaded = load_shipped("segformer_b0")
    assert not loaded.training
    key = "decode_head.linear_fuse.weight"
    assert loaded.state_dict()[key].dtype == torch.float32
    assert torch.equal(loaded.state_dict()[key], half[key].float())
