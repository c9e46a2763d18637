"""Test load_onnx: sound files are read whole; damaged, hostile and other files are one clear CaptureError."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from portrait_export.artifacts import READABLE_OPSETS
from portrait_export.capture.onnx.load import load_onnx
from portrait_export.errors import CaptureError

WEIGHT = np.arange(300 * 300, dtype=np.float32).reshape(300, 300)


def circle(folder):
    (folder / "circle").symlink_to("circle")
    return stored_externally(folder, location="circle")


def small_model():
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 300])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 300])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def stored(folder):
    onnx.save(small_model(), folder / "m.onnx")
    return folder / "m.onnx"


def stored_externally(folder, **entries):
    """A model whose weight is in m.data, with `external_data` entries changed."""
    path = folder / "m.onnx"
    onnx.save(
        small_model(),
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="m.data",
        size_threshold=0,
    )
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = entries.pop(entry.key, entry.value)
    for key, value in entries.items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def weight_of(model):
    return numpy_helper.to_array(model.graph.initializer[0])


def test_a_file_in_one_piece_is_read(tmp_path):
    np.testing.assert_array_equal(weight_of(load_onnx(stored(tmp_path))), WEIGHT)


def test_external_data_next_to_the_model_is_read(tmp_path):
    model = load_onnx(stored_externally(tmp_path))
    np.testing.assert_array_equal(weight_of(model), WEIGHT)
    assert not model.graph.initializer[0].external_data


def cut(size):
    def damage(folder):
        path = stored(folder)
        path.write_bytes(path.read_bytes()[:size])
        return path

    return damage


def written(data):
    def damage(folder):
        (folder / "m.onnx").write_bytes(data)
        return folder / "m.onnx"

    return damage


def without_data_file(folder):
    path = stored_externally(folder)
    (folder / "m.data").unlink()
    return path


def short_data_file(folder):
    path = stored_externally(folder)
    (folder / "m.data").write_bytes(b"12345")
    return path


def linked_out(folder):
    inner = folder / "inner"
    inner.mkdir()
    (folder / "secret.data").write_bytes(bytes(WEIGHT.nbytes))
    path = stored_externally(inner, location="link.data")
    (inner / "link.data").symlink_to(folder / "secret.data")
    return path


def edited(edit):
    def damage(folder):
        model = small_model()
        edit(model)
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        return folder / "m.onnx"

    return damage


def wrong_byte_count(model):
    model.graph.initializer[0].raw_data = b"1234"


def negative_dimension(model):
    model.graph.initializer[0].dims[0] = -1


def unknown_type(model):
    model.graph.initializer[0].data_type = 200


def dangling_input(model):
    model.graph.node[0].input[0] = "nobody"


def negative_input(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -5


def no_opset(model):
    del model.opset_import[:]


def future_opset(model):
    model.opset_import[0].version = 99


def future_ir(model):
    model.ir_version = 1000


@pytest.mark.parametrize("opset", [READABLE_OPSETS[0], 27, READABLE_OPSETS[-1]])
def test_every_opset_that_the_lowerings_know_is_read(opset, tmp_path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(made, tmp_path / "m.onnx")
    assert load_onnx(tmp_path / "m.onnx").opset_import[0].version == opset


REFUSALS = {
    "missing_file": (lambda folder: folder / "none.onnx", "There is no ONNX file at"),
    "folder": (lambda folder: folder, "is not a file"),
    "empty_file": (written(b""), "has no graph with nodes in it"),
    "text_file": (written(b"<html>404 not found</html>"), r"m.onnx is not ONNX, or cut off \(26 bytes\)"),
    "cut_in_the_middle": (cut(1000), "m.onnx is not ONNX, or cut off"),
    "cut_after_the_header": (cut(2), "has no graph with nodes in it"),
    "wrong_byte_count": (edited(wrong_byte_count), r"w: 4 bytes, its shape \[300, 300\] needs 360,000"),
    "negative_dimension": (edited(negative_dimension), r"w: negative dimension in \[-1, 300\]"),
    "unknown_element_type": (edited(unknown_type), "w: unknown element type 200"),
    "reads_a_value_that_nobody_makes": (edited(dangling_input), "not a valid ONNX model"),
    "input_with_a_negative_side": (edited(negative_input), "input 'x' has the shape -5×300, with a negative side"),
    "no_opset": (edited(no_opset), "does not name its ONNX opset"),
    "opset_from_the_future": (edited(future_opset), "its opset 99 is outside 1..28"),
    "ir_from_the_future": (edited(future_ir), "its IR version 1000 is newer"),
    "data_file_missing": (without_data_file, r"w: its data file 'm.data' is missing"),
    "data_file_too_short": (short_data_file, r"w: bytes 0..360000 are outside 'm.data' of 5 bytes"),
    "data_file_absolute": (
        lambda folder: stored_externally(folder, location="/etc/hostname"),
        "'/etc/hostname' is not inside the model's folder",
    ),
    "data_file_above": (
        lambda folder: stored_externally(folder, location="../m.data"),
        "'../m.data' is not inside the model's folder",
    ),
    "data_file_links_out": (linked_out, "'link.data' links out of the model's folder"),
    "data_file_links_in_a_circle": (circle, "data file 'circle' cannot be read: its links lead in a circle"),
    "data_file_with_nul": (
        lambda folder: stored_externally(folder, location="a\0b"),
        r"data file 'a\\x00b' cannot be read: no file can have this name",
    ),
    "data_file_with_a_long_name": (
        lambda folder: stored_externally(folder, location="a" * 300),
        "data file 'a{60}…' cannot be read: File name too long",
    ),
    "negative_offset": (lambda folder: stored_externally(folder, offset="-8"), "are outside 'm.data'"),
    "offset_not_a_number": (
        lambda folder: stored_externally(folder, offset="x"),
        "offset or length in 'm.data' is not",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_load_refuses(case, tmp_path):
    damage, words = REFUSALS[case]
    with pytest.raises(CaptureError, match=words):
        load_onnx(damage(tmp_path))


def test_a_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("portrait_export.capture.onnx.load.MAX_PROTOBUF_BYTES", 1000)
    with pytest.raises(CaptureError, match="at most 2 GiB can be read"):
        load_onnx(stored(tmp_path))


@pytest.mark.parametrize("seed", range(8))
def test_a_file_with_random_damage_is_either_refused_or_valid(seed, tmp_path):
    generator = np.random.default_rng(seed)
    path = stored(tmp_path)
    data = bytearray(path.read_bytes())
    header = [*range(60), *range(len(data) - 120, len(data))]  # not the weight's bytes: any float is valid
    for position in generator.choice(header, 3):
        data[position] = generator.integers(0, 256)
    path.write_bytes(bytes(data))
    try:
        model = load_onnx(path)
    except CaptureError:  # any other exception fails the test
        return
    onnx.checker.check_model(model)
