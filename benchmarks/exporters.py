"""Try both ways to capture a PyTorch module.

Small modules that a trace gets wrong are exported by tracing alone and as `--torch` does, and compared with the module.

    python benchmarks/exporters.py

Largest difference of each ONNX file from the module, relative to the module's largest value, on a picture; or the
exporter's error. The last column is the way that `--torch` chose.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the modules are shared with the tests

from portrait_export.capture.export import quiet_tracing
from portrait_export.capture.foreign.exporting import export
from portrait_export.capture.onnx.check import run_once
from tests.capture.foreign.test_exporting import NETS, PICTURE, SIDE, pictures

ROW = "{:<46} {:<26} {:<8} {}"


def traced(net: torch.nn.Module) -> onnx.ModelProto:
    """What torch.onnx.export writes of a trace."""
    buffer: Any = io.BytesIO()
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["output"]}
    with quiet_tracing(), torch.no_grad():
        torch.onnx.export(net, (PICTURE,), buffer, dynamo=False, opset_version=17, **names)
    return onnx.load_from_string(buffer.getvalue())


def difference(net: torch.nn.Module, model: onnx.ModelProto) -> str:
    """Of an ONNX model from the module, on a picture that neither was made with."""
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = net(image).numpy()
    found = np.asarray(run_once(model, {"image": image.numpy()})["output"])
    if found.shape != expected.shape:
        return f"shape {found.shape}"
    return f"{np.abs(found - expected).max() / np.abs(expected).max():.0e}"


def by_tracing(net: torch.nn.Module) -> str:
    """The difference of a trace, or its error."""
    try:
        return difference(net, traced(net))
    except Exception as error:  # the exporter raises anything
        return type(error).__name__


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print(ROW.format("module", "tracing", "--torch", "captured by"))
    for name, build in NETS.items():
        torch.manual_seed(0)
        net = build().eval()
        ours = export(net, (PICTURE,), ["output"], pictures)
        way = ours.note.split(":")[0].removeprefix("captured by ")
        print(ROW.format(name, by_tracing(net), difference(net, ours.model), way), flush=True)


if __name__ == "__main__":
    main()
