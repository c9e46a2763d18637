"""Test that stages read the teacher's maps where they are told to, learn from them, and nowhere else change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from portrait_export.errors import TrainingError
from portrait_export.models.registry import create_model
from portrait_export.training.features import FeatureLoss
from portrait_export.training.graft import Graft

from .test_features import descend, pictures


@pytest.fixture
def grafted() -> tuple[nn.Module, nn.Module, FeatureLoss, Graft]:
    student, teacher = create_model("segformer_b0", seed=1).eval(), create_model("lite0_fpn", seed=2).eval()
    features = FeatureLoss(student, teacher)
    return student, teacher, features, Graft(student, features)


def test_every_stage_but_the_first_can_read_the_teacher(grafted) -> None:
    assert {name: tuple(e.weight.shape[:2]) for name, e in grafted[3].embeddings.items()} == {
        "4": (32, 24),
        "8": (64, 40),
        "16": (160, 112),
    }


@torch.no_grad()
def test_a_grafted_stage_sees_nothing_of_the_students_earlier_stages(grafted) -> None:
    """With all images grafted, the map of stride 8 follows from the teacher's of stride 4 alone."""
    student, teacher, features, graft = grafted
    teacher(pictures(3))
    told = features.told(64)
    seen = []
    for image in (pictures(3), pictures(4)):
        with graft.reading(told, 1.0):
            student(image)
        seen.append(features.maps(64))
    assert not torch.equal(seen[0][4], seen[1][4])
    for stride in (8, 16, 32):
        assert torch.equal(seen[0][stride], seen[1][stride]), stride
    entry = student.segformer.encoder.patch_embeddings[1]
    expected, _ = entry(graft.embeddings["4"](told["4"]))
    heard: list[torch.Tensor] = []
    hook = entry.register_forward_hook(lambda module, inputs, output: heard.append(output[0]))
    with graft.reading(told, 1.0):
        student(pictures(4))
    hook.remove()
    assert torch.equal(heard[0], expected)


@torch.no_grad()
def test_the_share_is_of_the_images_and_nothing_is_grafted_outside(grafted) -> None:
    student, teacher, features, graft = grafted
    image = pictures(3, count=32)
    plain = student(image)
    own = features.maps(64)[8]
    teacher(image)
    torch.manual_seed(0)
    with graft.reading(features.told(64), 0.5):
        student(image)
    same = (features.maps(64)[8] - own).flatten(1).abs().amax(1) < 1e-4
    assert 4 < int(same.sum()) < 28
    assert torch.equal(student(image), plain)


@torch.no_grad()
def test_fitted_maps_are_near_the_students_own(grafted) -> None:
    """The same network as its own teacher: a linear map gives its maps back."""
    student, _, _, _ = grafted
    features = FeatureLoss(student, student)
    graft = Graft(student, features)
    student(pictures(3, count=16))
    graft.fit(features, 64)
    told, own = features.told(64), features.maps(64)
    for stride, embed in graft.embeddings.items():
        error = (embed(told[stride]) - own[int(stride)]).square().mean() / own[int(stride)].var()
        assert error < 0.05, stride


def test_a_deep_stage_learns_from_the_teachers_maps(grafted) -> None:
    student, teacher, features, graft = grafted

    def unexplained() -> torch.Tensor:
        with torch.no_grad():
            teacher(pictures(7))
        with graft.reading(features.told(64), 1.0):
            student(pictures(7))
        return features(64)

    seen = descend(unexplained, student, features, graft)
    assert seen[-1] < 0.8 * seen[0]
    assert all(parameter.grad is not None for parameter in graft.parameters())


class Parallel(nn.Module):
    """Two maps, neither of which is read by the other's stage."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Pair()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)[0]


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.four, self.eight = nn.Conv2d(3, 2, 4, 4), nn.Conv2d(3, 2, 8, 8)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.four(x), self.eight(x)]


def test_an_encoder_whose_stages_read_no_map_is_refused() -> None:
    net = Parallel()
    with pytest.raises(TrainingError, match="No stage of the model's encoder reads a map"):
        Graft(net, FeatureLoss(net, create_model("lite0_fpn", seed=2)))
