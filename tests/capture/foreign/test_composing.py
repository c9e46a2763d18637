"""Test that one mask of the person is composed from instances: against PyTorch, refused elsewhere, and exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import portrait_export as pe
from portrait_export.artifacts import Frame
from portrait_export.capture.foreign.composing import names_in
from portrait_export.capture.foreign.compositions import MOST_DETECTIONS, detections_of, person_of, queries_of
from portrait_export.capture.foreign.field import field_of
from portrait_export.capture.foreign.instances import refuse_instances
from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.capture.foreign.reference import resize_bilinear
from portrait_export.capture.onnx.check import run_once
from portrait_export.errors import CaptureError, UsageError

from .instance_nets import SIDE, Queries, Yolo, person_of_detections, person_of_queries

PIXELS: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
Oracle = Callable[[Tensor, Tensor], Tensor]
FLOAT32 = 1e-4  # two orders of the same sums differ by 2.4e-5; another class or layout by more than 0.1


def written(net: nn.Module, folder: Path, *, side: int = SIDE, opset: int = 17) -> Path:
    file = folder / "net.onnx"
    torch.onnx.export(
        net.eval(),
        (torch.rand(1, 3, side, side),),
        str(file),
        input_names=["images"],
        output_names=["output0", "output1"],
        opset_version=opset,
        dynamo=False,
    )
    return file


def photograph(side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (side, side, 3), dtype=np.uint8)


def tensor_of(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1)[None] / 255)


def check_against(network: Any, net: nn.Module, oracle: Oracle) -> None:
    """Both the reference and the graph give the oracle's mask."""
    image = photograph(network.spec.height)
    with torch.no_grad():
        expected = oracle(*net(tensor_of(image))).numpy()
    assert expected.max() - expected.min() > 0.2
    expected = resize_bilinear(expected.astype(np.float64), (network.spec.height, network.spec.width))
    (prediction,) = network.open_runner().run([Frame(image)])
    np.testing.assert_allclose(prediction.probability, expected, atol=FLOAT32)
    found = run_once(network.to_onnx(), {"image": tensor_of(image).numpy()})["mask"][0, 0]
    np.testing.assert_allclose(found, expected, atol=FLOAT32)


@pytest.mark.parametrize(
    ("form", "person"), [("plain", (0,)), ("rows", (1, 2)), ("objectness", (0, 2)), ("selected", (0, 1))]
)
def test_detections_become_one_mask(form, person, tmp_path):
    net = Yolo(form)
    options = ForeignOptions(onnx=written(net, tmp_path), compose="yolo-seg", person_class=person, **PIXELS)
    network = load_foreign(options)
    assert network.head.meaning.startswith("composed: over ")
    assert f"class {', '.join(map(str, person))} (as specified)" in network.summary
    check_against(network, net, lambda *outputs: person_of_detections(*outputs, form, list(person)))


def test_an_old_opset_and_32_prototypes(tmp_path):
    net = Yolo("plain", classes=1, prototypes=32)
    options = ForeignOptions(onnx=written(net, tmp_path, opset=11), compose="yolo-seg", **PIXELS)
    network = load_foreign(options)
    assert "class 0 (the only class)" in network.summary
    check_against(network, net, lambda *outputs: person_of_detections(*outputs, "plain", [0]))


def test_the_best_detections_count(tmp_path):
    side = 128  # 336 detections
    net = Yolo("plain", side=side)
    file = written(net, tmp_path, side=side)
    network = load_foreign(ForeignOptions(onnx=file, compose="yolo-seg", person_class=(0,), **PIXELS))
    assert f"the {MOST_DETECTIONS} best of 336 detections" in network.summary
    layout = network.original.layout
    assert 0 < layout.left_out < 1
    assert (
        "a score of 0.30 was left out on a photograph: only the 300 best count"
        in replace(layout, left_out=0.3).warnings[0]
    )
    assert replace(layout, left_out=0.04).warnings == ()

    def best(rows: Tensor, prototypes: Tensor) -> Tensor:
        kept = rows[:, :, rows[0, 4].topk(MOST_DETECTIONS).indices]
        return person_of_detections(kept, prototypes, "plain", [0])

    check_against(network, net, best)


def test_queries_become_one_mask(tmp_path):
    net = Queries()
    options = ForeignOptions(onnx=written(net, tmp_path), compose="maskformer", person_class=(0, 2), **PIXELS)
    network = load_foreign(options)
    assert "12 queries" in network.summary
    assert "3 classes and, last, of none" in network.summary
    check_against(network, net, lambda *outputs: person_of_queries(*outputs, [0, 2]))


# Layouts and classes


def outputs_of(net: nn.Module) -> list[dict[str, np.ndarray]]:
    """What a network returns for two pictures, by name."""
    found = []
    for image in (photograph(), 255 - photograph()):
        with torch.no_grad():
            values = net(tensor_of(image))
        found.append({f"output{index}": value.numpy() for index, value in enumerate(values)})
    return found


def scaled(first: int, last: int, gain: float) -> list[dict[str, np.ndarray]]:
    """Detections with some of their numbers multiplied."""
    found = outputs_of(Yolo("plain"))
    for outputs in found:
        outputs["output0"][:, first:last] *= gain
    return found


