"""Measure how much each way to store a weight changes the masks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExecutionError
from ..utils.files import write_json
from ..utils.version import code_sha256

if TYPE_CHECKING:
    from ..artifacts import LabelledFrame
    from ..quantize.knapsack import Option
    from ..quantize.sensitivity import Encoder
    from ..utils.stages import RunningStage

SUMS = 2  # random sums of P(person) for each photograph
GRADIENT_PHOTOGRAPHS = 12
MAX_CACHE_BYTES = 1 << 24
CACHE = "sensitivities.json"
CODE = ("mil", "quantize", "runtime", "verify", "workflows")  # what decides a package's bytes, its masks, and their IoU
BY_GRADIENTS = "gradients of the masks"
BY_OUTPUTS = "changes of the layers' outputs alone"


@dataclass(frozen=True)
class Trial:
    """A choice that was tried.

    Attributes:
        size_bytes: of its package.
        iou: the lowest mean mask IoU of a kind of photographs that were not fitted.
        passed: whether every gate on them did.
    """

    size_bytes: int
    iou: float
    passed: bool


@dataclass
class Measured:
    """The content of the file.

    Attributes:
        key: SHA-256 of all that it depends on.
        method: `BY_GRADIENTS`, or `BY_OUTPUTS` where a network has none.
        options: of each weight, for the knapsack.
        trials: by the SHA-256 of the choice.
    """

    key: str
    method: str = ""
    options: dict[str, list[Option]] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    file: Path | None = None

    def save(self) -> None:
        """Write the file."""
        if self.file is not None:
            trials = {name: asdict(trial) for name, trial in self.trials.items()}
            options = {name: [asdict(option) for option in row] for name, row in self.options.items()}
            content = {"key": self.key, "method": self.method, "options": options, "trials": trials}
            write_json(self.file, content)


def key_of(*parts: object) -> str:
    """SHA-256 of plain values and of the code that computes what is kept for them."""
    return hashlib.sha256(json.dumps([code_sha256(*CODE), *parts], sort_keys=True).encode()).hexdigest()


def digest_of(choice: Mapping[str, Option]) -> str:
    """SHA-256 of a choice."""
    return key_of({name: option.name for name, option in choice.items()})


def open_cache(file: Path, key: str, weights: Collection[str]) -> Measured:
    """What a file holds for this key; nothing if it is missing, damaged or of another network, target or photographs.

    Args:
        weights: for all of which it must have options.
    """
    empty = Measured(key, file=file)
    try:
        if file.stat().st_size > MAX_CACHE_BYTES:
            return empty
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["key"] != key or data["method"] not in (BY_GRADIENTS, BY_OUTPUTS):
            return empty
        found = Measured(key, data["method"], _options(data["options"]), _trials(data["trials"]), file)
        return found if found.options.keys() == set(weights) else empty
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return empty


def _options(data: Any) -> dict[str, list[Option]]:
    from ..quantize.knapsack import Option
    from ..quantize.sensitivity import CANDIDATES

    options = {
        str(name): [Option(str(one["name"]), int(one["size_bytes"]), float(one["error"])) for one in row]
        for name, row in data.items()
    }
    for row in options.values():
        if not row or not all(one.name in CANDIDATES and one.size_bytes >= 0 and one.error >= 0 for one in row):
            raise ValueError("an option that cannot be")
    return options


def _trials(data: Any) -> dict[str, Trial]:
    return {
        str(name): Trial(int(row["size_bytes"]), float(row["iou"]), bool(row["passed"])) for name, row in data.items()
    }


def by_gradients(
    stage: RunningStage,
    package: Path,
    logits: str,
    encoder: Encoder,
    candidates: Mapping[str, Sequence[str]],
    frames: Sequence[LabelledFrame],
) -> dict[str, dict[str, float]]:
    """The mean over photographs of the squared change of P(person), summed over pixels, to first order.

    Raises:
        ExecutionError: the program cannot be differentiated, or its masks depend on no weight.
    """
    import torch

    from ..quantize.sensitivity import NONE
    from ..runtime.runner import PackageRunner
    from ..runtime.weight_gradients import MaskGradients

    choices = {name: [one for one in names if one != NONE] for name, names in candidates.items()}
    choices = {name: names for name, names in choices.items() if names}
    changes = {
        name: torch.stack([torch.from_numpy(encoder.change(name, one)) for one in names])
        for name, names in choices.items()
    }
    runner, gradients = PackageRunner(package), MaskGradients(package, list(choices), logits)
    sums = {name: torch.zeros(len(names), dtype=torch.float64) for name, names in choices.items()}
    for done in range(len(frames)):
        stage.progress(done, len(frames))
        for found in gradients.of(runner.inputs_of(frames[done].frame), SUMS):
            for name, gradient in found.items():
                sums[name] += (changes[name] @ gradient.flatten()).double() ** 2
    if not all(bool(total.isfinite().all()) for total in sums.values()) or not any(
        bool(s.any()) for s in sums.values()
    ):
        raise ExecutionError("The masks have no finite gradient by the weights.")
    count = SUMS * len(frames)
    return {name: dict(zip(names, (sums[name] / count).tolist(), strict=True)) for name, names in choices.items()}


def by_outputs(encoder: Encoder, candidates: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """The share of each layer's output energy that rounding changes."""
    from ..quantize.sensitivity import NONE

    return {
        name: {one: encoder.share_of_output(name, one) for one in names if one != NONE}
        for name, names in candidates.items()
    }
