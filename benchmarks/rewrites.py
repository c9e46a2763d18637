"""Registered models in; how much cheaper and faster our rewrites make them out: ratios measured in one run.

    python benchmarks/rewrites.py [MODEL …] [--size HxW] [--rounds N] [--threads N] [--packages]

Each model is exported with random weights, folded by onnxsim (the reference graph), and then rewritten. Both run in
ONNX Runtime in turn, round by round, so that whatever else the machine does falls on both alike; the figure is the
ratio of the two medians. PyTorch's eager mode runs in the same rounds, for orientation, and with `--packages` so do
the fp32 packages of both graphs under our own runtime. Ratios are comparable between machines of one kind,
milliseconds are not.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image

from portrait_export.capture.check import make_session, random_feeds, relative_error, run_session
from portrait_export.capture.cost import cost_of
from portrait_export.capture.export import export_onnx
from portrait_export.capture.simplify import simplify
from portrait_export.frontend.convert import lower
from portrait_export.mil.compile import compile_program
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata
from portrait_export.models.initialise import randomize_
from portrait_export.models.registry import create_model, list_models, model_spec
from portrait_export.preprocessing import PortraitSpec
from portrait_export.runtime import load

WARM_UP_ROUNDS = 2


def interleaved_ms(runs: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, float]:
    """Median time of each, all of them run once per round, in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(WARM_UP_ROUNDS + rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if index >= WARM_UP_ROUNDS:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def package(model: onnx.ModelProto, spec: PortraitSpec, path: Path) -> tuple[Callable[[], Any], Counter[str]]:
    """A saved fp32 package's prediction under our runtime, ready to be called; and its operators, counted."""
    lowered = lower(model, spec=spec)
    save_package(compile_program(lowered, precision="fp32"), lowered, path, metadata=Metadata())
    program = load(path)
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8))
    inputs: dict[str, Any] = {"image": picture}
    if "depth" in spec.inputs:
        inputs["depth"] = generator.random((1, 1, spec.height, spec.width), dtype=np.float32)
    operators = Counter(operation.type for operation in program.function.block.walk())
    return (lambda: program.predict(inputs)), operators


def measure(
    name: str, *, size: tuple[int, int] | None, rounds: int, threads: int, folder: Path | None
) -> tuple[str, ...]:
    """One row of the table."""
    spec = model_spec(name).portrait_spec()
    spec = spec.with_size(*size) if size else spec
    net = randomize_(create_model(name)).eval()
    exported = export_onnx(net, spec=spec)
    reference, _ = simplify(exported, rules=())
    rewritten, _ = simplify(exported)
    feeds = random_feeds(reference)
    tensors = [torch.from_numpy(feeds[key]) for key in spec.inputs]
    sessions = [make_session(model, threads=threads) for model in (reference, rewritten)]
    outputs = [run_session(session, feeds) for session in sessions]
    error = max(relative_error(outputs[0][key], outputs[1][key]) for key in outputs[0])
    runs: dict[str, Callable[[], Any]] = {
        "reference": lambda: run_session(sessions[0], feeds),
        "rewritten": lambda: run_session(sessions[1], feeds),
        "pytorch": lambda: net(*tensors),
    }
    before, after = cost_of(reference), cost_of(rewritten)
    layout = f"{before.layout_ops} → {after.layout_ops - after.absorbed_layout_ops}"
    if folder is not None:
        counts = []
        for key, model in (("package before", reference), ("package after", rewritten)):
            runs[key], operators = package(model, spec, folder / f"{name}-{key[8:]}.mlpackage")
            counts.append(operators["reshape"] + operators["transpose"])
        layout = f"{counts[0]} → {counts[1]}"
    with torch.no_grad():
        medians = interleaved_ms(runs, rounds=rounds)
    return (
        name,
        f"{before.weight_macs / 1e9:.2f} → {after.weight_macs / 1e9:.2f}",
        f"{before.macs.get('matmul', 0) / 1e9:.2f}",
        layout,
        f"{before.peak_activation_bytes / 2**20:.0f} → {after.peak_activation_bytes / 2**20:.0f}",
        f"{error:.0e}",
        f"{medians['reference'] / medians['rewritten']:.2f}×",
        f"{medians['pytorch'] / medians['rewritten']:.2f}×",
        f"{medians['package before'] / medians['package after']:.2f}×" if folder is not None else "",
    )


HEADER = (
    "model",
    "GMACs with weights",
    "in attention",
    "layout operators",
    "peak MiB",
    "rel. error",
    "faster than unrewritten",
    "than PyTorch eager",
    "package under our runtime",
)


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list_models(), help="registered models; all by default")
    parser.add_argument("--size", type=_size, help="HxW, each model's own by default")
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds (default 9)")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime and PyTorch (default 1)")
    parser.add_argument("--packages", action="store_true", help="also fp32 packages under our runtime (slow)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [HEADER]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if options.packages else None
        for name in options.models:
            row = measure(name, size=options.size, rounds=options.rounds, threads=options.threads, folder=folder)
            rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
