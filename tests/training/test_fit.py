"""Test that a run learns, resumes to the same weights after being killed, and reports problems before it starts."""

from __future__ import annotations

import contextlib
import csv
import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as lightning
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from portrait_export.errors import CheckpointError, DataError, TrainingError
from portrait_export.models.config import SersegConfig
from portrait_export.models.registry import create_model, model_spec
from portrait_export.models.serseg import Serseg
from portrait_export.training.config import AugmentConfig, LossConfig, OptimizerConfig, Phase, TrainConfig
from portrait_export.training.data import prepare
from portrait_export.training.fit import normalised, train
from portrait_export.training.folder import claim, save_checkpoint
from portrait_export.training.run import Run
from portrait_export.training.start import Start, start_from
from portrait_export.training.validation import measured, validation_numbers

ALL_LOSSES = LossConfig(bce=0.8, dice=0.2, crf=0.1, critic=0.01, distill=0.1, features=0.2)


def small(data: Path, out: Path, **changes) -> TrainConfig:
    """Six steps at 32 pixels with a validation every second one."""
    config = TrainConfig(
        data=str(data),
        out=str(out),
        holdout=4,
        every=2,
        average=0.5,
        pictures=2,
        phases=(Phase(steps=3, size=32, batch=2), Phase(steps=3, size=64, batch=2)),
        optimizer=OptimizerConfig(lr=3e-3, warmup=1),
        deterministic=True,
    )
    return replace(config, **changes)


class Killed(BaseException):
    """Simulates a signal that allows no cleanup."""


class KillAt(lightning.Callback):
    """Ends the process's work in the middle of a step."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, run, *_) -> None:
        if int(run.step) == self.step:
            raise Killed


class Keep(lightning.Callback):
    """Keeps the network's tensors after each step, by the number of steps done."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, torch.Tensor]] = {}

    def on_train_batch_end(self, trainer, run, *_) -> None:
        self.seen[int(run.step)] = {name: tensor.clone() for name, tensor in run.net.state_dict().items()}


def test_run_killed_between_validations_ends_with_the_weights_of_the_unbroken_run(
    painted: Path, tmp_path: Path
) -> None:
    teacher = create_model("segformer_b0", seed=5)
    phases = (Phase(steps=3, size=32, batch=2, graft=0.7, encoder_only=True), Phase(steps=3, size=64, batch=2))
    muon = OptimizerConfig(kind="muon", lr=3e-3, warmup=1)
    whole = small(painted, tmp_path / "whole", loss=ALL_LOSSES, teacher="given", phases=phases, optimizer=muon)
    unbroken = train(whole, teacher=teacher)
    broken = replace(whole, out=str(tmp_path / "broken"))
    with pytest.raises(Killed):
        train(broken, teacher=teacher, callbacks=[KillAt(3)])
    resumed = train(broken, teacher=teacher)
    assert (unbroken.resumed_at, resumed.resumed_at) == (0, 2)
    assert unbroken.steps == resumed.steps == 6
    one, other = (torch.load(Path(c.out) / "last.ckpt", weights_only=True) for c in (whole, broken))
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, other["state_dict"][name]), name
    assert (Path(whole.out) / "log.csv").read_text() == (Path(broken.out) / "log.csv").read_text()


