"""A model whose weights are in a file: it comes back as it was, it runs, and its file goes with it."""

from __future__ import annotations

import gc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.onnx.check import check_model, run_once
from portrait_export.capture.onnx.graph import Graph
from portrait_export.capture.onnx.stored import StoredModel
from portrait_export.utils.files import OutputError

from .test_light import WEIGHT, X, model


def as_written(source: onnx.ModelProto) -> onnx.ModelProto:
    """A model with everything that a file can hold around its weights."""
    source.producer_name, source.doc_string, source.graph.doc_string = "somebody", "text", "more"
    source.metadata_props.add(key="a", value="b")
    source.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 64, 8, 8]))
    nibbles = helper.make_tensor("nibbles", TensorProto.INT4, [128, 64], np.ones(4096, np.uint8).tobytes(), raw=True)
    typed = helper.make_tensor("typed", TensorProto.FLOAT, [5000], np.arange(5000.0))
    halves = numpy_helper.from_array(np.arange(4097, dtype=np.float16), "halves")
    source.graph.initializer.extend([nibbles, typed, halves])
    return source


def test_a_stored_model_comes_back_as_it_was():
    stored = StoredModel(as_written(model()))
    outside = [tensor.name for tensor in stored.outline.graph.initializer if not tensor.HasField("raw_data")]
    assert outside == ["w", "nibbles", "typed", "halves"]
    assert stored.whole() == as_written(model())


@pytest.mark.parametrize("source", [model(), as_written(model())])
def test_it_is_written_as_protobuf_serializes_it(tmp_path, source):
    StoredModel(source).write(tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == source.SerializeToString(deterministic=True)


def test_it_is_checked_and_runs_from_its_file():
    stored = StoredModel(model())
    check_model(stored.outline)
    np.testing.assert_array_equal(run_once(stored, X)["y"], run_once(model(), X)["y"])


def test_a_graph_reads_and_replaces_its_weights():
    stored = StoredModel(model())
    graph = Graph(stored)
    np.testing.assert_array_equal(graph.constant("w"), WEIGHT)
    [conv] = [node for node in graph.nodes if node.op == "Conv"]
    graph.set_input(conv, 1, graph.add_constant(2 * graph.constant("w"), name="doubled"))
    doubled = stored.with_outline(graph.to_model())
    assert not any(
        tensor.HasField("raw_data") for tensor in doubled.outline.graph.initializer if tensor.name != "shape"
    )
    np.testing.assert_allclose(run_once(doubled, X)["y"], 2 * run_once(stored, X)["y"], rtol=1e-5)


def test_packed_weights_are_unpacked():
    stored = StoredModel(as_written(model()))
    tensors = {tensor.name: tensor for tensor in stored.outline.graph.initializer}
    assert stored.array(tensors["nibbles"]).shape == (128, 64)
    assert stored.array(tensors["halves"]).dtype == np.float16
    assert stored.array(tensors["typed"])[4999] == 4999


def test_a_full_temporary_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="missing") as raised:
        StoredModel(model())
    assert "TMPDIR" in raised.value.hint


def test_the_files_go_with_the_last_model_that_refers_to_them():
    stored = StoredModel(model())
    with stored.file() as path:
        folder = path.parent
    other = stored.with_outline(stored.outline)
    del stored
    gc.collect()
    assert folder.exists()
    assert other.whole() == model()
    del other
    gc.collect()
    assert not folder.exists()
