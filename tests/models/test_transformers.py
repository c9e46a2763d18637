"""Compare SegFormer with transformers' own, loading weights both ways and from both kinds of saved folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import SegformerConfig as TheirConfig
from transformers import SegformerForSemanticSegmentation
from transformers.utils import logging

from portrait_export.capture.checkpoint import load_checkpoint
from portrait_export.models.config import SegformerConfig
from portrait_export.models.initialise import randomize_
from portrait_export.models.remap import canonical
from portrait_export.models.weights_io import load_into

from .support import EQUAL, inputs_of, net_of, relative_error

logging.set_verbosity_error()
logging.disable_progress_bar()

SMALL_THEIRS = {"hidden_sizes": [8, 16, 40, 64], "depths": [1, 2, 1, 1], "decoder_hidden_size": 24}
SMALL_OURS = SegformerConfig(hidden_sizes=(8, 16, 40, 64), depths=(1, 2, 1, 1), decoder_width=24)
IMAGE = inputs_of(SMALL_OURS, 96, 64)[0]


def their_net(**config: Any) -> nn.Module:
    return randomize_(SegformerForSemanticSegmentation(TheirConfig(**config)).eval(), seed=11)


def their_logits(net: nn.Module, image: Tensor = IMAGE) -> Tensor:
    with torch.no_grad():
        return net(pixel_values=image).logits


def our_logits(net: nn.Module, image: Tensor = IMAGE) -> Tensor:
    with torch.no_grad():
        return net(image)


@pytest.mark.parametrize("labels", [1, 2, 9])
def test_saved_safetensors_folder_gives_their_logits(tmp_path: Path, labels: int) -> None:
    theirs = their_net(num_labels=labels, **SMALL_THEIRS)
    theirs.save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config.num_labels == labels
    assert loaded.provenance["config_json"]
    assert relative_error(our_logits(loaded.module), their_logits(theirs)) < EQUAL


def test_saved_pickle_folder_gives_their_logits(tmp_path: Path) -> None:
    theirs = their_net(num_labels=1, **SMALL_THEIRS)
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    loaded = load_checkpoint(tmp_path)
    assert loaded.provenance["format"] == "pickle"
    assert relative_error(our_logits(loaded.module), their_logits(theirs)) < EQUAL


def test_b0_at_full_width_gives_their_logits() -> None:
    theirs = their_net(num_labels=1)
    ours = net_of(SegformerConfig(), seed=1)
    load_into(ours, canonical(theirs.state_dict()).tensors, source="transformers")
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    assert relative_error(our_logits(ours), their_logits(theirs)) < EQUAL


def test_b2_folder_is_built_from_its_config(tmp_path: Path) -> None:
    wide = {"hidden_sizes": [16, 32, 40, 64], "depths": [3, 4, 6, 3], "decoder_hidden_size": 32}
    theirs = their_net(num_labels=1, **wide)
    theirs.save_pretrained(tmp_path)
    assert relative_error(our_logits(load_checkpoint(tmp_path).module), their_logits(theirs)) < EQUAL


def test_their_folder_without_config_is_recognized_by_its_shapes(tmp_path: Path) -> None:
    theirs = their_net(num_labels=2)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == SegformerConfig(num_labels=2)
    assert relative_error(our_logits(loaded.module), their_logits(theirs)) < EQUAL


def test_our_weights_in_their_network_give_our_logits(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    ours = net_of(SMALL_OURS, seed=2)
    state = {key: tensor.contiguous() for key, tensor in ours.state_dict().items()}
    state["decode_head.classifier.weight"] = state["decode_head.classifier.weight"][:, :, None, None].contiguous()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    TheirConfig(num_labels=1, **SMALL_THEIRS).save_pretrained(tmp_path)
    theirs = SegformerForSemanticSegmentation.from_pretrained(tmp_path).eval()
    assert relative_error(their_logits(theirs), our_logits(ours)) < EQUAL


def test_their_layer_norm_eps_is_not_read(tmp_path: Path) -> None:
    # Their config.json says 1e-6 and their networks compute with 1e-5.
    their_net(num_labels=1, **SMALL_THEIRS).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()).get("layer_norm_eps", 1e-6) == 1e-6
    norms = [module for module in load_checkpoint(tmp_path).module.modules() if isinstance(module, nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-5}
