"""Test the person's logit of several classes against softmax."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from portrait_export.errors import UsageError
from portrait_export.models.person import PersonLogit, person_classes


class Given(nn.Module):
    """A network that returns its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


LOGITS = torch.randn(2, 9, 4, 5, generator=torch.Generator().manual_seed(0)) * 6


@pytest.mark.parametrize(
    ("labels", "person"),
    [(2, ()), (2, (0,)), (3, (2,)), (9, tuple(range(1, 9))), (9, (1, 2, 3)), (9, (1, 4, 7)), (9, (0, 8))],
)
def test_sigmoid_of_the_logit_is_the_softmax_sum(labels: int, person: tuple[int, ...]) -> None:
    logits = LOGITS[:, :labels]
    found = PersonLogit(Given(), num_labels=labels, person=person)(logits)
    chosen = list(person) or list(range(1, labels))
    expected = torch.softmax(logits.double(), dim=1)[:, chosen].sum(1, keepdim=True)
    torch.testing.assert_close(torch.sigmoid(found).double(), expected, rtol=0, atol=1e-6)


def test_two_classes_give_the_plain_difference() -> None:
    found = PersonLogit(Given(), num_labels=2)(LOGITS[:, :2])
    assert torch.equal(found, LOGITS[:, 1:2] - LOGITS[:, :1])


@pytest.mark.parametrize(("positive", "sign"), [("person", 1), ("background", -1)])
def test_one_label_keeps_or_flips_its_sign(positive: str, sign: int) -> None:
    found = PersonLogit(Given(), num_labels=1, positive=positive)(LOGITS[:, :1])
    assert torch.equal(found, sign * LOGITS[:, :1])


def test_large_logits_do_not_overflow_in_half_precision() -> None:
    logits = torch.tensor([300.0, 310.0, 305.0]).reshape(1, 3, 1, 1).half()
    found = PersonLogit(Given(), num_labels=3, person=(1, 2))(logits)
    assert torch.isfinite(found).all()
    assert abs(float(found) - 10.0067) < 0.3  # half precision has steps of 0.25 at 300


@pytest.mark.parametrize("person", [(0, 1, 2), (3,), (-1,), ()])
def test_classes_that_cannot_be_the_person_are_refused(person: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"must be some, not all, of 0\.\.2"):
        PersonLogit(Given(), num_labels=3, person=person)


def test_unknown_positive_class_is_refused() -> None:
    with pytest.raises(UsageError, match="found 'cat'"):
        PersonLogit(Given(), num_labels=1, positive="cat")


EASYPORTRAIT = ("background", "person", "skin", "left_brow", "right_brow", "left_eye", "right_eye", "lips", "teeth")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (EASYPORTRAIT, (1, 2, 3, 4, 5, 6, 7, 8)),
        (("background", "person"), (1,)),
        (("Person", "Background"), (0,)),
        (("background", "aeroplane", "person", "sofa"), (2,)),
        (("wall", "person", "sky"), (1,)),
        (("background", "foreground"), (1,)),
        (("LABEL_0", "LABEL_1", "LABEL_2"), ()),
        (("background", "human", "dog"), (1,)),
        (("background", "person", "others"), (1,)),
        (("background", "hair", "body_skin", "others"), (1, 2, 3)),
        (("background", "cat", "dog"), ()),
        (("road", "person", "rider", "car"), (1, 2)),
        (("ground", "people", "sky"), (1,)),
        (("wall", "person;individual;someone", "sky"), (1,)),
        (("animal--bird", "human--person", "human--rider--bicyclist"), (1, 2)),
        (("Background", "Hat", "Hair", "Upper-clothes", "Left-shoe"), (1, 2, 3, 4)),
        (("person", "background", "car"), (0,)),
        ((), ()),
    ],
)
def test_person_classes_by_name(labels: tuple[str, ...], expected: tuple[int, ...]) -> None:
    assert person_classes(dict(enumerate(labels))) == expected
