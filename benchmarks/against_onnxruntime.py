"""Time our runtime against ONNX Runtime on the shipped networks.

Ours runs the int8 package, ONNX Runtime the simplified ONNX file of the same network.

    python benchmarks/against_onnxruntime.py [--model segformer_b0 …] [--rounds 9]

Both run alternately in one process on one thread, at 512x512. It prints processor time: the medians, the median of the
rounds' ratios with their quartiles, and the ratio of each side's fastest round, which a busy machine disturbs least.
ONNX Runtime computes in float32; `as_typed` also rounds each value to half.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import portrait_export as pe
from portrait_export.artifacts import Frame
from portrait_export.runtime import load
from portrait_export.runtime.runner import PackageRunner

MODELS = ("segformer_b0", "serseg_b0", "lite0_fpn")
MODES = ("fp32", "as_typed")


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(model: str, mode: str, folder: Path, rounds: int) -> str:
    """A row of the table."""
    import onnxruntime

    package, onnx = folder / f"{model}.mlpackage", folder / f"{model}.onnx"
    if not package.exists():
        pe.export(model, quantize="int8", out=folder, parity=False)
    program = load(package, arithmetic=mode)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    array = np.random.default_rng(0).standard_normal(given.shape, np.float32)
    runner = PackageRunner(package)
    assert runner.spec is not None
    photo = np.random.default_rng(0).integers(0, 256, (*given.shape[-2:], 3), np.uint8)
    inputs = runner.inputs_of(Frame(photo, name="noise"))
    sides = (lambda: program.predict(inputs), lambda: session.run(None, {given.name: array}))
    for side in sides:
        side()
    times = [[seconds(side) for side in sides] for _ in range(rounds)]
    ratios = [ours / theirs for ours, theirs in times]
    low, middle, high = statistics.quantiles(ratios, n=4)
    fastest = min(ours for ours, _ in times) / min(theirs for _, theirs in times)
    ours, theirs = (1000 * statistics.median(side) for side in zip(*times, strict=True))
    return f"{model:<14}{mode:<10}{ours:>9.0f}{theirs:>15.0f}{middle:>8.2f}  {low:.2f}-{high:.2f}{fastest:>9.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'model':<14}{'mode':<10}{'ours, ms':>9}{'ONNX Runtime':>15}{'ratio':>8}  quartiles  fastest")
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.model:
            for mode in MODES:
                print(compare(model, mode, Path(folder) / model, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
