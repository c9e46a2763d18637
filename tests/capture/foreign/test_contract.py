"""Test that foreign networks of every kind get our inputs and outputs and keep the numbers of their PyTorch code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from portrait_export.artifacts import Frame
from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.capture.onnx.check import make_session, run_session

from .nets import (
    SIDE,
    After,
    ChannelsLast,
    DeepLab,
    LrAspp,
    Matting,
    Nested,
    Normalising,
    bilinear,
    save,
    seeded,
    to_onnx,
)

TOLERANCE = 2e-5  # of probabilities and of logits' scale; the largest of these cases is 2e-6
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def picture(height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """(H, W, 3) uint8: blocks of colour, so that a swapped channel or axis shows."""
    coarse = np.random.default_rng(5).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def pixels(image: np.ndarray, mean: Any = IMAGENET[0], std: Any = IMAGENET[1], scale: float = 1 / 255) -> Tensor:
    """The picture as the nets' authors prepare it: (1, 3, H, W)."""
    scaled = torch.from_numpy(image.astype(np.float32)) * scale
    return ((scaled - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)[None]


@dataclass(frozen=True)
class Case:
    """A net, how it was exported, what the user says, and what its author would call P(person)."""

    net: Callable[[], nn.Module]
    probability: Callable[[Any], Tensor]
    outputs: tuple[str, ...] = ("output",)
    options: dict[str, Any] = field(default_factory=lambda: {"mean": IMAGENET[0], "std": IMAGENET[1]})
    prepare: Callable[[np.ndarray], Tensor] = pixels
    dynamic: bool = False
    opset: int = 17
    logits: bool = True
    note: str = ""


def soft(k: int) -> Callable[[Tensor], Tensor]:
    return lambda y: y.softmax(1)[:, k : k + 1]


def bgr(image: np.ndarray) -> Tensor:
    return pixels(np.ascontiguousarray(image[..., ::-1]), *HALF)


def raw(image: np.ndarray) -> Tensor:
    return pixels(image, 0.0, 1.0, 1.0)


def channels_last(image: np.ndarray) -> Tensor:
    return pixels(image).permute(0, 2, 3, 1)


CASES = {
    "modnet_like_three_sigmoids": Case(
        Matting, lambda y: y[2], ("semantic", "detail", "matte"), note="output 'matte' (1, 1, 64, 64), a sigmoid"
    ),
    "u2net_like_side_outputs": Case(Nested, lambda y: y[0], ("d0", "d1", "d2"), note="output 'd0'"),
    "bisenet_like_19_classes": Case(lambda: LrAspp(19), soft(11), note="class 11 of 19"),
    "lraspp_two_classes": Case(lambda: LrAspp(2), soft(1), note="logits, class 1 of 2"),
    "deeplab_like_dictionary": Case(
        DeepLab, lambda y: y["out"].softmax(1)[:, 15:16], ("aux", "out"), note="output 'out' (1, 21, 64, 64), logits"
    ),
    "softmax_of_two": Case(
        lambda: After(LrAspp(2), lambda y: y.softmax(1)), lambda y: y[:, 1:2], note="a softmax, class 1 of 2"
    ),
    "softmax_then_one_channel": Case(
        lambda: After(LrAspp(2), lambda y: y.softmax(1)[:, 1]), lambda y: y[:, None], note="as the graph picks it"
    ),
    "log_softmax": Case(
        lambda: After(LrAspp(3), lambda y: y.log_softmax(1)),
        lambda y: y[:, 1:].exp().sum(1, keepdim=True),
        options={"mean": IMAGENET[0], "std": IMAGENET[1], "person_class": (1, 2)},
        note="a log-softmax, class 1, 2 of 3",
    ),
    "parts_of_a_person": Case(
        lambda: LrAspp(9),
        lambda y: y.softmax(1)[:, [1, 2, 3, 5, 8]].sum(1, keepdim=True),
        options={"mean": IMAGENET[0], "std": IMAGENET[1], "person_class": (1, 2, 3, 5, 8)},
        note="class 1, 2, 3, 5, 8 of 9",
    ),
    "overlapping_classes": Case(
        lambda: LrAspp(4),
        lambda y: y[:, 2:3].sigmoid(),
        options={"mean": 3 * (0.0,), "std": 3 * (1.0,), "person_class": (2,), "activation": "multilabel"},
        prepare=lambda image: pixels(image, 0.0, 1.0),
        note="logits of classes that may overlap",
    ),
    "one_logit_of_the_background": Case(
        lambda: LrAspp(1),
        lambda y: 1 - y.sigmoid(),
        options={"mean": HALF[0], "std": HALF[1], "positive": "background"},
        prepare=lambda image: pixels(image, *HALF),
        note="its one channel is the background",
    ),
    "probability_of_the_background": Case(
        lambda: After(LrAspp(1), lambda y: bilinear(y.sigmoid(), (32, 32))),
        lambda y: 1 - bilinear(y, (SIDE, SIDE)),
        options={"mean": IMAGENET[0], "std": IMAGENET[1], "positive": "background"},
        logits=False,
        note="a probability",
    ),
    "logits_at_a_quarter": Case(
        lambda: After(LrAspp(1), lambda y: bilinear(y, (16, 16))), lambda y: bilinear(y, (SIDE, SIDE)).sigmoid()
    ),
    "sigmoid_at_a_quarter": Case(
        lambda: After(LrAspp(1), lambda y: bilinear(y, (16, 16)).sigmoid()),
        lambda y: bilinear(y.logit(), (SIDE, SIDE)).sigmoid(),
    ),
    "clipped_alpha": Case(
        lambda: After(LrAspp(1), lambda y: (y + 0.5).clamp(0, 1)), lambda y: y, logits=False, note="a probability"
    ),
    "min_max_scaled": Case(
        lambda: After(LrAspp(1), lambda y: (y - y.amin()) / (y.amax() - y.amin())), lambda y: y, logits=False
    ),
    "bgr_in_minus_one_to_one": Case(
        lambda: LrAspp(2), soft(1), options={"mean": HALF[0], "std": HALF[1], "color": "bgr"}, prepare=bgr
    ),
    "normalises_pixels_itself": Case(
        lambda: Normalising(LrAspp(1), (123.675, 116.28, 103.53), (58.4, 57.12, 57.38)),
        lambda y: y.sigmoid(),
        options={},
        prepare=raw,
    ),
    "normalises_0_to_1_itself": Case(
        lambda: Normalising(LrAspp(1), *IMAGENET),
        lambda y: y.sigmoid(),
        options={},
        prepare=lambda image: pixels(image, 0.0, 1.0),
    ),
    "channels_last_softmax": Case(
        lambda: After(ChannelsLast(LrAspp(2)), lambda y: y.softmax(-1)),
        lambda y: y[..., 1][:, None],
        prepare=channels_last,
        note="a softmax, class 1 of 2",
    ),
    "bytes_channels_last": Case(
        lambda: After(ChannelsLast(LrAspp(1)), lambda y: y.sigmoid(), lambda x: x.float() / 255),
        lambda y: y.permute(0, 3, 1, 2),
        options={},
        prepare=lambda image: torch.from_numpy(image)[None],
    ),
    "half_precision": Case(
        lambda: After(LrAspp(1), lambda y: y.sigmoid()).half(), lambda y: y, prepare=lambda image: pixels(image).half()
    ),
    "half_precision_inside": Case(
        lambda: After(After(LrAspp(2).half(), lambda y: y.float(), lambda x: x.half()), lambda y: y.softmax(1)),
        lambda y: y[:, 1:2],
        note="computed in float32",
    ),
    "double_precision_input": Case(
        lambda: After(LrAspp(1), lambda y: y.sigmoid(), lambda x: x.float()),
        lambda y: y,
        prepare=lambda image: pixels(image).double(),
    ),
    "no_batch_axis": Case(
        lambda: After(LrAspp(1), lambda y: y[0].sigmoid(), lambda x: x[None]),
        lambda y: y[None],
        prepare=lambda image: pixels(image)[0],
    ),
    "open_batch_and_size": Case(
        lambda: LrAspp(2), soft(1), dynamic=True, options={"mean": 3 * (0.0,), "size": (SIDE, SIDE)},
        prepare=lambda image: pixels(image, 0.0, 1.0),
    ),
    "old_opset": Case(lambda: LrAspp(21), soft(15), opset=11),
    "new_opset": Case(lambda: LrAspp(21), soft(15), opset=20),
}  # fmt: skip


def files(case: Case, folder: Path) -> tuple[nn.Module, Tensor, Path]:
    net, example = seeded(case.net), case.prepare(picture())
    model = to_onnx(net, example, list(case.outputs), dynamic=case.dynamic, opset=case.opset)
    return net, example, save(model, folder / "net.onnx")


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_its_author_would_compute(name, tmp_path):
    case = CASES[name]
    net, example, path = files(case, tmp_path)
    network = load_foreign(ForeignOptions(onnx=path, **case.options))
    assert case.note in " ".join(network.notes)
    adapted = network.to_onnx()
    assert [value.name for value in adapted.graph.output] == (["logits", "mask"] if case.logits else ["mask"])
    with torch.no_grad():
        expected = case.probability(net(example)).float().reshape(SIDE, SIDE).numpy()
    frame = Frame(picture(), name="blocks")
    found = run_session(make_session(adapted), {"image": network.spec.normalise(frame)})
    [reference] = network.open_runner().run([frame])
    tolerance = 5e-3 if "half" in name else TOLERANCE
    assert np.ptp(expected) > 0.02, "a flat mask would prove nothing"
    assert found["mask"].shape == (1, 1, SIDE, SIDE)
    np.testing.assert_allclose(found["mask"][0, 0], expected, atol=tolerance)
    np.testing.assert_allclose(reference.probability, expected, atol=tolerance)
    assert (reference.logits is not None) == case.logits
    if case.logits:
        scale = np.abs(found["logits"]).max()
        np.testing.assert_allclose(reference.logits, found["logits"][0, 0], atol=tolerance * scale)


@pytest.mark.parametrize("classes", [2, 21])
def test_an_argmax_keeps_its_decision(classes, tmp_path):
    """The mask's P(person) is above one half exactly where the class number is the person's."""
    net = seeded(lambda: After(LrAspp(classes), lambda y: y.argmax(1)))
    path = save(to_onnx(net, pixels(picture()), ["classes"]), tmp_path / "net.onnx")
    decided = net(pixels(picture())).numpy()[0]
    person = int(np.bincount(decided.ravel()).argsort()[-2])  # the second largest region
    network = load_foreign(
        ForeignOptions(onnx=path, mean=IMAGENET[0], std=IMAGENET[1], person_class=(person,)),
    )
    frame = Frame(picture())
    mask = run_session(make_session(network.to_onnx()), {"image": network.spec.normalise(frame)})["mask"][0, 0]
    assert 0.01 < (decided == person).mean() < 0.99
    np.testing.assert_array_equal(mask > 0.5, decided == person)
    np.testing.assert_array_equal(network.open_runner().run([frame])[0].probability, decided == person)


def test_a_resized_argmax_is_a_mask_without_logits(tmp_path):
    net = seeded(
        lambda: After(
            LrAspp(5), lambda y: nn.functional.interpolate(y.argmax(1, keepdim=True).float(), scale_factor=2.0)
        )
    )
    path = save(to_onnx(net, pixels(picture(), 0.0, 1.0), ["classes"]), tmp_path / "net.onnx")
    network = load_foreign(ForeignOptions(onnx=path, scale=1 / 255, person_class=(3,), activation="argmax"))
    [found] = network.open_runner().run([Frame(picture())])
    assert found.logits is None
    assert [value.name for value in network.to_onnx().graph.output] == ["mask"]


def test_a_value_inside_the_graph_can_be_the_mask(tmp_path):
    """Thresholded masks hide the probability; it is still there."""
    net = seeded(lambda: After(LrAspp(1), lambda y: (y.sigmoid() > 0.5).float()))
    model = to_onnx(net, pixels(picture()), ["hard"])
    inner = next(
        node.output[0] for node in model.graph.node if node.op_type == "Sigmoid" and "net/Sigmoid" not in node.name
    )
    network = load_foreign(ForeignOptions(onnx=save(model, tmp_path / "n.onnx"), mean=IMAGENET[0], mask_output=inner))
    assert network.head.has_logits
    assert {value.name for value in network.to_onnx().graph.output} == {"logits", "mask"}


def test_kept_outputs_stay_as_they_are_and_give_way_to_our_names(tmp_path):
    net = seeded(Matting)
    path = save(to_onnx(net, pixels(picture()), ["mask", "detail", "logits"]), tmp_path / "net.onnx")
    options = ForeignOptions(
        onnx=path, mean=IMAGENET[0], std=IMAGENET[1], mask_output="logits", keep_outputs=("mask", "detail")
    )
    network = load_foreign(options)
    adapted = network.to_onnx()
    assert [value.name for value in adapted.graph.output] == ["logits", "mask", "net_mask", "detail"]
    assert network.kept_outputs == ("net_mask", "detail")
    found = run_session(make_session(adapted), {"image": network.spec.normalise(Frame(picture()))})
    with torch.no_grad():
        semantic, detail, matte = net(pixels(picture()))
    for name, expected in {"net_mask": semantic, "detail": detail, "mask": matte}.items():
        np.testing.assert_allclose(found[name], expected.numpy(), atol=TOLERANCE)


def test_further_inputs_are_filled(tmp_path):
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = LrAspp(1)

        def forward(self, image: Tensor, state: Tensor, ratio: Tensor) -> Tensor:
            return (self.net(image) * ratio + state).sigmoid()

    import onnx

    net = seeded(Recurrent)
    example = (pixels(picture()), torch.zeros(1, 1, 1, 1), torch.tensor([0.25]))
    import io

    buffer = io.BytesIO()
    torch.onnx.export(net, example, buffer, dynamo=False, input_names=["src", "r1", "ratio"], output_names=["pha"])
    path = save(onnx.load_from_string(buffer.getvalue()), tmp_path / "net.onnx")
    options = ForeignOptions(onnx=path, mean=IMAGENET[0], std=IMAGENET[1], fix_inputs=(("r1", 0.5), ("ratio", 0.25)))
    network = load_foreign(options)
    found = run_session(make_session(network.to_onnx()), {"image": network.spec.normalise(Frame(picture()))})
    with torch.no_grad():
        expected = net(example[0], torch.full((1, 1, 1, 1), 0.5), example[2])
    np.testing.assert_allclose(found["mask"], expected.numpy(), atol=TOLERANCE)
