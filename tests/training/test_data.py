"""Test that batches depend only on seed and step, and that crops keep photograph and mask aligned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.artifacts import Frame, LabelledFrame
from portrait_export.calibration.dataset import Item
from portrait_export.errors import DataError, PhotoError
from portrait_export.training.config import AugmentConfig, CompositeConfig, Phase, SourceConfig, TrainConfig
from portrait_export.training.data import CYCLE, Crops, Order, Pick, Picks, cut, divide, prepare

CONFIG = TrainConfig(phases=(Phase(steps=4, size=32, batch=3), Phase(steps=4, size=64, batch=2)), seed=7)


def named(count: int, split: str = "") -> list[Item]:
    return [Item(f"n{i}", Path(f"n{i}.png"), split=split) for i in range(count)]


def picks(count: int, **places: int) -> list[list[Pick]]:
    return list(Picks(CONFIG, Order(named(count), CONFIG.sources, CONFIG.seed), **places))


def test_picks_from_the_middle_are_the_tail_of_all_picks() -> None:
    whole = picks(5, start=0, stop=8)
    for start in range(9):
        assert picks(5, start=start, stop=8) == whole[start:]


def test_picks_follow_the_phases() -> None:
    batches = picks(5, start=0, stop=8)
    assert [len(batch) for batch in batches] == [3, 3, 3, 3, 2, 2, 2, 2]
    assert [batch[0].size for batch in batches] == [32] * 4 + [64] * 4


def test_picks_of_phases_that_take_turns_go_on_where_a_run_was_stopped() -> None:
    config = replace(
        CONFIG, phases=(Phase(steps=3, size=32, batch=3, turn=2), Phase(steps=3, size=64, batch=2, turn=1))
    )
    order = Order(named(5), config.sources, config.seed)
    whole = list(Picks(config, order, start=0, stop=6))
    assert [batch[0].size for batch in whole] == [32, 32, 64, 32, 64, 64]
    assert list(Picks(config, order, start=3, stop=6)) == whole[3:]
    flat = [pick.index for batch in whole for pick in batch]
    assert sorted(flat[:5]) == [0, 1, 2, 3, 4]


def test_every_pass_shows_every_photograph_once() -> None:
    flat = [pick.index for batch in picks(5, start=0, stop=8) for pick in batch]
    for start in range(0, 20, 5):
        assert sorted(flat[start : start + 5]) == [0, 1, 2, 3, 4]


def test_processes_share_out_the_photographs_of_a_step() -> None:
    one = picks(100, start=2, stop=7, rank=0, world=2)
    other = picks(100, start=2, stop=7, rank=1, world=2)
    seen = [pick.index for batch in (*one, *other) for pick in batch]
    assert len(set(seen)) == len(seen)
    assert len({pick.stream for batch in (*one, *other) for pick in batch}) == len(seen)


def test_split_by_name_keeps_photographs_in_their_split_when_others_are_added() -> None:
    few, many = divide(named(40), 10), divide(named(44), 10)
    assert len(few.val) == 4
    assert not set(few.val) & set(few.train)
    moved = {item.name for item in few.train} & {item.name for item in many.val}
    assert len(moved) <= 1


def test_folders_train_and_val_decide_where_there_are_any() -> None:
    split = divide([*named(3, "train"), *named(2, "val"), *named(2, "test")], 2)
    assert (len(split.train), len(split.val)) == (3, 2)


def test_excluded_photographs_are_neither_used_nor_checked(painted: Path, tmp_path: Path) -> None:
    (painted / "images/p1.png").write_bytes(b"broken")
    listed = tmp_path / "exclude.json"
    listed.write_text(json.dumps({"names": {"p1": "broken"}}))
    split = prepare(replace(CONFIG, data=str(painted), exclude=str(listed), holdout=4))
    names = {item.name for item in (*split.train, *split.val)}
    assert names == {f"p{i}" for i in range(8)} - {"p1"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"names": 3}'])
def test_exclude_file_of_another_kind_is_refused(painted: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(DataError, match="not a list of excluded photographs"):
        prepare(replace(CONFIG, data=str(painted), exclude=str(tmp_path / "e.json")))


def test_one_photograph_is_too_few(painted: Path) -> None:
    for path in [*painted.glob("*/p[1-7].png")]:
        path.unlink()
    with pytest.raises(DataError, match="1 photographs to train on and 0 to validate on"):
        prepare(replace(CONFIG, data=str(painted)))


def test_crop_is_the_same_for_the_same_stream_and_keeps_mask_on_photograph(painted: Path) -> None:
    split = prepare(replace(CONFIG, data=str(painted), holdout=4))
    crops = Crops(split, replace(CONFIG, augment=AugmentConfig(crop=0.4, jpeg=0.0)))
    pick = Pick(0, 32, (0, 1, 2))
    first, again, other = crops[pick], crops[pick], crops[replace(pick, stream=(0, 1, 3))]
    assert first["image"].shape == (3, 32, 32)
    assert first["mask"].shape == (1, 32, 32)
    assert bool((first["image"] == again["image"]).all())
    assert not bool((first["image"] == other["image"]).all())
    # Painted people are bright, backgrounds dark, so the photograph itself says where the mask must be.
    bright = first["image"].float().mean(0, keepdim=True) > 0.5 * 255
    assert float((bright == (first["mask"] > 0.5)).float().mean()) > 0.9


def test_cut_takes_the_named_box() -> None:
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    mask = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    part = cut(LabelledFrame(Frame(image, depth=mask), mask), (1, 2, 5, 6), 4)
    assert np.array_equal(part.frame.image, image[1:5, 2:6])
    assert part.mask is not None
    assert np.array_equal(part.mask, mask[1:5, 2:6])
    assert np.array_equal(part.frame.depth, mask[1:5, 2:6])


def test_photographs_are_decoded_once_if_memory_allows(painted: Path) -> None:
    split = prepare(replace(CONFIG, data=str(painted), holdout=4))
    fits_two = 2 * 64 * 64 * (3 + 4)  # bytes of two photographs with their float masks
    crops, forgetful = (Crops(split, replace(CONFIG, memory=0)) for _ in range(2))
    crops.memory = fits_two
    crops.keep()
    forgetful.keep()
    places = [Pick(index, 32, (0, 1, index)) for index in range(len(split.train))]
    before = [forgetful[pick]["image"] for pick in places]
    assert all(bool((crops[pick]["image"] == image).all()) for pick, image in zip(places, before, strict=True))
    for item in split.train:
        item.image.unlink()
    kept = []
    for pick, image in zip(places, before, strict=True):
        try:
            kept.append(bool((crops[pick]["image"] == image).all()))
        except PhotoError:
            kept.append(False)
    assert sum(kept) == 2


def kinds(*counts: int) -> list[Item]:
    return [Item(f"{kind}/n{i}", Path("x")) for kind, count in zip("abc", counts, strict=False) for i in range(count)]


def test_sources_appear_in_proportion_to_their_weights_not_their_sizes() -> None:
    items = kinds(3, 50)
    order = Order(items, (SourceConfig("a/*", weight=3), SourceConfig("b/*", weight=1)), seed=1)
    names = [items[order.photograph(place)].name for place in range(10 * CYCLE)]
    assert sum(name.startswith("a/") for name in names) == 10 * CYCLE * 3 // 4
    few, many = ([name for name in names if name.startswith(kind)] for kind in "ab")
    for start in range(0, len(few) - 3, 3):
        assert len(set(few[start : start + 3])) == 3
    for start in range(0, len(many) - 50, 50):
        assert len(set(many[start : start + 50])) == 50


def test_photograph_belongs_only_to_the_first_source_that_it_matches() -> None:
    items = kinds(2, 2, 2)
    order = Order(items, (SourceConfig("a/*", weight=0), SourceConfig("[ab]/*", weight=1)), seed=0)
    assert {items[order.photograph(place)].name[0] for place in range(100)} == {"b"}
    with pytest.raises(DataError, match="weight above 0"):
        Order(items, (SourceConfig("z/*"),), seed=0)


def scenes(painted: Path) -> TrainConfig:
    """The painted portraits, two of them without anyone, and composites all the time."""
    for name in ("p6", "p7"):
        path = painted / f"masks/{name}.png"
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(path)
        Image.fromarray(np.full((64, 64, 3), 20, np.uint8)).save(painted / f"images/{name}.png")
    composite = CompositeConfig(share=1.0, match_light=0.0, shadow=0.0, crowd=0.0)
    return replace(CONFIG, data=str(painted), holdout=4, composite=composite)


def test_composites_show_people_of_the_photographs_where_the_mask_says(painted: Path) -> None:
    config = scenes(painted)
    crops = Crops(prepare(config), replace(config, augment=AugmentConfig(jpeg=0.0)))
    shares, agreements = [], []
    for stream in range(40):
        place = crops[Pick(0, 64, (0, stream, 0))]
        again = crops[Pick(3, 64, (0, stream, 0))]
        assert all(bool((place[name] == again[name]).all()) for name in place)
        person = place["mask"][0] > 0.5
        shares.append(float(person.float().mean()))
        # Pasted people are bright, the scenes are 20 of 255.
        agreements.append(float(((place["image"].float().mean(0) > 127) == person).float().mean()))
    assert sum(share == 0 for share in shares) in range(2, 20)  # some scenes are without anyone
    assert max(shares) > 0.2
    assert np.mean(agreements) > 0.95


def test_cutouts_are_made_once_if_memory_allows(painted: Path) -> None:
    config = scenes(painted)
    split = prepare(config)
    crops, forgetful = (Crops(split, replace(config, memory=memory)) for memory in (64, 0))
    crops.keep()
    forgetful.keep()
    places = [Pick(index, 64, (0, 1, index)) for index in range(len(split.train))]
    before = [forgetful[pick]["image"] for pick in places]
    for item in split.train:
        item.image.unlink()
    assert all(bool((crops[pick]["image"] == image).all()) for pick, image in zip(places, before, strict=True))
    with pytest.raises(PhotoError):
        forgetful[places[0]]


def test_cutouts_of_a_folder_are_pasted_and_broken_ones_refused_before_training(painted: Path) -> None:
    config = scenes(painted)
    config = replace(config, composite=replace(config.composite, cutouts="cut", rendered=1.0, people=(0.0, 1.0)))
    with pytest.raises(DataError, match="holds no cut-outs"):
        prepare(config)
    (painted / "cut").mkdir()
    magenta = np.zeros((30, 20, 4), np.uint8)
    magenta[2:28, 3:17] = (255, 0, 255, 255)
    Image.fromarray(magenta).save(painted / "cut/one.png")
    crops = Crops(prepare(config), replace(config, augment=AugmentConfig(jpeg=0.0)))
    image = np.concatenate([crops[Pick(0, 64, (0, stream, 0))]["image"].numpy() for stream in range(8)], 2)
    assert ((image[0] > 180) & (image[1] < 60) & (image[2] > 180)).mean() > 0.02
    Image.fromarray(magenta[..., :3]).save(painted / "cut/opaque.png")
    with pytest.raises(DataError) as caught:
        prepare(config)
    assert "no alpha channel" in "\n".join(caught.value.context)


def test_quarter_turns_turn_photograph_and_mask(painted: Path) -> None:
    split = prepare(replace(CONFIG, data=str(painted), holdout=4))
    still, turned = (
        Crops(split, replace(CONFIG, augment=AugmentConfig(crop=1.0, turn=turn, jpeg=0.0))) for turn in (0.0, 1.0)
    )
    pick = Pick(0, 32, (0, 4, 2))
    one, other = still[pick], turned[pick]
    turns = [k for k in (1, 2, 3) if bool((one["mask"].rot90(k, (1, 2)) == other["mask"]).all())]
    assert len(turns) == 1
    assert bool((one["image"].rot90(turns[0], (1, 2)) == other["image"]).all())