def changed(net: nn.Module, name: str, change: Callable[[Tensor], Tensor]) -> list[dict[str, np.ndarray]]:
    return [{**each, name: change(torch.from_numpy(each[name])).numpy()} for each in outputs_of(net)]


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "scores_before_the_sigmoid": (detections_of, scaled(4, 7, 9.0), "not 0..1 as after a sigmoid"),
    "boxes_as_shares": (detections_of, scaled(0, 4, 1 / 64), "shares of the picture"),
    "negative_widths": (detections_of, scaled(2, 4, -1.0), "a negative width"),
    "unknown_count": (detections_of, changed(Yolo("plain"), "output0", lambda x: x[..., 1:]), "do not have a layout"),
    "fractions_of_classes": (
        detections_of, changed(Yolo("selected"), "output0", lambda x: x + 0.2), "not whole numbers",
    ),
    "centres_after_a_selection": (
        detections_of, changed(Yolo("selected"), "output0", lambda x: -x.abs()), "not x1 ≤ x2 and y1 ≤ y2",
    ),
    "infinite_boxes": (detections_of, scaled(0, 1, float("inf")), "NaN or infinity"),
    "queries_as_detections": (detections_of, outputs_of(Queries()), "do not have a layout"),
    "detections_as_queries": (queries_of, outputs_of(Yolo("plain")), "do not have a layout"),
    "classes_without_none": (
        queries_of, outputs_of(Queries(classes=79)), "80 scores are as many as there are classes, without one for none",
    ),
    "masks_after_a_sigmoid": (
        queries_of, changed(Queries(), "output1", torch.sigmoid), "which are probabilities, not logits",
    ),
    "classes_after_a_softmax": (
        queries_of, changed(Queries(), "output0", lambda x: x.softmax(-1)), "are probabilities",
    ),
}  # fmt: skip


def test_the_number_of_classes_tells_the_layout_where_the_number_of_detections_does_not():
    rows = changed(Yolo("plain", classes=80), "output0", lambda x: x[..., :50])
    assert not detections_of(rows, (SIDE, SIDE)).objectness
    rows = changed(Yolo("objectness", classes=80), "output0", lambda x: x[:, :50])
    assert detections_of(rows, (SIDE, SIDE)).objectness
    rows = changed(Yolo("plain", classes=3), "output0", lambda x: x[..., :50])
    assert detections_of(rows, (SIDE, SIDE), 3).classes == 3
    with pytest.raises(CaptureError, match="do not have a layout"):
        detections_of(rows, (SIDE, SIDE), 5)


def test_names_tell_whether_a_query_has_a_score_for_none():
    outputs = outputs_of(Queries(classes=3))
    assert queries_of(outputs, (SIDE, SIDE), 3).classes == 3
    with pytest.raises(CaptureError, match="other values"):
        queries_of(outputs, (SIDE, SIDE), 4)


@pytest.mark.parametrize("name", REFUSED)
def test_other_values_are_refused(name):
    find, outputs, words = REFUSED[name]
    with pytest.raises(CaptureError) as caught:
        find(outputs, (SIDE, SIDE))
    assert caught.value.code == "not-composable"
    assert words in "\n".join((caught.value.message, *caught.value.context))


NAMES: dict[str, tuple[str, dict[int, str]]] = {
    "ultralytics": ("{0: 'bicycle', 1: 'person', 2: 'car'}", {0: "bicycle", 1: "person", 2: "car"}),
    "cut": ("{0: 'person'", {}),
    "code": ("__import__('os')", {}),
    "list": ("['person']", {}),
    "negative": ("{-1: 'person'}", {}),
    "deep": ("(" * 5000, {}),
    "long": ("{0: '" + "a" * 70000 + "'}", {}),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_of_classes_in_a_file(case):
    text, expected = NAMES[case]
    model = onnx.ModelProto()
    onnx.helper.set_model_props(model, {"names": text})
    assert names_in(model) == expected


def test_the_class_is_the_users_or_of_that_name_or_of_a_known_set():
    layout = detections_of(outputs_of(Yolo("plain")), (SIDE, SIDE))
    numbered = detections_of(outputs_of(Yolo("selected")), (SIDE, SIDE))
    names = {0: "bicycle", 1: "person", 2: "car"}
    assert person_of(layout, (2,), names)[0] == (2,)
    assert person_of(layout, None, names) == ((1,), "by the names in the file: 1 (person)")
    assert person_of(numbered, None, names)[0] == (1,)
    assert person_of(replace(layout, shape=(1, 92, 84)), None, {})[0] == (0,)
    for found in (layout, numbered):
        with pytest.raises(UsageError, match="which of them are the person"):
            person_of(found, None, {})
    with pytest.raises(UsageError, match="the network has 3 classes, counted from 0"):
        person_of(layout, (3,), {})


def test_a_composed_mask_has_one_reading(tmp_path):
    file = tmp_path / "net.onnx"
    with pytest.raises(UsageError, match="`compose=` and `mask_output=` and `activation=` cannot be used together"):
        load_foreign(ForeignOptions(onnx=file, compose="yolo-seg", mask_output="output1", activation="logits"))


@pytest.mark.parametrize("kind", ["yolo-seg", "maskformer"])
def test_packages_of_composed_masks_pass_their_gates(kind, tmp_path):
    net = Yolo("plain", side=32) if kind == "yolo-seg" else Queries()
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    Image.fromarray(photograph()).save(folder / "a.png")
    result = pe.export(
        onnx=written(net, tmp_path, side=net.side), compose=kind, person_class=0, mean=0.0, std=1.0,
        out=tmp_path / "out", data=tmp_path / "data",
    )  # fmt: skip
    assert result.passed
    assert pe.load(result.package.path).metadata["portrait_export.meaning"].startswith("composed: over ")


def test_the_refusal_names_the_option():
    for net, kind in ((Yolo("plain"), "yolo-seg"), (Queries(), "maskformer")):
        outputs = outputs_of(net)[0]
        field = field_of(outputs["output1"].shape, (SIDE, SIDE))
        assert field is not None
        with pytest.raises(CaptureError) as caught:
            refuse_instances(outputs, "output1", field)
        assert f"`compose={kind}`" in (caught.value.hint or "")
