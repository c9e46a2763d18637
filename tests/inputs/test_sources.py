"""Every kind of network is loaded, exported and run in the same way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from portrait_export.artifacts import Frame
from portrait_export.capture.export import spec_of
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.capture.onnx.check import make_session, run_session
from portrait_export.errors import UsageError
from portrait_export.inputs.runners import open_runner
from portrait_export.inputs.sources import ModelSource, load_model
from portrait_export.models.registry import create_model
from portrait_export.models.weights_io import save_folder

SIDE = 64
SIZE = (SIDE, SIDE)
SCALED = {"do_normalize": False, "rescale_factor": 1 / 127.5, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
TORCH = "import torch\ndef build():\n    return torch.nn.Conv2d(3, 1, 3, padding=1)\n"


def checkpoint(folder: Path, preprocessor: dict[str, object] | None = None, model: str = "segformer_b0") -> Path:
    save_folder(create_model(model), folder)
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def own_onnx(folder: Path) -> ModelSource:
    weight = np.random.default_rng(0).standard_normal((1, 3, 1, 1)).astype(np.float32)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])],
        "net",
        [info("x", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [info("y", onnx.TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "own.onnx")
    return ModelSource(foreign=ForeignOptions(onnx=folder / "own.onnx", scale=1 / 255, keep_outputs=("y",)))


def own_torch(folder: Path) -> ModelSource:
    (folder / "own.py").write_text(TORCH)
    return ModelSource(foreign=ForeignOptions(torch=f"{folder / 'own.py'}:build", scale=1 / 255, size=SIZE))


# Name → source, the reference's name, kept outputs.
KINDS = {
    "random": (
        lambda folder: ModelSource(model="segformer_b0", random_weights=True, size=SIZE), "PyTorch", (),
    ),
    "checkpoint": (lambda folder: ModelSource(checkpoint=checkpoint(folder), size=SIZE), "PyTorch", ()),
    "onnx": (own_onnx, "ONNX Runtime, own.onnx", ("y",)),
    "torch": (own_torch, "PyTorch, build", ()),
}  # fmt: skip


def frame() -> Frame:
    coarse = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Frame(np.kron(coarse, np.ones((SIDE // 8, SIDE // 8, 1), np.uint8)))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_exports_what_it_runs(kind, tmp_path):
    build, reference_name, kept = KINDS[kind]
    model = load_model(build(tmp_path)).with_output("logits")
    assert (model.reference_name, model.kept_outputs, model.spec.output) == (reference_name, kept, "logits")
    assert (model.spec.height, model.spec.width) == SIZE
    assert model.parameters > 0
    assert len(model.provenance["weights_sha256"]) == 64
    exported = model.to_onnx()
    assert spec_of(exported) == model.spec
    found = run_session(make_session(exported), {"image": model.spec.normalise(frame())})
    [expected] = model.open_runner().run([frame()])
    assert np.ptp(expected.probability) > 1e-3, "a flat mask would prove nothing"
    np.testing.assert_allclose(found["mask"][0, 0], expected.probability, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_function_opens_a_runner_of_each_kind(kind, tmp_path):
    source = KINDS[kind][0](tmp_path)
    opened = open_runner(source)
    [expected] = load_model(source).open_runner().run([frame()])
    [found] = opened.runner.run([frame()])
    np.testing.assert_array_equal(found.probability, expected.probability)
    assert opened.sizes == (SIZE,)


def test_an_onnx_file_of_ours_runs_with_the_spec_in_it(tmp_path):
    model = load_model(ModelSource(model="segformer_b0", random_weights=True, size=SIZE))
    onnx.save(model.to_onnx(), tmp_path / "ours.onnx")
    opened = open_runner(ModelSource(foreign=ForeignOptions(onnx=tmp_path / "ours.onnx")))
    assert (opened.spec, opened.runner.name, opened.warnings) == (model.spec, "ours.onnx", ())
    [found], [expected] = (runner.run([frame()]) for runner in (opened.runner, model.open_runner()))
    np.testing.assert_allclose(found.probability, expected.probability, atol=1e-5)


def test_a_checkpoint_is_exported_with_its_own_preprocessing(tmp_path):
    source = ModelSource(checkpoint=checkpoint(tmp_path, {**SCALED, "size": {"height": 96, "width": 64}}))
    spec = spec_of(load_model(source).to_onnx())
    assert spec is not None
    assert (spec.scale, spec.mean, spec.std) == (1 / 127.5, (0, 0, 0), (1, 1, 1))
    assert (spec.height, spec.width) == (96, 64)


def test_a_checkpoint_without_a_fixed_size_asks_for_one(tmp_path):
    folder = checkpoint(tmp_path, {"size": {"shortest_edge": 512}})
    with pytest.raises(UsageError, match=r"gives no fixed input size: it scales the shortest edge") as caught:
        load_model(ModelSource(checkpoint=folder))
    assert "`size=" in caught.value.hint
    assert load_model(ModelSource(checkpoint=folder, size=SIZE)).spec.height == SIDE


def test_a_checkpoint_s_size_is_checked_like_any_other(tmp_path):
    folder = checkpoint(tmp_path, {"size": {"height": 100, "width": 64}}, model="serseg_b0_dam_depth")
    with pytest.raises(UsageError, match="multiples of 16 pixels; found 100x64") as caught:
        load_model(ModelSource(checkpoint=folder))
    assert caught.value.hint == "the nearest size is 96x64."
