"""Build a small portrait network and quantize it with ONNX Runtime's own quantizers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from .nets import bilinear, conv

SIDE = 64
FORMS = ("qdq", "qdq_per_channel", "qoperator", "qoperator_per_channel", "dynamic", "dynamic_per_channel")


class Small(nn.Module):
    """Convolutions, a squeeze and excitation, a token mixer, a skip, and logits at full size."""

    def __init__(self, *, activation: bool = False) -> None:
        super().__init__()
        self.activation = activation
        self.down1, self.down2 = conv(3, 16, 2), conv(16, 32, 2)
        self.gate = nn.Conv2d(32, 32, 1)
        self.mix = nn.Linear(32, 32)
        self.depthwise = conv(32, 32, groups=32)
        self.fuse, self.head = conv(48, 16), nn.Conv2d(16, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        low = self.down1(image)
        deep = self.down2(functional.max_pool2d(low, 2))
        deep = deep * torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(deep, 1)))
        tokens = self.mix(deep.flatten(2).transpose(1, 2))
        deep = self.depthwise(deep + tokens.transpose(1, 2).reshape(deep.shape))
        logits = self.head(self.fuse(torch.cat([low, bilinear(deep, low.shape[-2:])], 1)))
        logits = bilinear(logits, image.shape[-2:])
        return torch.sigmoid(logits) if self.activation else logits


def float_file(path: Path, *, activation: bool = False) -> Path:
    """The network with seeded weights whose logits have both signs on photographs."""
    torch.manual_seed(0)
    module = Small(activation=activation).eval()
    with torch.no_grad():
        module.head.weight *= 20
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, 3, SIDE, SIDE),),
            buffer,
            input_names=["input"],
            output_names=["output"],
            opset_version=17,
            dynamo=False,
        )
    path.write_bytes(buffer.getvalue())
    return path


def quantized_file(path: Path, form: str, *, activation: bool = False) -> Path:
    """The network quantized in one of FORMS, with weights of 7 bits: integer kernels saturate on no processor."""
    from onnxruntime import quantization as ort

    source = float_file(path.with_suffix(".float.onnx"), activation=activation)
    ort.shape_inference.quant_pre_process(str(source), str(source), skip_symbolic_shape=True)
    per_channel = form.endswith("per_channel")
    if form.startswith("dynamic"):
        operators = ["Conv", "MatMul", "Gemm"]
        ort.quantize_dynamic(source, path, op_types_to_quantize=operators, per_channel=per_channel, reduce_range=True)
        return path
    style = ort.QuantFormat.QDQ if form.startswith("qdq") else ort.QuantFormat.QOperator
    ort.quantize_static(
        source,
        path,
        _Pictures(),
        quant_format=style,
        per_channel=per_channel,
        weight_type=ort.QuantType.QInt8,
        reduce_range=True,
    )
    return path


class _Pictures:
    """Smooth random pictures for calibration; the interface of ONNX Runtime's CalibrationDataReader."""

    def __init__(self) -> None:
        self._pictures = self._all()

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next picture; None after the last."""
        return next(self._pictures, None)

    @staticmethod
    def _all() -> Iterator[dict[str, np.ndarray]]:
        generator = np.random.default_rng(0)
        for _ in range(4):
            coarse = generator.uniform(-2, 2, (1, 3, 8, 8)).astype(np.float32)
            yield {"input": np.kron(coarse, np.ones((1, 1, SIDE // 8, SIDE // 8), np.float32))}


def operators(path: Path) -> set[str]:
    """The operators of a file, those of other domains with their domain."""
    nodes = onnx.load(path).graph.node
    return {f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in nodes}
