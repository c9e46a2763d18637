"""Test that guesses are reported, wrong guesses are caught, and the exact words of every refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.normalisation import ASSUMED
from portrait_export.capture.foreign.options import ForeignOptions, classes, number, scale_of, std_of, three_numbers
from portrait_export.capture.huggingface import NOT_APPLIED
from portrait_export.errors import CaptureError, PortraitError, UsageError
from portrait_export.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PortraitSpec
from tests.capture.foreign.guesses import guesses

F32 = TensorProto.FLOAT


def model(
    nodes: list[onnx.NodeProto],
    *,
    image: list[object] | None = None,
    outputs: tuple[str, ...] = ("y",),
    dtype: int = F32,
    out_dtype: int = F32,
    more: tuple[onnx.ValueInfoProto, ...] = (),
    **constants: np.ndarray,
) -> onnx.ModelProto:
    """A graph from `x` to `outputs`."""
    inputs = [helper.make_tensor_value_info("x", dtype, image or [1, 3, 32, 32]), *more]
    results = [helper.make_tensor_value_info(name, out_dtype, [None] * 4) for name in outputs]
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "net", inputs, results, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(
    channels: int, source: str = "x", result: str = "y", inside: int = 3
) -> tuple[onnx.NodeProto, dict[str, np.ndarray]]:
    weight = np.random.default_rng(channels).standard_normal((channels, inside, 1, 1)).astype(np.float32)
    return helper.make_node("Conv", [source, f"{result}_w"], [result], name=f"/{result}"), {f"{result}_w": weight}


def net(channels: int = 1, *before: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    node, weights = conv(channels, "normal" if before else "x")
    return model([*before, node], **constants, **weights)


def load(made: onnx.ModelProto, folder: Path, **settings: object):
    path = folder / "net.onnx"
    onnx.save(made, path)
    return load_foreign(ForeignOptions(onnx=path, **settings))


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


SUB = helper.make_node("Sub", ["x", "m"], ["centred"])
DIV = helper.make_node("Div", ["centred", "s"], ["normal"])
MUL = helper.make_node("Mul", ["x", "g"], ["centred"])
ADD = helper.make_node("Add", ["centred", "o"], ["normal"])


def test_imagenet_is_assumed_with_a_warning(tmp_path):
    network = load(net(), tmp_path)
    assert guesses(network) == (ASSUMED,)
    assert (network.spec.mean, network.spec.std, network.spec.scale) == (IMAGENET_MEAN, IMAGENET_STD, 1 / 255)


@pytest.mark.parametrize(
    ("nodes", "constants", "scale", "words"),
    [
        pytest.param(
            (SUB, DIV), {"m": row(0.485, 0.456, 0.406), "s": row(0.229, 0.224, 0.225)}, 1 / 255,
            "Sub, Div: (x - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)", id="imagenet_in_the_graph",
        ),
        pytest.param(
            (SUB, DIV), {"m": row(127.5, 127.5, 127.5), "s": row(127.5, 127.5, 127.5)}, 1.0,
            "Sub, Div: (x - 127.5) / 127.5", id="pixels_in_the_graph",
        ),
        pytest.param(
            (MUL, ADD), {"g": np.float32(2).reshape(1), "o": np.float32(-1).reshape(1)}, 1 / 255,
            "Mul, Add: (x - 0.5) / 0.5", id="times_two_minus_one",
        ),
    ],
)  # fmt: skip
def test_a_normalising_graph_gets_plain_pixels_and_a_warning(nodes, constants, scale, words, tmp_path):
    network = load(net(1, *nodes, **constants), tmp_path)
    assert (network.spec.scale, network.spec.mean, network.spec.std) == (scale, (0, 0, 0), (1, 1, 1))
    [warning] = guesses(network)
    assert f"the graph already normalises its input ({words})" in warning


@pytest.mark.parametrize(
    ("dtype", "mean", "words"),
    [
        (TensorProto.UINT8, 0, ""),
        (TensorProto.INT32, 0, "the input 'x' is int32: pixels of 0..255 are assumed"),
        (TensorProto.INT64, 0, "the input 'x' is int64: pixels of 0..255 are assumed"),
        (TensorProto.UINT16, 0, "the input 'x' is uint16: pixels of 0..255 are assumed"),
        (TensorProto.INT8, 128, "the input 'x' is int8: pixels less 128, -128..127, are assumed"),
    ],
)
def test_integers_are_pixels(dtype, mean, words, tmp_path):
    node, weights = conv(1, "normal")
    cast = helper.make_node("Cast", ["x"], ["f"], to=F32)
    scaled = helper.make_node("Div", ["f", "c255"], ["normal"])
    made = model([cast, scaled, node], dtype=dtype, c255=np.float32(255), **weights)
    network = load(made, tmp_path, activation="logits")
    assert (network.spec.scale, network.spec.mean, network.spec.std) == (1.0, (mean,) * 3, (1,) * 3)
    assert [*guesses(network)] == [words] * bool(words)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32)).astype(np.float32) - mean
    [expected] = run(made, image.astype(helper.tensor_dtype_to_np_dtype(dtype)))
    np.testing.assert_allclose(run(network.to_onnx(), image)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("dtype", "zero"), [(np.uint8, 127), (np.int8, -128), (np.int8, None)])
def test_integers_that_are_dequantized_first(dtype, zero, tmp_path):
    node, weights = conv(1, "normal")
    stored = {"step": np.float32(2 / 255)} | ({} if zero is None else {"zero": np.array(zero, dtype)})
    dequantize = helper.make_node("DequantizeLinear", ["x", *stored], ["normal"])
    made = model([dequantize, node], dtype=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), **stored, **weights)
    network = load(made, tmp_path, activation="logits")
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32)).astype(np.float32) - network.spec.mean[0]
    [expected] = run(made, image.astype(dtype))
    np.testing.assert_allclose(run(network.to_onnx(), image)[0], expected, atol=1e-5)


def run(made: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    """The outputs of a network with one input."""
    session = onnxruntime.InferenceSession(made.SerializeToString())
    return session.run(None, {made.graph.input[0].name: image})


def test_normalising_twice_is_caught(tmp_path):
    made = net(1, SUB, DIV, m=row(0.485, 0.456, 0.406), s=row(0.229, 0.224, 0.225))
    network = load(made, tmp_path, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    [warning] = guesses(network)
    assert warning.endswith("are applied before it: normalising twice is probably wrong")


def test_pixels_in_the_wrong_units_are_caught(tmp_path):
    made = net(1, SUB, DIV, m=row(127.5, 127.5, 127.5), s=row(127.5, 127.5, 127.5))
    [warning] = guesses(load(made, tmp_path, scale=1 / 255))
    assert warning == (
        "the graph starts with Sub, Div: (x - 127.5) / 127.5, which looks made for pixels in 0..255;"
        " scale is 0.00392157"
    )
    [warning] = guesses(load(net(), tmp_path, mean=(123.675, 116.28, 103.53), std=(58.4, 57.1, 57.4)))
    assert warning == "mean and std are in units of 0..255, so `scale=` is taken as 1"
    [warning] = guesses(load(net(), tmp_path, mean=(123.675, 116.28, 103.53), scale=1 / 255))
    assert warning == "mean (123.7, 116.3, 103.5) is outside of pixel * scale, which is 0..1: wrong units?"


def test_a_batch_norm_on_the_input_is_suspected(tmp_path):
    parts = {name: np.ones(3, np.float32) for name in ("a", "b", "c", "d")}
    norm = helper.make_node("BatchNormalization", ["x", *parts], ["normal"])
    warnings = guesses(load(net(1, norm, **parts), tmp_path))
    assert "the graph starts with BatchNormalization on its input" in warnings[1]


def test_hugging_face_files_next_to_the_network_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"id2label": {"0": "wall", "1": "sky", "2": "person", "3": "car"}}')
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}')
    network = load(net(4), tmp_path)
    assert (network.head.person, network.spec.mean, network.spec.std) == ((2,), (0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    assert guesses(network) == ()
    assert "class 2 (person) of 4, by config.json" in " ".join(network.notes)


def test_the_preprocessor_means_what_it_means_for_a_checkpoint(tmp_path):
    stored = '{"do_normalize": false, "rescale_factor": 0.0078431, "image_mean": [0.5, 0.4, 0.3], "image_std": 1}'
    (tmp_path / "preprocessor_config.json").write_text(stored)
    spec = load(net(), tmp_path).spec
    assert (spec.scale, spec.mean, spec.std) == (0.0078431, (0, 0, 0), (1, 1, 1))


def test_entries_of_the_preprocessor_that_are_not_applied_are_told(tmp_path):
    stored = '{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "do_grayscale": true}'
    (tmp_path / "preprocessor_config.json").write_text(stored)
    assert guesses(load(net(), tmp_path)) == (NOT_APPLIED.format("do_grayscale = true"),)


def test_given_numbers_suit_a_batch_norm_in_whatever_units(tmp_path):
    parts = {"g": row(1, 1, 1), "b": row(0, 0, 0), "m": row(0.1, 0.1, 0.1), "v": row(0.3, 0.3, 0.3)}
    norm = helper.make_node("BatchNormalization", ["x", *parts], ["normal"])
    made = net(1, norm, **{name: value.ravel() for name, value in parts.items()})
    assert guesses(load(made, tmp_path, scale=1 / 127.5, mean=(1.0,) * 3)) == ()
    assert "looks made for pixels in -1..1" in load(made, tmp_path, scale=1 / 255).warnings[0]


def test_the_preprocessor_decides_the_size_that_a_file_leaves_open(tmp_path):
    node, weights = conv(1)
    made = model([node], image=["n", 3, "h", "w"], **weights)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 64, "width": 96}}')
    spec = load(made, tmp_path, scale=1 / 255).spec
    assert (spec.height, spec.width) == (64, 96)
    spec = load(made, tmp_path, scale=1 / 255, size=(32, 32)).spec
    assert (spec.height, spec.width) == (32, 32)
    spec = load(net(), tmp_path, scale=1 / 255).spec
    assert (spec.height, spec.width) == (32, 32), "a file's fixed size stays"


def test_a_preprocessor_without_a_fixed_size_asks_for_one(tmp_path):
    node, weights = conv(1)
    made = model([node], image=["n", 3, "h", "w"], **weights)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 512}}')
    with pytest.raises(UsageError, match="it scales the shortest edge to 512 pixels and keeps the aspect ratio"):
        load(made, tmp_path, scale=1 / 255)
    assert load(made, tmp_path, scale=1 / 255, size=(32, 32)).spec.height == 32


def test_a_toml_next_to_the_network_is_read_and_options_win(tmp_path):
    (tmp_path / "net.toml").write_text(
        'mean = [0.5, 0.5, 0.5]\nstd = 0.25\nscale = "1/255"\ncolor = "bgr"\nresize = "fit"\nperson_class = "1-2"\n'
        "threshold = 0.4\n"
    )
    network = load(net(4), tmp_path, color="rgb")
    assert (network.spec.color, network.spec.resize, network.spec.std) == ("rgb", "fit", (0.25,) * 3)
    assert (network.head.person, network.spec.threshold) == ((1, 2), 0.4)
    assert "preprocessing from net.toml" in network.notes


def test_everything_wrong_with_a_toml_is_listed_at_once(tmp_path):
    (tmp_path / "net.toml").write_text('meen = 1\nstd = [1, 2]\ncolor = "gbr"\nperson_class = "a"\nscale = "1/0"\n')
    with pytest.raises(UsageError) as caught:
        load(net(), tmp_path)
    assert caught.value.message == "net.toml has 5 settings that cannot be used."
    assert caught.value.context[1:] == (
        "std = [1, 2]: expected one number or three, found 2",
        "color = 'gbr': expected one of rgb, bgr",
        "person_class = 'a': 'a' is not a class number or a range such as 1-8",
        "scale = '1/0': '1/0' is not a number or a fraction such as 1/255",
    )
    assert "did you mean `mean`" in caught.value.context[0]


def test_a_scale_and_a_deviation_that_are_not_above_0_are_refused_in_a_toml(tmp_path):
    (tmp_path / "net.toml").write_text('scale = 0\nstd = -1\n[pictures.x]\nscale = "-1/255"\n')
    with pytest.raises(UsageError) as caught:
        load(net(), tmp_path)
    assert caught.value.context == (
        "scale = 0: expected a number above 0, found 0",
        "std = -1: expected numbers above 0, found -1",
        "pictures = {'x': {'scale': '-1/255'}}: x.scale: expected a number above 0, found -1/255",
    )


@pytest.mark.parametrize("scale", [0, -1 / 255])
def test_a_scale_that_is_not_above_0_prepares_no_picture(scale):
    with pytest.raises(UsageError, match="scale must be a finite number above 0; found"):
        PortraitSpec(scale=scale)


@pytest.mark.parametrize("text", ["mean = [", "\ufeff= 3", "mean = 1\nmean = 2"])
def test_a_file_that_is_not_toml_is_refused(text, tmp_path):
    (tmp_path / "net.toml").write_text(text)
    with pytest.raises(UsageError, match=r"net\.toml is not TOML"):
        load(net(), tmp_path)


def test_several_similar_outputs_are_reported(tmp_path):
    (one, first), (two, second) = conv(1, result="d1"), conv(1, result="d0")
    network = load(model([one, two], outputs=("d1", "d0"), **first, **second), tmp_path, mean=IMAGENET_MEAN)
    assert network.head.output == "d1"
    assert guesses(network) == (
        "2 outputs could be the mask: d1 (1, 1, 32, 32), d0 (1, 1, 32, 32); d1 is used (`mask_output=`)",
    )


def test_voc_and_cityscapes_are_guessed_with_a_warning(tmp_path):
    assert guesses(load(net(21), tmp_path, mean=(0, 0, 0))) == (
        "21 classes: taken as Pascal VOC: 15 is person (`person_class=`)",
    )


def refusals() -> dict[str, tuple[onnx.ModelProto, dict[str, object], str]]:
    """Name → model, options, the message."""
    sigmoid = helper.make_node("Sigmoid", ["z"], ["y"])
    logits, weights = conv(1, result="z")
    pooled = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    nan = helper.make_node("Log", ["below"], ["y"])
    below = helper.make_node("Neg", ["square"], ["below"])
    square = helper.make_node("Mul", ["z", "z"], ["square"])
    scalar = helper.make_tensor_value_info("ratio", F32, [1])
    scaled = helper.make_node("Mul", ["z", "ratio"], ["y"])
    widened = helper.make_node("Cast", ["doubled"], ["normal"], to=F32)
    doubled = helper.make_node("Add", ["x", "x"], ["doubled"])
    conv5, weights5 = conv(5)
    on_bytes, byte_weights = conv(1, "normal")
    return {
        "five_classes": (net(5), {}, "The network has 5 classes; which of them are the person?"),
        "class_out_of_range": (
            net(5), {"person_class": (5,)},
            "`person_class=` is 5; the network's output has 5 classes, counted from 0.",
        ),
        "all_classes": (
            net(2), {"person_class": (0, 1)},
            "`person_class=` is 0, 1; the network's output has 2 classes, counted from 0.",
        ),
        "overlapping_classes": (
            net(5), {"person_class": (1, 2), "activation": "multilabel"},
            "2 classes were named, and the output 'y' holds logits of classes that may overlap: they may overlap.",
        ),
        "no_map": (model([pooled]), {}, "No output is a map of the picture."),
        "no_such_output": (net(), {"mask_output": "z"}, "The network has no output 'z'."),
        "no_such_input": (net(), {"image_input": ("image",)}, "The network has no input 'image'."),
        "nothing_to_keep": (net(), {"keep_outputs": ("aux",)}, "The network has no output 'aux'."),
        "another_size": (
            net(), {"size": (64, 64)}, "The file's input 'x' is fixed at 32x32 pixels; `size=` asks for 64x64.",
        ),
        "logits_are_not_a_probability": (
            model([logits], outputs=("z",), **weights), {"activation": "probability"}, "The output 'z' was taken as a",
        ),
        "not_finite": (
            model([logits, square, below, nan], **weights), {},
            "The network's output 'y' has NaN or infinity on a picture.",
        ),
        "another_input": (
            model([logits, scaled], more=(scalar,), **weights), {},
            "Besides the photograph 'x' the network takes 1 inputs that nothing would fill.",
        ),
        "two_channels": (
            model([sigmoid.__class__(op_type="Sigmoid", input=["x"], output=["y"])], image=[1, 2, 32, 32]), {},
            "The network has no input that is one photograph.",
        ),
        "batch_of_four": (
            model([conv5], image=[4, 3, 32, 32], **weights5), {}, "The network has no input that is one photograph.",
        ),
        "arithmetic_in_bytes": (
            model([doubled, widened, on_bytes], dtype=TensorProto.UINT8, **byte_weights), {},
            "The graph computes with the integers of its input 'x' before casting them.",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", refusals())
def test_it_refuses_in_these_words(name, tmp_path):
    made, settings, message = refusals()[name]
    with pytest.raises(PortraitError) as caught:
        load(made, tmp_path, **{"scale": 1 / 255, **settings}).to_onnx()
    assert caught.value.message.startswith(message)


def test_a_size_that_the_network_cannot_take_is_refused(tmp_path):
    """Halving and doubling an odd side does not come back to it."""
    node, weights = conv(3, result="z")
    half = helper.make_node("MaxPool", ["z"], ["half"], kernel_shape=[2, 2], strides=[2, 2])
    twice = helper.make_node("Resize", ["half", "", "scales"], ["twice"], mode="nearest")
    joined = helper.make_node("Concat", ["z", "twice"], ["y"], axis=1)
    made = model(
        [node, half, twice, joined], image=["n", 3, "h", "w"], scales=np.array([1, 1, 2, 2], np.float32), **weights
    )
    with pytest.raises(CaptureError, match="The network does not run at 33x33") as caught:
        load(made, tmp_path, scale=1 / 255, size=(33, 33))
    assert "multiples of 32" in caught.value.hint


@pytest.mark.parametrize("keep", [0, 20, 60, -10])
def test_damaged_files_are_refused(keep, tmp_path):
    whole = net().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(whole[:keep])
    with pytest.raises(CaptureError):
        load_foreign(ForeignOptions(onnx=tmp_path / "net.onnx"))


def test_names_that_are_not_text_are_refused(tmp_path):
    data = net().SerializeToString().replace(b"/y", b"/\x94", 1)
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(CaptureError):
        load_foreign(ForeignOptions(onnx=tmp_path / "net.onnx", scale=1 / 255)).to_onnx()


def test_an_output_without_elements_is_not_a_mask(tmp_path):
    node, weights = conv(2, result="z")
    bounds = {"b": np.array([0], np.int64), "axis": np.array([1], np.int64)}
    none = helper.make_node("Slice", ["z", "b", "b", "axis"], ["y"])
    with pytest.raises(CaptureError, match="No output is a map of the picture"):
        load(model([node, none], **weights, **bounds), tmp_path, scale=1 / 255)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (three_numbers, "0.5", (0.5, 0.5, 0.5)),
        (three_numbers, "1, 2 3", (1.0, 2.0, 3.0)),
        (number, "1/255", 1 / 255),
        (classes, "15", (15,)),
        (classes, "1-3, 7", (1, 2, 3, 7)),
    ],
)
def test_text_becomes_values(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (three_numbers, "1,2"), (three_numbers, ""), (number, "nan"), (number, "1/0"), (classes, "3-1"), (classes, ""),
        (scale_of, "0"), (scale_of, "-1/255"), (scale_of, "bgr=0"), (std_of, "0.5,0,0.5"), (std_of, "bgr=-1"),
    ],
)  # fmt: skip
def test_other_text_is_refused(read, text):
    with pytest.raises(ValueError, match=r"\w"):
        read(text)
