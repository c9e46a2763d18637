"""Test the chain that made the bundled weights: cleaned photographs, grown networks, float16 files."""

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
from portrait_export.training.config import IMAGENET, LossConfig, Phase, TrainConfig
from portrait_export.training.data import prepare
from portrait_export.training.rebuild import CHAIN, Corrections, chain_configs, clean, read_corrections, train_chain

from .conftest import portrait
from .test_label import bright

LIST = Corrections(
    {"p0": "transparent"},
    frozenset({"p1"}),
    frozenset({"p2", "p3"}),
    {"e0": "mask wrong"},
    frozenset({"e1"}),
    ("books/held-out",),
)


@pytest.fixture
def shared(painted: Path) -> Path:
    """The layout that `rebuild` reads: portraits/ with masks/, and everyday/ with its manifest."""
    (painted / "images").rename(painted / "portraits")
    everyday = painted / "everyday"
    (everyday / "photos").mkdir(parents=True)
    (everyday / "masks").mkdir()
    entries = []
    for seed in range(6):
        image, mask = portrait(20 + seed)
        Image.fromarray(image).save(everyday / f"photos/e{seed}.png")
        Image.fromarray(mask * (seed != 3)).save(everyday / f"masks/e{seed}.png")
        entries.append(
            {
                "id": f"e{seed}",
                "file": f"photos/e{seed}.png",
                "mask": f"masks/e{seed}.png",
                "source": f"github.com/books/{'held-out' if seed == 5 else 'open'} (figure {seed})",
                "tags": ["negative"] if seed == 3 else ["person", "group"],
            }
        )
    (everyday / "manifest.json").write_text(json.dumps(entries))
    (painted / "synthetic").mkdir()
    Image.fromarray(np.pad(np.full((8, 8, 4), 255, np.uint8), ((2, 2), (2, 2), (0, 0)))).save(
        painted / "synthetic/s0.webp"
    )
    return painted


def test_cleaned_photographs_follow_the_list(shared: Path, tmp_path: Path) -> None:
    true = np.array(Image.open(shared / "masks/p1.png"))
    Image.fromarray(np.where(np.arange(64)[:, None] < 32, true, 0).astype(np.uint8)).save(shared / "masks/p1.png")
    assert clean(shared, tmp_path / "clean", bright, LIST) == (8, 3)
    split = prepare(TrainConfig(data=str(tmp_path / "clean")))
    assert [item.name for item in split.train] == [
        *("everyday/empty/e3", "everyday/people/e2", "everyday/people/e4"),
        *(f"portraits/p{i}" for i in (1, 4, 5, 6, 7)),
    ]
    assert [item.name for item in split.val] == ["everyday/people/e5", "portraits/p2", "portraits/p3"]
    assert [path.name for path in (tmp_path / "clean/cutouts").iterdir()] == ["s0.webp"]
    completed = np.array(Image.open(tmp_path / "clean/masks/train/portraits/p1.png")) > 127
    assert ((completed & (true > 127)).sum() / (completed | (true > 127)).sum()) > 0.9
    for name, image, mask in (
        ("train/portraits/p4", "portraits/p4", "masks/p4"),
        ("val/portraits/p2", "portraits/p2", "masks/p2"),
        ("train/everyday/people/e4", "everyday/photos/e4", "everyday/masks/e4"),
    ):
        assert (tmp_path / f"clean/images/{name}.png").read_bytes() == (shared / f"{image}.png").read_bytes()
        assert (tmp_path / f"clean/masks/{name}.png").read_bytes() == (shared / f"{mask}.png").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "cannot be read as a manifest"),
        ('[{"id": "x"}]', "every entry needs file, id, mask, source, tags"),
        (
            '[{"id": "x", "file": "../../secret.jpg", "mask": "m", "source": "s", "tags": []}]',
            "names a file outside its folder",
        ),
        (
            '[{"id": "x", "file": "\\u0000", "mask": "m", "source": "s", "tags": []}]',
            "cannot be read: no file can have this name",
        ),
    ],
    ids=["no_json", "lacking", "outside", "nul"],
)
def test_manifest_of_another_form_is_refused(shared: Path, tmp_path: Path, text: str, message: str) -> None:
    (shared / "everyday/manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        clean(shared, tmp_path / "clean", bright, LIST)


def test_portraits_alone_are_enough(shared: Path, tmp_path: Path) -> None:
    (shared / "everyday").rename(tmp_path / "elsewhere")
    assert clean(shared, tmp_path / "clean", bright, LIST) == (5, 2)


def test_photographs_that_the_list_does_not_know_are_refused(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold the photographs"):
        clean(shared, tmp_path / "clean", bright, read_corrections())
    assert not (tmp_path / "clean").exists()


def test_cleaning_that_is_interrupted_leaves_nothing(shared: Path, tmp_path: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean(shared, tmp_path / "clean", bright, LIST, on_image=interrupted)
    assert not list(tmp_path.glob("*clean*"))
    assert clean(shared, tmp_path / "clean", bright, LIST) == (8, 3)
    with pytest.raises(UsageError, match="already exists"):
        clean(shared, tmp_path / "clean", bright, LIST)


def test_what_the_chain_starts_from_is_checked_before_photographs_are_copied(
    cli, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise UsageError("The ImageNet weights are not installed.")

    monkeypatch.setattr("portrait_export.training.rebuild.packaged_lite", missing)
    ran = cli("rebuild", shared, "-o", tmp_path / "out")
    assert ran.code == 2
    assert "The ImageNet weights are not installed." in ran.err
    assert not (tmp_path / "out").exists()


def test_each_network_of_the_chain_starts_from_one_before_it(tmp_path: Path) -> None:
    configs = chain_configs(tmp_path / "data", tmp_path, backgrounds="walls", share=0.001)
    assert [config.model for config in configs] == list(CHAIN)
    for config in configs:
        before = [other.model for other in configs[: configs.index(config)]]
        assert config.init in ([""] if config.model == "sernet_former" else [IMAGENET, config.model, *before])
        assert config.teacher in ["", *before]
        assert config.steps < 20
        assert (config.data, config.augment.backgrounds) == (str(tmp_path / "data"), "walls")


def test_chain_trains_grows_and_stores_8_bit_steps_in_half_precision(shared: Path, tmp_path: Path) -> None:
    clean(shared, tmp_path / "clean", bright, LIST)
    configs = [
        replace(
            config,
            phases=(Phase(steps=2, size=32, batch=2),),
            every=1,
            workers=0,
            pictures=1,
            teacher="",
            loss=LossConfig(),
            optimizer=replace(config.optimizer, lr=1e-5),
        )
        for config in chain_configs(tmp_path / "clean", tmp_path)
        if config.model in ("segformer_b0", "serseg_b0_afn")
    ]
    files = train_chain(configs, tmp_path)
    assert [path.name for path in files] == ["segformer_b0.safetensors", "serseg_b0_afn.safetensors"]
    key = "decode_head.linear_c.0.proj.weight"
    for path in files:
        stored = load_file(path)
        net = create_model(path.stem)
        assert set(stored) == set(net.state_dict())
        assert all(t.dtype == torch.float16 for t in stored.values() if t.is_floating_point())
        assert torch.equal(stored[key], torch.eye(*stored[key].shape, dtype=torch.float16))
    small, grown = (load_file(tmp_path / path.stem / "best/model.safetensors") for path in files)
    # New channels come first, and had no weight when training began.
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
