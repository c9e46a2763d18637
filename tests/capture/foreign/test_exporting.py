"""Test that modules are captured with their own numbers, and that a trace that differs is reported as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from portrait_export.capture.foreign.exporting import export
from portrait_export.capture.onnx.check import run_once
from portrait_export.errors import CaptureError

SIDE = 24
PICTURE = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    """An operation between two convolutions."""

    def __init__(self, operation: Callable[[nn.Module, Tensor], Tensor], part: nn.Module | None = None):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.part = part or nn.Identity()
        self.operation = operation

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.operation(self.part, torch.tanh(self.first(image))))


def pictures(model: onnx.ModelProto) -> list[list[np.ndarray]]:
    """Two bright pictures and a dark one."""
    generator = np.random.default_rng(1)
    return [[generator.uniform(0, high, (1, 3, SIDE, SIDE)).astype(np.float32)] for high in (1, 1, 0.2)]


def captured(net: nn.Module) -> tuple[onnx.ModelProto, str]:
    found = export(net.eval(), (PICTURE,), ["output"], pictures)
    return found.model, found.note


def resized(y: Tensor, size: int, **options: Any) -> Tensor:
    small = functional.interpolate(y, size=(size, size + 1), **options)
    return functional.interpolate(small, size=(SIDE, SIDE), **options)


def pyramid(part: nn.Module, y: Tensor) -> Tensor:
    """A level of a pyramid whose bins are not equal, as PSPNet and UPerNet have them: pool, norm, resize."""
    return functional.interpolate(part(functional.adaptive_avg_pool2d(y, 5)), size=SIDE, mode="bilinear")


def volumes(part: nn.Module, y: Tensor) -> Tensor:
    pooled = functional.adaptive_avg_pool3d(y.unflatten(1, (2, 4)), (3, 5, 7))
    return y + functional.interpolate(pooled.flatten(1, 2), size=SIDE).mean(1, keepdim=True)


def written(part: nn.Module, y: Tensor) -> Tensor:
    y = functional.interpolate(functional.adaptive_avg_pool2d(y, 5), size=SIDE) + y
    y[:, :2] = 0.5
    y[:, :, 3:9:2] *= 2
    y[:, -1] = y[:, 3]
    return y


def attention(part: nn.Module, y: Tensor) -> Tensor:
    tokens = y.flatten(2).transpose(1, 2)
    result = part(tokens, tokens, tokens)[0] if isinstance(part, nn.MultiheadAttention) else part(tokens)
    return result.transpose(1, 2).reshape(y.shape)


def unpooled(part: nn.Module, y: Tensor) -> Tensor:
    values, places = functional.max_pool2d(y, 2, return_indices=True)
    return functional.max_unpool2d(values, places, 2)  # type: ignore[arg-type]  # as people call it


def filtered(part: nn.Module, y: Tensor) -> Tensor:
    """Spectral features as fast Fourier convolutions have them: real and imaginary parts through a ReLU."""
    parts = torch.view_as_real(torch.fft.rfft2(y, norm="ortho")).relu()
    return torch.fft.irfft2(torch.view_as_complex(parts + 0.1), s=y.shape[-2:], norm="ortho")


def modulated(part: nn.Module, y: Tensor) -> Tensor:
    """A global filter: the spectrum times complex weights."""
    assert isinstance(part.weight, Tensor)
    weights = torch.complex(part.weight[:, :, 0, 0], part.weight[:, :, 0, 0] * 0.5)
    return torch.fft.irfft2(torch.fft.rfft2(y[..., :23]) * weights, s=(SIDE, SIDE))


class Encoder(nn.TransformerEncoder):
    def __init__(self) -> None:
        super().__init__(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)


NETS: dict[str, Callable[[], nn.Module]] = {
    "adaptive_average_with_unequal_bins": lambda: Head(
        lambda part, y: functional.interpolate(functional.adaptive_avg_pool2d(y, (5, 7)), size=SIDE)
    ),
    "pyramid_pooling_with_batch_norm": lambda: Head(pyramid, nn.BatchNorm2d(8)),
    "pyramid_pooling_with_batch_norm_of_its_input": lambda: Head(pyramid, nn.BatchNorm2d(8, track_running_stats=False)),
    "casts_beside_unequal_bins": lambda: Head(
        lambda part, y: functional.interpolate(functional.adaptive_avg_pool2d(y, 5), size=SIDE) * (y > 0).long().float()
    ),
    "adaptive_maximum_1d": lambda: Head(
        lambda part, y: functional.interpolate(functional.adaptive_max_pool1d(y.flatten(2), 7), size=SIDE)[..., None]
    ),
    "adaptive_average_3d": lambda: Head(volumes),
    "slices_written_to_beside_unequal_bins": lambda: Head(written),
    "floor_division_of_negative_numbers": lambda: Head(
        lambda part, y: ((y * 20).int() // 3).float() + torch.div(y, y.abs() + 0.3, rounding_mode="floor")
    ),
    "definitions": lambda: Head(lambda part, y: torch.hypot(torch.trunc(y * 5), torch.expm1(y))),
    "threshold": lambda: Head(lambda part, y: functional.threshold(y, 0.1, -1.5)),
    "adaptive_average_1d": lambda: Head(
        lambda part, y: functional.interpolate(functional.adaptive_avg_pool1d(y.flatten(2), 7), size=SIDE)[..., None]
    ),
    "adaptive_maximum_with_unequal_bins": lambda: Head(
        lambda part, y: functional.interpolate(functional.adaptive_max_pool2d(y, (5, 7)), size=SIDE)
    ),
    "multihead_attention": lambda: Head(attention, nn.MultiheadAttention(8, 2, batch_first=True)),
    "transformer_encoder": lambda: Head(attention, Encoder()),
    "spectrum_in_real_parts": lambda: Head(filtered),
    "spectrum_times_complex_weights": lambda: Head(modulated, nn.Conv2d(12, SIDE, 1)),
    "complex_spectrum_there_and_back": lambda: Head(lambda part, y: torch.fft.ifft2(torch.fft.fft2(y) * 1j).imag),
    "antialiased_bilinear": lambda: Head(lambda part, y: resized(y, 9, mode="bilinear", antialias=True)),
    "antialiased_bicubic": lambda: Head(lambda part, y: resized(y, 9, mode="bicubic", antialias=True)),
    "nearest_exact": lambda: Head(lambda part, y: resized(y, 11, mode="nearest-exact")),
    "area": lambda: Head(lambda part, y: resized(y, 11, mode="area")),
    "channel_shuffle": lambda: Head(lambda part, y: functional.channel_shuffle(y, 4)),
    "max_unpool": lambda: Head(unpooled),
    "average_with_a_divisor": lambda: Head(lambda part, y: functional.avg_pool2d(y, 3, 2, 1, divisor_override=4)),
    "log_sigmoid_of_very_negative_values": lambda: Head(lambda part, y: functional.logsigmoid(y * 300) * 0.01),
}


@pytest.mark.parametrize("build", NETS.values(), ids=NETS)
def test_what_a_trace_cannot_express_is_captured_by_torch_export(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = build().eval()
    with torch.no_grad():
        for name, statistics in net.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistics.uniform_(0.2, 2)
    model, note = captured(net)
    assert note == "captured by torch.export: the module's own numbers on 3 photographs"
    picture = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = net(picture).numpy()
    np.testing.assert_allclose(run_once(model, {"image": picture.numpy()})["output"], expected, atol=1e-5)


def test_a_trace_that_agrees_is_preferred() -> None:
    folded = Head(lambda part, y: functional.fold(functional.unfold(y, 3, padding=1), (SIDE, SIDE), 3, padding=1))
    assert captured(folded)[1].startswith("captured by tracing")


class Branching(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return -y if float(y.mean()) < 0.45 else y


class Branch(nn.Module):
    """Its middle part looks at the picture's brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.last = Branching(), nn.Conv2d(3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.look(image))


