"""Test users' PyTorch code and TorchScript files: run, exported, and compared with their own results."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from portrait_export.artifacts import Frame
from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.capture.foreign.pytorch import load_weights
from portrait_export.capture.onnx.check import make_session, run_session
from portrait_export.errors import CaptureError, CheckpointError, PortraitError, UsageError
from portrait_export.inputs.sources import ModelSource, load_model

from .nets import SIDE, DeepLab, LrAspp, seeded

CODE = """
import torch
from neighbour import CHANNELS

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.b = torch.nn.Conv2d(CHANNELS, 1, 1)
    def forward(self, image):
        return {"mask": self.b(self.a(image).relu()).sigmoid(), "features": self.a(image)}

def build():
    torch.manual_seed(0)
    return Net()

class Antialiased(Net):
    def forward(self, image):
        small = torch.nn.functional.interpolate(image, scale_factor=0.5, mode="bilinear", antialias=True)
        return torch.nn.functional.interpolate(super().forward(small)["mask"], scale_factor=2.0, mode="bilinear")

def antialiased():
    return Antialiased()

def number():
    return 3

def broken():
    raise RuntimeError("no such backbone")

constant = 5

class Folded(torch.nn.Module):
    # Patches put together, which ONNX can since opset 18.
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a = torch.nn.Conv2d(3, 4, 2, stride=2)
    def forward(self, image):
        return torch.nn.functional.fold(self.a(image).flatten(2), (64, 64), 2, stride=2)
"""
SIZE = (SIDE, SIDE)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("CHANNELS = 6\n")
    file = tmp_path / "my_net.py"
    file.write_text(CODE)
    return file


def frame() -> Frame:
    coarse = np.random.default_rng(5).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Frame(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))


def test_an_operator_of_a_newer_opset_is_exported(code):
    network = load_foreign(ForeignOptions(torch=f"{code}:Folded", scale=1 / 255, size=SIZE))
    adapted = network.to_onnx()
    assert "Col2Im" in {node.op_type for node in adapted.graph.node}
    found = run_session(make_session(adapted), {"image": network.spec.normalise(frame())})
    [reference] = network.open_runner().run([frame()])
    np.testing.assert_allclose(found["logits"][0, 0], reference.logits, atol=1e-5)


def test_a_factory_is_called_and_its_net_is_the_reference(code):
    network = load_foreign(ForeignOptions(torch=f"{code}:build", scale=1 / 255, size=SIZE))
    assert (network.name, network.reference_name) == ("my_net", "PyTorch, build")
    assert network.head.output == "mask"
    found = run_session(make_session(network.to_onnx()), {"image": network.spec.normalise(frame())})
    [reference] = network.open_runner().run([frame()])
    np.testing.assert_allclose(found["mask"][0, 0], reference.probability, atol=1e-5)
    assert reference.logits is None  # PyTorch shows the sigmoid's result alone
    assert network.provenance["weights"] == "as build() leaves them"
    assert network.notes[0] == "captured by tracing: the module's own numbers on 3 photographs"


WRAPS = {
    "bare": lambda state: state,
    "trainer_and_data_parallel": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    "network_entry": lambda state: {"network": state, "epoch": 3},
    "ema_entry": lambda state: {"ema": {f"_orig_mod.model.{k}": v for k, v in state.items()}},
}


def build_weights() -> dict[str, torch.Tensor]:
    """Weights for what the code's `build` makes."""
    torch.manual_seed(1)
    weights = {"a.weight": torch.randn(6, 3, 3, 3), "a.bias": torch.zeros(6)}
    return weights | {"b.weight": torch.randn(1, 6, 1, 1), "b.bias": torch.ones(1)}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_a_checkpoint_is_loaded_through_its_wrappers(wrap, code, tmp_path):
    weights = build_weights()
    torch.save(wrap(weights), tmp_path / "best.pth")
    options = ForeignOptions(torch=f"{code}:build", scale=1 / 255, size=SIZE)
    network = load_foreign(options, tmp_path / "best.pth")
    image = torch.from_numpy(network.spec.normalise(frame()))
    hidden = torch.nn.functional.conv2d(image, weights["a.weight"], weights["a.bias"], padding=1).relu()
    expected = torch.nn.functional.conv2d(hidden, weights["b.weight"], weights["b.bias"]).sigmoid()
    found = run_session(make_session(network.to_onnx()), {"image": image.numpy()})
    np.testing.assert_allclose(found["mask"], expected.numpy(), atol=1e-5)


