"""Test that carried values are found by name and shape, or refused, and that the reference carries them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from portrait_export.artifacts import Frame
from portrait_export.capture.foreign.carried import find_pairs
from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.capture.onnx.check import make_session, run_session
from portrait_export.errors import CaptureError, ExecutionError, UsageError

from .nets import bilinear
from .recurrent_nets import SIDE, memory, memory_file, rvm, rvm_file, shrinking_rvm_file, written

PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "size": (SIDE, SIDE)}


def signature(inputs: dict[str, list[object]], outputs: list[str]) -> onnx.ModelProto:
    """A graph with these inputs and outputs, which nothing runs."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [next(iter(inputs))], [name]) for name in outputs],
        "signature",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    return helper.make_model(graph)


PICTURE, OPEN = [1, 3, 8, 8], [None] * 4
PAIRS = {
    "rvm": (["r1i", "r2i"], ["fgr", "pha", "r1o", "r2o"], {"r1i": "r1o", "r2i": "r2o"}),
    "in_and_out": (["h_in"], ["y", "h_out"], {"h_in": "h_out"}),
    "only_the_output_is_marked": (["h0", "h1"], ["y", "h0_out", "h1_out"], {"h0": "h0_out", "h1": "h1_out"}),
    "only_the_input_is_marked": (["prev_mask"], ["mask", "aux"], {"prev_mask": "mask"}),
    "camel_case": (["stateIn"], ["y", "stateOut"], {"stateIn": "stateOut"}),
    "pytorch": (["h0", "c0"], ["y", "hn", "cn"], {"h0": "hn", "c0": "cn"}),
    "numbered": (["past.0", "past.1"], ["y", "present.1", "present.0"], {"past.0": "present.0", "past.1": "present.1"}),
    "other_names": (["trimap"], ["alpha"], {}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_names_that_differ_in_direction_alone_are_pairs(name):
    states, outputs, expected = PAIRS[name]
    model = signature({"src": PICTURE, **dict.fromkeys(states, OPEN)}, outputs)
    assert dict(find_pairs(model, ForeignOptions(onnx=Path("n"))).pairs) == expected


def test_a_photograph_is_not_carried_even_if_an_output_has_its_name():
    model = signature({"image_in": PICTURE, "h_in": OPEN}, ["image_out", "h_out"])
    assert dict(find_pairs(model, ForeignOptions(onnx=Path("n"))).pairs) == {"h_in": "h_out"}


def test_names_that_leave_the_pair_open_are_refused_with_the_option():
    model = signature({"src": PICTURE, "h_in": OPEN}, ["y", "h_out", "h_next"])
    with pytest.raises(CaptureError) as caught:
        find_pairs(model, ForeignOptions(onnx=Path("n")))
    assert caught.value.code == "which-carry"
    assert list(caught.value.context) == ["h_in: h_out or h_next"]
    assert "`carry=h_in=h_next`" in caught.value.hint
    told = ForeignOptions(onnx=Path("n"), carry=(("h_in", "h_next"),))
    assert dict(find_pairs(model, told).pairs) == {"h_in": "h_next"}


def test_with_every_input_paired_the_photograph_must_be_named():
    model = signature({"a_in": OPEN, "b_in": OPEN}, ["a_out", "b_out"])
    with pytest.raises(CaptureError, match="could be the photograph has an output of its name"):
        find_pairs(model, ForeignOptions(onnx=Path("n")))
    assert dict(find_pairs(model, ForeignOptions(onnx=Path("n"), image_input=("a_in",))).pairs) == {"b_in": "b_out"}


@pytest.mark.parametrize(
    ("carry", "message"),
    [
        ((("x", "r1o"),), "The network has no input 'x'"),
        ((("r1i", "x"),), "The network has no output 'x'"),
        ((("r1i", "r1o"), ("r1i", "pha")), "names an input twice"),
    ],
)
def test_unusable_pairs_of_the_user_are_refused(carry, message):
    model = signature({"src": PICTURE, "r1i": OPEN}, ["pha", "r1o"])
    with pytest.raises(UsageError, match=message):
        find_pairs(model, ForeignOptions(onnx=Path("n"), carry=carry))


def test_open_shapes_are_those_that_the_network_returns(tmp_path):
    network = load_foreign(ForeignOptions(onnx=rvm_file(tmp_path / "rvm.onnx"), **PLAIN))
    assert [(value.name, value.output, value.shape) for value in network.carried] == [
        ("r1i", "r1o", (1, 2, 32, 32)),
        ("r2i", "r2o", (1, 2, 16, 16)),
        ("r3i", "r3o", (1, 2, 8, 8)),
        ("r4i", "r4o", (1, 2, 4, 4)),
    ]
    assert any("carried from frame to frame, by name, type and shape" in note for note in network.notes)
    assert network.head.output == "pha"


def test_pairs_whose_shapes_differ_are_refused(tmp_path):
    file = rvm_file(tmp_path / "rvm.onnx", open_sides=False)
    swapped = (("r1i", "r2o"), ("r2i", "r1o"), ("r3i", "r3o"), ("r4i", "r4o"))
    with pytest.raises(CaptureError) as caught:
        load_foreign(ForeignOptions(onnx=file, carry=swapped, **PLAIN))
    assert caught.value.code == "which-carry"
    assert caught.value.context[0] == "r1i float [1, 2, 32, 32] ← r2o float32 [1, 2, 16, 16]"


def test_swapped_pairs_of_open_shape_are_refused_too(tmp_path):
    swapped = (("r1i", "r2o"), ("r2i", "r1o"), ("r3i", "r3o"), ("r4i", "r4o"))
    with pytest.raises(CaptureError):
        load_foreign(ForeignOptions(onnx=rvm_file(tmp_path / "rvm.onnx"), carry=swapped, **PLAIN))


def test_an_input_without_a_counterpart_asks_for_its_option(tmp_path):
    file = memory_file(tmp_path / "memory.onnx", results=("new_a", "new_b"))
    with pytest.raises(CaptureError) as caught:
        load_foreign(ForeignOptions(onnx=file, **PLAIN))
    assert caught.value.code == "which-pictures"  # its carried maps could be gray pictures
    assert "`carry=NAME=OUTPUT`" in caught.value.hint
    network = load_foreign(ForeignOptions(onnx=file, carry=(("h0", "new_a"), ("h1", "new_b")), **PLAIN))
    assert [value.name for value in network.carried] == ["h0", "h1"]


def test_a_value_that_no_output_depends_on_is_warned_about(tmp_path):
    model = onnx.load(memory_file(tmp_path / "memory.onnx"))
    model.graph.input.append(helper.make_tensor_value_info("idle_in", TensorProto.FLOAT, [1, 2]))
    model.graph.initializer.append(helper.make_tensor("zeros", TensorProto.FLOAT, [1, 2], [0.0, 0.0]))
    model.graph.node.append(helper.make_node("Identity", ["zeros"], ["idle_out"]))
    model.graph.output.append(helper.make_tensor_value_info("idle_out", TensorProto.FLOAT, [1, 2]))
    onnx.save(model, tmp_path / "idle.onnx")
    network = load_foreign(ForeignOptions(onnx=tmp_path / "idle.onnx", **PLAIN))
    assert "no output depends on the carried value 'idle_in'" in network.warnings


def pictures(count: int) -> list[np.ndarray]:
    """(SIDE, SIDE, 3) uint8: blocks of colour that change from frame to frame."""
    generator = np.random.default_rng(3)
    coarse = [generator.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(count)]
    return [np.kron(each, np.ones((SIDE // 8, SIDE // 8, 1), np.uint8)) for each in coarse]


def sequence(count: int = 4) -> list[Frame]:
    return [Frame(each, name=str(index), continues=index > 0) for index, each in enumerate(pictures(count))]


def torch_masks(net: torch.nn.Module, states: int, mask: int, count: int = 4) -> list[np.ndarray]:
    """What the module itself gives for a sequence, in a loop of its own."""
    carried, masks = [torch.zeros(1, 1, 1, 1)] * states, []
    for picture in pictures(count):
        tensor = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        with torch.no_grad():
            outputs = net(tensor, *carried)
        carried = list(outputs[-states:])
        masks.append(outputs[mask][0, 0].numpy())
    return masks


NETS = {"rvm": (rvm_file, rvm, 4, 1), "memory": (memory_file, memory, 2, 0)}


@pytest.mark.parametrize("name", NETS)
def test_the_reference_and_the_adapted_graph_carry_as_the_module_does(name, tmp_path):
    write, build, states, mask = NETS[name]
    network = load_foreign(ForeignOptions(onnx=write(tmp_path / f"{name}.onnx"), **PLAIN))
    expected = torch_masks(build(), states, mask)
    found = network.open_runner().run(sequence())
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.probability, one, atol=2e-6)
    session = make_session(network.to_onnx())
    carried = {value.input: np.zeros(value.shape, np.float32) for value in network.carried}
    for frame, one in zip(sequence(), expected, strict=True):
        outputs = run_session(session, {"image": network.spec.normalise(frame), **carried})
        np.testing.assert_allclose(outputs["mask"][0, 0], one, atol=2e-6)
        carried = {value.input: outputs[value.output] for value in network.carried}


def test_a_new_sequence_starts_from_zeros_and_none_can_start_in_the_middle(tmp_path):
    network = load_foreign(ForeignOptions(onnx=memory_file(tmp_path / "memory.onnx"), **PLAIN))
    runner = network.open_runner()
    first, second = sequence(2)
    once = runner.run([first, second])
    again = runner.run([first, second])
    np.testing.assert_array_equal(once[1].probability, again[1].probability)
    alone = runner.run([replace(second, continues=False)])[0]
    assert np.abs(alone.probability - once[1].probability).max() > 1e-2
    own = runner.run([replace(second, continues=False, carried=once[0].carried)])[0]
    np.testing.assert_array_equal(own.probability, once[1].probability)
    with pytest.raises(ExecutionError, match="no frame came before it"):
        network.open_runner().run([second])
    with pytest.raises(ExecutionError, match="the network takes"):
        runner.run([replace(second, carried={"h0": np.zeros((1, 1))})])


RATIO = {"whole": ((64, 64), 1.0), "shrunk": ((1024, 1024), 0.5)}


@pytest.mark.parametrize("name", RATIO)
def test_the_ratio_of_robust_video_matting_has_its_authors_default(name):
    from portrait_export.capture.foreign.carried import with_ratio
    from portrait_export.capture.foreign.interface import ImageInput

    (height, width), expected = RATIO[name]
    model = signature({"src": PICTURE, "r1i": OPEN, "downsample_ratio": [1]}, ["pha", "r1o"])
    image = ImageInput("src", "NCHW", "FLOAT", height, width)
    options, notes = with_ratio(model, ForeignOptions(onnx=Path("n")), image)
    assert options.fix_inputs == (("downsample_ratio", expected),)
    assert notes[0].startswith(f"downsample_ratio is {expected:g}")
    told = ForeignOptions(onnx=Path("n"), fix_inputs=(("downsample_ratio", 0.25),))
    assert with_ratio(model, told, image) == (told, ())


def test_the_ratio_shrinks_the_picture_inside_the_graph(tmp_path):
    file = shrinking_rvm_file(tmp_path / "rvm.onnx")
    network = load_foreign(ForeignOptions(onnx=file, fix_inputs=(("downsample_ratio", 0.5),), **PLAIN))
    shapes = {value.name: value.shape[2:] for value in network.carried}
    assert shapes == {"r1i": (16, 16), "r2i": (8, 8), "r3i": (4, 4), "r4i": (2, 2)}
    assert network.head.output == "pha"
    network.to_onnx()  # compares two frames
    states = [torch.zeros(1, 1, 1, 1)] * 4
    for picture, found in zip(pictures(4), network.open_runner().run(sequence()), strict=True):
        tensor = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        with torch.no_grad():
            _, small, *states = rvm()(bilinear(tensor, [SIDE // 2, SIDE // 2]), *states)
            expected = bilinear(small, [SIDE, SIDE])[0, 0].numpy()
        np.testing.assert_allclose(found.probability, expected, atol=1e-5)


class FedBack(torch.nn.Module):
    """A mask from a picture and the mask before it."""

    def forward(self, image: torch.Tensor, prev_mask: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(8 * (image.mean(1, keepdim=True) - 0.5) + 2 * prev_mask)


def test_a_mask_that_is_fed_back_is_both_the_mask_and_carried(tmp_path):
    file = written(FedBack(), ("image", "prev_mask"), ("mask",), tmp_path / "back.onnx")
    network = load_foreign(ForeignOptions(onnx=file, **PLAIN))
    assert [(value.name, value.output) for value in network.carried] == [("prev_mask", "net_mask")]
    expected, mask = [], torch.zeros(1, 1, SIDE, SIDE)
    for picture in pictures(4):
        tensor = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        mask = FedBack()(tensor, mask)
        expected.append(mask[0, 0].numpy())
    for one, other in zip(expected, network.open_runner().run(sequence()), strict=True):
        np.testing.assert_allclose(other.probability, one, atol=2e-6)
    assert {value.name for value in network.to_onnx().graph.output} == {"logits", "mask", "net_mask"}