class InterruptAt(lightning.Callback):
    """Presses Ctrl-C, or sends another signal, in the middle of a step."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGINT):
        self.step, self.number = step, number

    def on_train_batch_end(self, trainer, run, *_) -> None:
        if int(run.step) == self.step:
            signal.raise_signal(self.number)


def test_an_interrupted_run_raises_and_leaves_the_handler_of_ctrl_c(painted: Path, tmp_path: Path) -> None:
    """Lightning ignores Ctrl-C from then on, and exits with 1."""
    config, before = small(painted, tmp_path / "out"), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(config, callbacks=[InterruptAt(1)])
    assert str(caught.value) == ""  # there is nothing to resume yet
    with pytest.raises(KeyboardInterrupt, match=r"^the same command resumes at the last validation$"):
        train(config, callbacks=[InterruptAt(3)])
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt, match=r"^the same command without `fresh=True` resumes"):
        train(config, resume=False, callbacks=[InterruptAt(3)])
    assert train(config).resumed_at == 2


def test_an_exit_of_another_kind_is_no_interruption(painted: Path, tmp_path: Path) -> None:
    class Exit(lightning.Callback):
        def on_train_batch_end(self, *_) -> None:
            sys.exit(7)

    with pytest.raises(SystemExit, match="7"):
        train(small(painted, tmp_path / "out"), callbacks=[Exit()])


def test_starting_over_forgets_the_state_of_the_run_before(painted: Path, tmp_path: Path) -> None:
    config = small(painted, tmp_path / "out")
    train(config)
    with pytest.raises(Killed):
        train(config, resume=False, callbacks=[KillAt(1)])
    assert train(config).resumed_at == 0


def test_the_best_moment_is_known_after_a_resumed_run(painted: Path, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    config = small(painted, tmp_path / "out")
    with pytest.raises(Killed):
        train(config, on_row=rows.append, callbacks=[KillAt(3)])
    done = train(config, on_row=rows.append)
    best = max(rows, key=lambda row: row["iou"])
    assert (done.best_step, done.iou) == (best["step"], pytest.approx(best["iou"]))
    state = torch.load(tmp_path / "out/last.ckpt", weights_only=True)
    del state["state_dict"]["best_step"]  # as earlier versions wrote it
    torch.save(state, tmp_path / "out/last.ckpt")
    assert (train(config).best_step, train(config).iou) == (None, done.iou)


def test_run_learns_painted_portraits_and_writes_its_files(painted: Path, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    config = small(
        painted,
        tmp_path / "out",
        every=20,
        phases=(Phase(steps=60, size=32, batch=4),),
        augment=AugmentConfig(replace=0.2, rotate=0, scale=1.1, colour=0.1, crop=0.8),
    )
    done = train(config, on_row=rows.append)
    assert done.iou > 0.7
    assert done.iou > done.iou_first - 1e-9
    assert [row["step"] for row in rows] == [20, 40, 60]
    with (tmp_path / "out/log.csv").open() as file:
        logged = list(csv.DictReader(file))
    assert [float(row["iou"]) for row in logged] == [row["iou"] for row in rows]
    assert list((tmp_path / "out/tensorboard").glob("events*"))
    with Image.open(tmp_path / "out/pictures/0000060.png") as sheet:
        assert sheet.size == (3 * 160, 2 * 160)
    net = create_model("segformer_b0", seed=9)
    assert start_from(net, Start(load_file(done.best / "model.safetensors")), source="best") == []


@pytest.mark.parametrize("dropout", [True, False], ids=["as_the_network_has_it", "off"])
def test_dropout_of_the_network_can_be_turned_off(painted: Path, tmp_path: Path, *, dropout: bool) -> None:
    config = small(painted, tmp_path / "out", dropout=dropout)
    net = Run(config, model_spec("segformer_b0"), prepare(config)).net.train()
    image = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    assert torch.equal(net(image), net(image)) is not dropout


def test_decoder_rests_while_the_encoder_warms_up(painted: Path, tmp_path: Path) -> None:
    """It keeps its weights, and `best` waits for it."""
    alone = Phase(steps=4, size=64, batch=4, encoder_only=True)
    config = small(painted, tmp_path / "out", phases=(alone, Phase(steps=2, size=64, batch=4)))
    best: list[bool] = []
    keep = Keep()
    train(config, on_row=lambda row: best.append((tmp_path / "out/best").exists()), callbacks=[keep])
    seen = keep.seen

    def moved(start: int, end: int) -> set[bool]:
        """Whether tensors of the encoder moved; all others are of the decoder."""
        return {".encoder." in name for name in seen[start] if not torch.equal(seen[start][name], seen[end][name])}

    assert moved(1, 4) == {True}
    assert moved(4, 6) == {True, False}
    assert best == [False, True, True]  # the validation after step 4 is of the whole network


def test_while_the_encoder_warms_up_masks_come_from_its_deepest_map(painted: Path, tmp_path: Path) -> None:
    alone = Phase(steps=2, size=64, batch=4, encoder_only=True)
    config = small(painted, tmp_path / "out", phases=(alone, Phase(steps=2, size=64, batch=4)))
    run = Run(config, model_spec("segformer_b0"), prepare(config))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sizes = []
    for step in (0, 1, 2):
        run.step.fill_(step)
        sizes.append(run._forward(run.average, image, {}).shape[2:])
    assert sizes == [(2, 2), (2, 2), (16, 16)]


def test_frozen_norms_of_the_encoder_keep_their_statistics(painted: Path, tmp_path: Path) -> None:
    phases = (Phase(steps=1, size=32, batch=1), Phase(steps=1, size=32, batch=1, frozen_norms=True))
    config = small(painted, tmp_path / "out", model="sernet_former", phases=phases, every=2)
    keep = Keep()
    train(config, callbacks=[keep])
    start, live, frozen = create_model("sernet_former").state_dict(), keep.seen[1], keep.seen[2]

    def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], kind: str) -> set[bool]:
        """Whether tensors of that kind moved in the encoder (True) and in the decoder (False)."""
        return {"encoder." in name for name in before if kind in name and not torch.equal(before[name], after[name])}

    assert moved(start, live, "running_") == {True, False}
    assert moved(live, frozen, "running_") == {False}
    assert moved(live, frozen, "bn.weight") >= {True}


def test_frozen_norms_of_an_encoder_without_any_are_refused(painted: Path, tmp_path: Path) -> None:
    frozen = Phase(steps=1, size=32, batch=1, frozen_norms=True)
    config = small(painted, tmp_path / "out", model="segformer_b0", phases=(frozen,))
    with pytest.raises(TrainingError, match="the encoder of segformer_b0 has none"):
        train(config)


def test_finished_run_called_again_does_nothing(painted: Path, tmp_path: Path) -> None:
    config = small(painted, tmp_path / "out", phases=(Phase(steps=2, size=32, batch=2),))
    first = train(config)
    again = train(config)
    assert again.steps == first.steps == 2
    assert again.iou == first.iou


def test_folder_of_another_run_is_not_mixed_with_this_one(painted: Path, tmp_path: Path) -> None:
    config = small(painted, tmp_path / "out", phases=(Phase(steps=2, size=32, batch=2),))
    train(config)
    with pytest.raises(TrainingError, match="another configuration") as caught:
        train(replace(config, seed=1))
    assert "seed: was 0, is 1" in str(caught.value)
    assert train(replace(config, seed=1), resume=False).steps == 2


def test_finished_run_is_prolonged_by_more_steps_and_phases(painted: Path, tmp_path: Path) -> None:
    first = Phase(steps=2, size=32, batch=2)
    config = small(painted, tmp_path / "out", phases=(first,))
    train(config)
    longer = train(replace(config, phases=(replace(first, steps=4), Phase(steps=2, size=64, batch=2))))
    assert (longer.resumed_at, longer.steps) == (2, 6)


SHORTENED = {
    "a_last_stretch_that_was_cut_short": (Phase(steps=5, size=32, batch=2),),
    "fewer_steps": (Phase(steps=1, size=32, batch=2),),
    "another_size": (Phase(steps=4, size=64, batch=2),),
    "another_phase_first": (Phase(steps=2, size=64, batch=2), Phase(steps=2, size=32, batch=2)),
}


@pytest.mark.parametrize("name", SHORTENED)
def test_what_does_not_prolong_a_run_is_another_configuration(tmp_path: Path, name: str) -> None:
    steps = 3 if name.startswith("a_last") else 2
    config = TrainConfig(out=str(tmp_path), every=2, phases=(Phase(steps=steps, size=32, batch=2),))
    claim(tmp_path, config, resuming=False)
    with pytest.raises(TrainingError, match="another configuration"):
        claim(tmp_path, replace(config, phases=SHORTENED[name]), resuming=True)


@pytest.mark.parametrize(("steps", "goes_on"), [((6, 2), True), ((4, 4), False)])
def test_turns_prolong_a_run_if_what_is_done_stays_as_it_is(
    tmp_path: Path, steps: tuple[int, int], goes_on: bool
) -> None:
    def turns(small: int, large: int) -> TrainConfig:
        phases = (Phase(steps=small, size=32, batch=2, turn=1), Phase(steps=large, size=64, batch=2, turn=1))
        return TrainConfig(out=str(tmp_path), every=2, phases=phases)

    claim(tmp_path, turns(4, 2), resuming=False)
    with contextlib.nullcontext() if goes_on else pytest.raises(TrainingError, match="another configuration"):
        claim(tmp_path, turns(*steps), resuming=True)


def test_every_fault_of_the_data_is_reported_before_training(painted: Path, tmp_path: Path) -> None:
    (painted / "images/p1.png").write_bytes(b"broken")
    (painted / "masks/p2.png").unlink()
    Image.new("L", (32, 16)).save(painted / "masks/p3.png")
    with pytest.raises(DataError, match="3 faults") as caught:
        train(small(painted, tmp_path / "out"))
    text = str(caught.value)
    assert "p1.png" in text
    assert "images/p2.png: nothing for it in masks" in text
    assert "p3.png is 32x16 pixels" in text
    assert not (tmp_path / "out").exists()


def test_photographs_without_masks_are_refused(painted: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 faults") as caught:
        train(small(painted / "images", tmp_path / "out"))
    assert "it has no mask" in str(caught.value)


def test_depth_model_without_depth_maps_is_refused(painted: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="8 photographs have none"):
        train(small(painted, tmp_path / "out", model="serseg_b0_abg_dbn_depth"))


def test_diverged_run_is_reported(painted: Path, tmp_path: Path) -> None:
    config = small(painted, tmp_path / "out", optimizer=OptimizerConfig(lr=1e30, warmup=1, clip=1e30))
    with pytest.raises(TrainingError, match="diverged"):
        train(config)


class KillsWorkers(lightning.Callback):
    """Kills the processes that prepare photographs, as a system that runs out of memory does."""

    def on_train_batch_start(self, trainer, module, batch, index) -> None:
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)


def test_killed_worker_is_reported_as_killed(painted: Path, tmp_path: Path) -> None:
    config = small(painted, tmp_path / "out", workers=1, every=50, phases=(Phase(steps=50, size=32, batch=2),))
    with pytest.raises(TrainingError, match="died: it was killed or ran out of memory") as caught:
        train(config, callbacks=[KillsWorkers()])
    assert "lower `workers`" in caught.value.hint


def test_serseg_starts_from_a_segformers_encoder_and_fusion() -> None:
    teacher, net = create_model("segformer_b0", seed=1), create_model("serseg_b0", seed=2)
    random = start_from(net, Start.of(teacher), source="segformer")
    key = "encoder.block.0.0.mlp.dense1.weight"
    assert torch.equal(net.state_dict()[f"sersegformer.{key}"], teacher.state_dict()[f"segformer.{key}"])
    assert torch.equal(net.decode_head.linear_fuse.weight, teacher.decode_head.linear_fuse.weight)
    assert all("upsample" in name or "classifier" in name for name in random)


def test_network_without_encoder_starts_only_from_its_own_checkpoint() -> None:
    with pytest.raises(CheckpointError, match="no encoder to start from"):
        start_from(create_model("sernet_former"), Start.of(create_model("segformer_b0")), source="s")


def test_gates_without_tensors_are_known_by_the_network() -> None:
    """The tensors of a SERSeg with and without AbG have the same names; only with the same gates they are its own."""
    gated, plain = (Serseg(SersegConfig(abg=abg, upsample=False)) for abg in (True, False))
    given = {key: value.clone() for key, value in gated.state_dict().items()}
    key = "sersegformer.encoder.block.0.0.mlp.dense2.weight"
    assert start_from(plain, Start.of(gated), source="gated") == []
    assert torch.equal(plain.state_dict()[key], given[key] * 2)
    assert start_from(gated, Start(given, abg=True), source="gated") == []
    assert torch.equal(gated.state_dict()[key], given[key])


def test_saved_half_precision_weights_are_the_rounded_ones(tmp_path: Path) -> None:
    net = create_model("segformer_b0")
    save_checkpoint(net, model_spec("segformer_b0"), tmp_path, half=True)
    stored = load_file(tmp_path / "model.safetensors")
    name = "decode_head.linear_fuse.weight"
    assert stored[name].dtype == torch.float16
    assert torch.equal(stored[name], net.state_dict()[name].half())


def test_validation_numbers_per_photograph_source_and_set() -> None:
    logits, mask = torch.full((4, 1, 2, 2), -3.0), torch.zeros(4, 1, 2, 2)
    logits[0] = 3
    mask[0, 0, 0] = 1  # half of what is predicted: 2 of 4
    mask[1, 0, 0, 0] = 0.4  # under one half is background, so both are empty
    logits[2, 0, 0, 0], mask[2, 0, 0, 0] = 0.5, 1
    logits[3, 0, 0, 0] = 3  # a person where nobody is
    numbers = validation_numbers(measured(logits, mask), ["faces", "streets", "faces", "streets"])
    assert numbers == {
        "iou": pytest.approx((0.75 + 0.5) / 2),
        "iou_worst": 0.0,
        "iou_set": pytest.approx(3 / 6),
        "haze": pytest.approx(1 / 16),
        "false_person": 0.5,
        "faces": pytest.approx((0.5 + 1) / 2),
        "streets": pytest.approx(0.5),
    }
    assert set(validation_numbers(measured(logits, mask), ["*"] * 4)) == set(numbers) - {"faces", "streets"}


def test_missing_a_person_entirely_scores_zero() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0] = 1
    numbers = validation_numbers(measured(torch.full((1, 1, 4, 4), -5.0), mask), ["*"])
    assert (numbers["iou"], numbers["false_person"]) == (0.0, 0.0)


def test_teacher_normalises_its_input() -> None:
    image = torch.rand(1, 3, 4, 4)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    expected = (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(normalised(torch.nn.Identity(), mean, std)(image), expected)


def test_average_has_the_statistics_that_belong_to_its_weights(painted: Path, tmp_path: Path) -> None:
    config = small(painted, tmp_path / "out", model="lite0_fpn", average=0.9)
    train(config)
    state = torch.load(tmp_path / "out/last.ckpt", weights_only=True)["state_dict"]
    means = [name for name in state if name.startswith("net.") and name.endswith("running_mean")]
    apart = [name for name in means if not torch.equal(state[name], state[f"average.{name.removeprefix('net.')}"])]
    assert len(apart) == len(means)