def test_the_entry_of_a_checkpoint_is_told_and_another_that_fits(code, tmp_path):
    weights = build_weights()
    averaged = {name: tensor + 0.5 for name, tensor in weights.items()}
    torch.save({"model": weights, "ema": {"module": averaged, "updates": 3}}, tmp_path / "last.pth")
    source = ModelSource(
        checkpoint=tmp_path / "last.pth", size=SIZE, foreign=ForeignOptions(torch=f"{code}:build", scale=1 / 255)
    )
    network = load_model(source)
    assert network.provenance["weights"] == "checkpoint last.pth, entry 'model'"
    assert network.warnings[0] == (
        "last.pth holds several sets of weights: those of entry 'model' are used, and entry 'ema.module'"
        " has others, such as averaged ones (EMA); to use these, save them alone: `torch.save(torch.load(FILE,"
        " weights_only=True)['ema']['module'], NEW_FILE)`"
    )


def test_counters_of_batch_norms_may_be_missing_as_pytorch_has_it(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    state = {name: tensor + 1 for name, tensor in net.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "w.pth")
    assert load_weights(net, tmp_path / "w.pth") == ("checkpoint w.pth", ())
    torch.testing.assert_close(net[1].running_mean, torch.ones(4))


def test_an_entry_that_does_not_fit_is_named(code, tmp_path):
    torch.save({"generator": {"a.weight": torch.zeros(6, 3, 5, 5)}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth, entry 'generator', does not fit the network: 4 of its weights"):
        load_foreign(ForeignOptions(torch=f"{code}:build", size=SIZE), tmp_path / "w.pth")


def test_parameters_are_those_of_the_module(code):
    """The graph stores the tables of an antialiased resize as well."""
    network = load_model(ModelSource(size=SIZE, foreign=ForeignOptions(torch=f"{code}:antialiased", scale=1 / 255)))
    assert network.parameters == 6 * 3 * 9 + 6 + 6 + 1


def test_a_value_inside_torch_code_cannot_be_the_mask(code):
    options = ForeignOptions(torch=f"{code}:build", scale=1 / 255, size=SIZE, mask_output="/net/b/Conv_output_0")
    with pytest.raises(UsageError, match="PyTorch, build does not return '/net/b/Conv_output_0'") as caught:
        load_foreign(options)
    assert "`mask_output=`" in caught.value.hint


def test_weights_that_do_not_fit_are_all_named(code, tmp_path):
    save_file({"a.weight": torch.zeros(6, 3, 5, 5), "c.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_foreign(ForeignOptions(torch=f"{code}:build", size=SIZE), tmp_path / "w.safetensors")
    assert caught.value.message == "w.safetensors does not fit the network: 5 of its weights."
    assert caught.value.context == (
        "missing: a.bias (6,)",
        "missing: b.weight (1, 6, 1, 1)",
        "missing: b.bias (1,)",
        "unexpected: c.weight (1,)",
        "a.weight: (6, 3, 5, 5) in the file, (6, 3, 3, 3) in the network",
    )


def test_a_checkpoint_with_code_in_it_is_refused(code, tmp_path):
    torch.save(seeded(lambda: LrAspp(1)), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match="was refused"):
        load_foreign(ForeignOptions(torch=f"{code}:build", size=SIZE), tmp_path / "whole.pth")


REFUSED = {
    "my_net.py": "`torch=` takes FILE.py:FACTORY; found",
    "my_net.py:": "`torch=` takes FILE.py:FACTORY; found",
    "other.py:build": "There is no file",
    "my_net.py:biuld": "my_net.py has no function or class 'biuld'.",
    "my_net.py:constant": "my_net.py has no function or class 'constant'.",
    "my_net.py:number": "number() of my_net.py returned an int, not a torch.nn.Module.",
    "my_net.py:broken": "broken() of my_net.py failed: RuntimeError: no such backbone",
}


@pytest.mark.parametrize("factory", REFUSED)
def test_what_is_not_a_factory_is_refused(factory, code):
    with pytest.raises(PortraitError) as caught:
        load_foreign(ForeignOptions(torch=str(code.parent / factory), size=SIZE))
    assert caught.value.message.startswith(REFUSED[factory])


def test_code_that_cannot_be_imported_is_reported_with_the_reason(tmp_path):
    (tmp_path / "net.py").write_text("import no_such_package\n")
    with pytest.raises(CaptureError, match=r"net\.py cannot be imported: ModuleNotFoundError: .*no_such_package"):
        load_foreign(ForeignOptions(torch=f"{tmp_path / 'net.py'}:build"))


@pytest.mark.parametrize("script", [False, True], ids=["traced", "scripted"])
def test_torchscript_runs_and_is_compared_with(script, tmp_path):
    net = seeded(lambda: LrAspp(2))
    example = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    program = torch.jit.script(net) if script else torch.jit.trace(net, example)
    program.save(str(tmp_path / "net.pt"))
    network = load_foreign(ForeignOptions(torchscript=tmp_path / "net.pt", scale=1 / 255, size=SIZE))
    found = run_session(make_session(network.to_onnx()), {"image": network.spec.normalise(frame())})
    with torch.no_grad():
        logits = net(torch.from_numpy(network.spec.normalise(frame())))
    np.testing.assert_allclose(found["mask"], logits.softmax(1)[:, 1:].numpy(), atol=1e-5)
    [reference] = network.open_runner().run([frame()])
    np.testing.assert_allclose(reference.logits, (logits[0, 1] - logits[0, 0]).numpy(), atol=1e-4)


def test_a_dictionary_s_keys_name_the_outputs(tmp_path):
    example = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    torch.jit.trace(seeded(DeepLab), example, strict=False).save(str(tmp_path / "net.pt"))
    network = load_foreign(ForeignOptions(torchscript=tmp_path / "net.pt", scale=1 / 255, size=SIZE))
    assert network.head.output == "out"
    assert network.head.person == (15,)


def test_what_is_not_torchscript_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(CaptureError, match=r"weights\.pt is not a TorchScript program"):
        load_foreign(ForeignOptions(torchscript=tmp_path / "weights.pt"))


def test_torchscript_with_one_bit_flipped_is_refused(tmp_path):
    example = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "net.pt"
    torch.jit.trace(seeded(DeepLab), example, strict=False).save(str(path))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda each: each.compress_size)
    data[entry.header_offset + 200 + entry.compress_size // 2] ^= 64
    path.write_bytes(data)
    with pytest.raises(CaptureError, match=r"net\.pt is damaged: the bytes of '.*' in it do not have the checksum"):
        load_foreign(ForeignOptions(torchscript=path, scale=1 / 255, size=SIZE))


def test_a_net_that_fails_is_reported_with_its_own_error(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n  def forward(s, x): return x.reshape(7)\n"
    )
    with pytest.raises(CaptureError, match=r"The network failed on a .1, 3, 64, 64. picture: RuntimeError: shape"):
        load_foreign(ForeignOptions(torch=f"{tmp_path / 'net.py'}:Net", size=SIZE))


def test_a_checkpoint_goes_with_code_only(tmp_path):
    with pytest.raises(UsageError, match="`checkpoint=` goes with `torch=` or `model=`"):
        load_foreign(ForeignOptions(onnx=tmp_path / "n.onnx"), tmp_path / "w.pth")
