"""Let the stages of an encoder read another network's feature maps while they learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from .augment import seeded
from .features import PROBE, FeatureLoss, encoder_of, probe, set_to_ridge


class Graft(nn.Module):
    """Gives stages of the student's encoder the teacher's map in place of the map of the stage before.

    Deep stages then learn from good maps at once, not from what unfinished stages make (Shen et al., Progressive
    Network Grafting for Few-Shot Knowledge Distillation, AAAI 2021). In later phases fewer and fewer images are
    grafted, so that stages learn to read one another (Bengio et al., Scheduled Sampling, NeurIPS 2015).

    The teacher's channels become the student's by a linear map per stride, which learns with the networks. The student
    itself is unchanged: outside `reading` it computes what it always does.

    Args:
        student: its encoder has a module for each stage that takes the map of the stage before, as it is.
        features: of the same student and its teacher.
        seed: of the linear maps.
    Raises:
        TrainingError: no stage of the student reads a map of a stride that the teacher has, too.
    """

    def __init__(self, student: nn.Module, features: FeatureLoss, *, seed: int = 0):
        super().__init__()
        readers = _readers(student, features)
        strides = [stride for stride in readers if str(stride) in features.projections]
        if not strides:
            raise TrainingError(
                "No stage of the model's encoder reads a map that the teacher has, too.",
                context=[f"strides of the maps that are read: {sorted(readers)}"],
                hint="set `graft` to 0 in every phase.",
            )
        with seeded((seed, 0), torch.device("cpu")):
            self.embeddings = nn.ModuleDict(
                {str(s): nn.Conv2d(features.channels_told[s], features.channels[s], 1) for s in strides}
            )
        self._told: dict[str, Tensor] = {}
        self._share = 0.0
        for stride in strides:
            readers[stride].register_forward_pre_hook(partial(self._read, str(stride)))

    @contextmanager
    def reading(self, told: dict[str, Tensor], share: float) -> Iterator[None]:
        """Inside the block each stage reads the teacher's map for a random `share` of the images, drawn per stage.

        Args:
            told: the teacher's standardised maps of these images, from `FeatureLoss.told`.
        """
        self._told, self._share = told, share
        try:
            yield
        finally:
            self._told, self._share = {}, 0.0

    @torch.no_grad()
    def fit(self, features: FeatureLoss, side: int) -> None:
        """Set the linear maps to those that explain the most of the student's maps (ridge regression).

        Both networks have just run on the same images, ungrafted.
        """
        maps = features.maps(side)
        for stride, told in features.told(side).items():
            if stride in self.embeddings:
                set_to_ridge(self.embeddings[stride], told, maps[int(stride)])

    def _read(self, stride: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if stride not in self._told:
            return None
        own, *rest = inputs
        chosen = torch.rand(len(own), 1, 1, 1, device=own.device) < self._share
        return (torch.where(chosen, self.embeddings[stride](self._told[stride]).to(own.dtype), own), *rest)


def _readers(student: nn.Module, features: FeatureLoss) -> dict[int, nn.Module]:
    """{stride: the module of the encoder that takes the map of that stride}; the outermost, if it has parts."""
    encoder = encoder_of(student, "the model")
    calls: list[tuple[nn.Module, Tensor]] = []

    def called(module: nn.Module, inputs: tuple[object, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            calls.append((module, inputs[0]))

    hooks = [part.register_forward_pre_hook(called) for part in encoder.modules() if part is not encoder]
    probe(student)
    for hook in hooks:
        hook.remove()
    readers: dict[int, nn.Module] = {}
    for stride, x in features.maps(PROBE).items():
        for module, read in calls:
            if read is x:
                readers.setdefault(stride, module)
    return readers
