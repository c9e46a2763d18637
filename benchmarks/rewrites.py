"""Measure how much cheaper and faster our rewrites make the registered models.

    python benchmarks/rewrites.py [--models NAME …] [--threads N …] [--size HxW] [--rounds N] [--no-packages]

Each model is exported with random weights, folded by onnxsim (the reference graph), and then rewritten. In every round
each of these runs once, so that other load on the machine affects all of them alike:

    PyTorch's eager mode                     the network as it was written
    ONNX Runtime                             the reference graph, and the rewritten one
    our runtime                              the fp32 packages of both graphs

The figures are ratios of medians: how many times faster the rewritten graph is. Ratios are comparable between machines
of one kind, milliseconds are not.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image

from portrait_export.capture.export import export_onnx
from portrait_export.capture.onnx.check import make_session, random_feeds, relative_error, run_session
from portrait_export.capture.onnx.cost import cost_of
from portrait_export.capture.simplify import simplify
from portrait_export.frontend.convert import lower
from portrait_export.mil.compile import compile_program
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata
from portrait_export.models.initialise import randomize_
from portrait_export.models.registry import create_model, list_models, model_spec
from portrait_export.preprocessing import PortraitSpec
from portrait_export.runtime import load

WARM_UP_ROUNDS = 1
MODELS = ("segformer_b0", "serseg_b0", "sernet_former")


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


@dataclass(frozen=True)
class Prepared:
    """A model, ready to be run in every way.

    Attributes:
        name: of the model.
        graphs: the reference graph and the rewritten one.
        feeds: their inputs.
        net: the network itself.
        packages: predictions of both graphs' packages; empty with --no-packages.
        package_layout: reshapes and transposes of both packages.
    """

    name: str
    graphs: tuple[onnx.ModelProto, onnx.ModelProto]
    feeds: dict[str, np.ndarray]
    net: Callable[[], Any]
    packages: tuple[Callable[[], Any], ...]
    package_layout: tuple[int, ...]


def prepare(name: str, *, size: tuple[int, int] | None, folder: Path | None) -> Prepared:
    """Export a model with and without our rewrites."""
    spec = model_spec(name).portrait_spec()
    spec = spec.with_size(*size) if size else spec
    net = randomize_(create_model(name)).eval()
    exported = export_onnx(net, spec=spec)
    graphs = simplify(exported, rules=())[0], simplify(exported)[0]
    feeds = random_feeds(graphs[0])
    tensors = [torch.from_numpy(feeds[key]) for key in spec.inputs]
    packages: list[tuple[Callable[[], Any], Counter[str]]] = []
    if folder is not None:
        for state, graph in zip(("reference", "rewritten"), graphs, strict=True):
            packages.append(package(graph, spec, folder / f"{name}-{state}.mlpackage"))
    return Prepared(
        name,
        graphs,
        feeds,
        lambda: net(*tensors),
        tuple(run for run, _ in packages),
        tuple(operators["reshape"] + operators["transpose"] for _, operators in packages),
    )


def costs(prepared: Prepared) -> tuple[str, ...]:
    """What a model costs before → after, and how much its outputs changed."""
    before, after = (cost_of(graph) for graph in prepared.graphs)
    outputs = [run_session(make_session(graph), prepared.feeds) for graph in prepared.graphs]
    error = max(relative_error(expected, outputs[1][key]) for key, expected in outputs[0].items())
    return (
        prepared.name,
        f"{before.weight_macs / 1e9:.2f} → {after.weight_macs / 1e9:.2f}",
        f"{before.macs.get('matmul', 0) / 1e9:.2f}",
        f"{sum(before.operators.values())} → {sum(after.operators.values())}",
        f"{before.layout_ops} → {after.layout_ops - after.absorbed_layout_ops}",
        " → ".join(map(str, prepared.package_layout)),
        f"{before.peak_activation_bytes / 2**20:.0f} → {after.peak_activation_bytes / 2**20:.0f}",
        f"{error:.0e}",
    )


def speeds(prepared: Prepared, *, rounds: int, threads: int) -> tuple[str, ...]:
    """How many times faster the rewritten graph runs with this number of threads."""
    torch.set_num_threads(threads)
    sessions = [make_session(graph, threads=threads) for graph in prepared.graphs]
    runs: dict[str, Callable[[], Any]] = {
        "eager": prepared.net,
        "onnx before": lambda: run_session(sessions[0], prepared.feeds),
        "onnx after": lambda: run_session(sessions[1], prepared.feeds),
        **dict(zip(("package before", "package after"), prepared.packages, strict=False)),
    }
    with torch.inference_mode():
        medians = interleaved_ms(runs, rounds=rounds)

    def ratio(slow: str, fast: str) -> str:
        return f"{medians[slow] / medians[fast]:.2f}×" if fast in medians else ""

    return (
        prepared.name,
        str(threads),
        ratio("onnx before", "onnx after"),
        ratio("eager", "onnx after"),
        ratio("package before", "package after"),
        ratio("eager", "package after"),
    )


COSTS = (
    "model",
    "GMACs with weights",
    "in attention",
    "operators",
    "layout operators",
    "in the package",
    "peak MiB",
    "rel. error",
)
SPEEDS = (
    "model",
    "threads",
    "ONNX Runtime: than the reference graph",
    "than PyTorch eager",
    "our runtime: than the reference package",
    "than PyTorch eager",
)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


def main() -> None:
    """Print what the models cost and how much faster they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=list_models(), metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=[1], metavar="N", help="thread counts (default 1)")
    parser.add_argument("--size", type=_size, help="HxW, each model's own by default")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default 5)")
    parser.add_argument("--no-packages", action="store_true", help="leave our own runtime out")
    options = parser.parse_args()
    table: list[tuple[str, ...]] = [COSTS]
    times: list[tuple[str, ...]] = [SPEEDS]
    with tempfile.TemporaryDirectory() as temporary:
        folder = None if options.no_packages else Path(temporary)
        for name in options.models:
            prepared = prepare(name, size=options.size, folder=folder)
            table.append(costs(prepared))
            times += [speeds(prepared, rounds=options.rounds, threads=threads) for threads in options.threads]
    print_table(table)
    print()
    print_table(times)


if __name__ == "__main__":
    main()