class OwnBranch(Branch):
    def forward(self, image: Tensor) -> Tensor:
        y = self.last(image)
        return -y if float(image.mean()) < 0.45 else y


class Noisy(Branch):
    def forward(self, image: Tensor) -> Tensor:
        return functional.dropout(self.last(image), 0.5, training=True)


BLAMED = {
    "a_module": (Branch, "the first module whose result differs: look (Branching)"),
    "the_networks_own_code": (
        OwnBranch,
        "the modules inside agree: what the network's own forward does, after last (Conv2d) differs",
    ),
    "noise": (Noisy, "two runs of the module on one picture differ: dropout or noise is left on"),
}


@pytest.mark.parametrize(("build", "line"), BLAMED.values(), ids=BLAMED)
def test_a_trace_that_differs_is_said_to_be_that(
    build: Callable[[], nn.Module], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CaptureError, match="gives another result than the network itself") as caught:
        captured(build())
    assert caught.value.code == "trace-differs"
    assert caught.value.context[-1] == line
    assert caught.value.context[0].startswith("by tracing: output: relative error")
    assert "dropout or noise left on" in caught.value.hint
    assert "`person_class=`" not in caught.value.hint
    assert capfd.readouterr().err == ""  # the error says it all


class Unwritable(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return torch.linalg.svdvals(image)


def test_a_module_that_no_way_captures_is_refused_with_each_reason() -> None:
    with pytest.raises(CaptureError, match="could not be exported to ONNX at 24x24") as caught:
        captured(Unwritable())
    assert "svd" in caught.value.message
    assert any(line.startswith("by torch.export: ") for line in caught.value.context)
    assert "data-dependent" not in caught.value.hint
