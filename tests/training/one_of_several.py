"""Train in one of several launched processes, and record the batches and weights of this process.

Called by test_several_processes.py as: DATA OUT
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import lightning.pytorch as lightning

from portrait_export.models.registry import create_model
from portrait_export.training.config import LossConfig, Phase, TrainConfig
from portrait_export.training.fit import normalised, train


class Witness(lightning.Callback):
    """Hashes of the photographs of each step, and of the weights at the end."""

    def __init__(self) -> None:
        self.batches: list[str] = []
        self.weights = ""

    def on_train_batch_start(self, trainer, module, batch, index) -> None:
        self.batches.append(hashlib.sha256(batch["image"].numpy().tobytes()).hexdigest())

    def on_train_end(self, trainer, module) -> None:
        parts = (module.net, module.features, module.graft, module.head)
        tensors = [tensor.detach().numpy().tobytes() for part in parts for tensor in part.parameters()]
        self.weights = hashlib.sha256(b"".join(tensors)).hexdigest()


def main(data: str, out: str) -> None:
    config = TrainConfig(
        data=data,
        out=f"{out}/run",
        holdout=4,
        every=2,
        pictures=1,
        precision="32-true",
        phases=(Phase(steps=1, size=32, batch=2, graft=0.5, encoder_only=True), Phase(steps=1, size=32, batch=2)),
        teacher="lite0_fpn",
        loss=LossConfig(critic=0.1, features=0.5),
    )
    witness = Witness()
    teacher = normalised(create_model("lite0_fpn", seed=1), [0.5] * 3, [0.5] * 3)
    done = train(config, teacher=teacher, callbacks=[witness])
    record = {"first": done.first_process, "batches": witness.batches, "weights": witness.weights}
    Path(out, f"rank{os.environ['RANK']}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(*sys.argv[1:])
