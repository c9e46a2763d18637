"""Which photograph comes when is a function of seed and step; crops keep photograph and mask together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait_export.artifacts import Frame, LabelledFrame
from portrait_export.calibration.dataset import Item
from portrait_export.errors import DataError, PhotoError
from portrait_export.training.config import AugmentConfig, Phase, TrainConfig
from portrait_export.training.data import Crops, Pick, Picks, cut, divide, prepare

CONFIG = TrainConfig(phases=(Phase(steps=4, size=32, batch=3), Phase(steps=4, size=64, batch=2)), seed=7)


def named(count: int, split: str = "") -> list[Item]:
    return [Item(f"n{i}", Path(f"n{i}.png"), split=split) for i in range(count)]


def test_picks_from_the_middle_are_the_tail_of_all_picks() -> None:
    whole = list(Picks(CONFIG, 5, start=0, stop=8))
    for start in range(9):
        assert list(Picks(CONFIG, 5, start=start, stop=8)) == whole[start:]


def test_picks_follow_the_phases() -> None:
    batches = list(Picks(CONFIG, 5, start=0, stop=8))
    assert [len(batch) for batch in batches] == [3, 3, 3, 3, 2, 2, 2, 2]
    assert [batch[0].size for batch in batches] == [32] * 4 + [64] * 4


def test_every_pass_shows_every_photograph_once() -> None:
    flat = [pick.index for batch in Picks(CONFIG, 5, start=0, stop=8) for pick in batch]
    for start in range(0, 20, 5):
        assert sorted(flat[start : start + 5]) == [0, 1, 2, 3, 4]


def test_processes_share_out_the_photographs_of_a_step() -> None:
    one = list(Picks(CONFIG, 100, start=2, stop=7, rank=0, world=2))
    other = list(Picks(CONFIG, 100, start=2, stop=7, rank=1, world=2))
    seen = [pick.index for batch in (*one, *other) for pick in batch]
    assert len(set(seen)) == len(seen)
    assert len({pick.stream for batch in (*one, *other) for pick in batch}) == len(seen)


def test_division_by_name_keeps_photographs_on_their_side_when_others_come() -> None:
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
    crops = Crops(split.train, AugmentConfig(crop=0.4))
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


def test_photographs_are_decoded_once_as_far_as_memory_goes(painted: Path) -> None:
    split = prepare(replace(CONFIG, data=str(painted), holdout=4))
    fits_two = 2 * 64 * 64 * (3 + 4)  # bytes of two photographs with their float masks
    crops, forgetful = (Crops(split.train, AugmentConfig(), memory=memory) for memory in (fits_two, 0))
    crops.keep()
    forgetful.keep()
    picks = [Pick(index, 32, (0, 1, index)) for index in range(len(split.train))]
    before = [forgetful[pick]["image"] for pick in picks]
    assert all(bool((crops[pick]["image"] == image).all()) for pick, image in zip(picks, before, strict=True))
    for item in split.train:
        item.image.unlink()
    kept = []
    for pick, image in zip(picks, before, strict=True):
        try:
            kept.append(bool((crops[pick]["image"] == image).all()))
        except PhotoError:
            kept.append(False)
    assert sum(kept) == 2
