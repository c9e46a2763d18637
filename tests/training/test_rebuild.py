"""The chain that made the shipped weights: cleaned photographs, one network grown from another, float16 files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from portrait_export.errors import DataError, UsageError
from portrait_export.models.registry import create_model
from portrait_export.training.config import Phase, TrainConfig
from portrait_export.training.data import prepare
from portrait_export.training.rebuild import CHAIN, Corrections, chain_configs, clean, read_corrections, train_chain

from .test_label import bright

LIST = Corrections({"p0": "transparent"}, frozenset({"p1"}), frozenset({"p2", "p3"}))


def test_cleaned_photographs_follow_the_list(painted: Path, tmp_path: Path) -> None:
    true = np.array(Image.open(painted / "masks/p1.png"))
    Image.fromarray(np.where(np.arange(64)[:, None] < 32, true, 0).astype(np.uint8)).save(painted / "masks/p1.png")
    assert clean(painted, tmp_path / "clean", bright, LIST) == (5, 2)
    split = prepare(TrainConfig(data=str(tmp_path / "clean")))
    assert [item.name for item in split.train] == ["p1", "p4", "p5", "p6", "p7"]
    assert [item.name for item in split.val] == ["p2", "p3"]
    completed = np.array(Image.open(tmp_path / "clean/masks/train/p1.png")) > 127
    assert ((completed & (true > 127)).sum() / (completed | (true > 127)).sum()) > 0.9
    for name in ("train/p4", "val/p2"):
        original = name.partition("/")[2]
        assert (tmp_path / f"clean/images/{name}.png").read_bytes() == (painted / f"images/{original}.png").read_bytes()
        stored = np.array(Image.open(tmp_path / f"clean/masks/{name}.png"))
        assert np.array_equal(stored, np.array(Image.open(painted / f"masks/{original}.png")))


def test_photographs_that_the_list_does_not_know_are_refused(painted: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold the photographs"):
        clean(painted, tmp_path / "clean", bright, read_corrections())
    assert not (tmp_path / "clean").exists()


def test_cleaning_that_is_interrupted_leaves_nothing(painted: Path, tmp_path: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean(painted, tmp_path / "clean", bright, LIST, on_image=interrupted)
    assert not list(tmp_path.glob("*clean*"))
    assert clean(painted, tmp_path / "clean", bright, LIST) == (5, 2)
    with pytest.raises(UsageError, match="already exists"):
        clean(painted, tmp_path / "clean", bright, LIST)


def test_each_network_of_the_chain_starts_from_one_before_it(tmp_path: Path) -> None:
    configs = chain_configs(tmp_path / "data", tmp_path, backgrounds="walls", share=0.001)
    assert [config.model for config in configs] == list(CHAIN)
    for config in configs:
        before = [other.model for other in configs[: configs.index(config)]]
        assert config.init in ["", *before]
        assert config.steps < 20
        assert (config.data, config.augment.backgrounds) == (str(tmp_path / "data"), "walls")
    assert not configs[0].init


def test_chain_trains_grows_and_stores_half_precision(painted: Path, tmp_path: Path) -> None:
    clean(painted, tmp_path / "clean", bright, LIST)
    configs = [
        replace(config, phases=(Phase(steps=2, size=32, batch=2),), every=1, workers=0, pictures=1)
        for config in chain_configs(tmp_path / "clean", tmp_path)
        if config.model in ("segformer_b0", "serseg_b0_afn")
    ]
    files = train_chain(configs, tmp_path)
    assert [path.name for path in files] == ["segformer_b0.safetensors", "serseg_b0_afn.safetensors"]
    for path in files:
        stored = load_file(path)
        net = create_model(path.stem)
        assert set(stored) == set(net.state_dict())
        assert all(t.dtype == torch.float16 for t in stored.values() if t.is_floating_point())
    small, grown = (load_file(path) for path in files)
    key = "decode_head.linear_c.0.proj.weight"  # new channels come first, and had no weight when training began
    new, old = grown[key].float().split([32, 32], dim=1)
    assert new.abs().max() < 0.1 * old.abs().mean()
    assert (old - small[key].float()).abs().max() < 0.1 * old.abs().mean()
    before = (tmp_path / "segformer_b0/log.csv").read_text()
    train_chain(configs, tmp_path)
    assert (tmp_path / "segformer_b0/log.csv").read_text() == before


def test_list_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"names": {}}))
    with pytest.raises(DataError, match="not a list of corrections"):
        read_corrections(path)
