"""The whole export against the plain coremltools sequence: wall time, peak memory, package size, operation counts.

    python benchmarks/whole_export.py [--model segformer_b0] [--rounds 5]

Both start from the same network with the same weights and end with an int8 package on disk. Each round runs both, one
after the other, in processes of their own; what is printed are ratios of medians over the rounds. Ours traces to ONNX,
checks it, simplifies, lowers, compiles, audits (`--no-parity`); theirs is
`torch.jit.trace` + `ct.convert` + `linear_quantize_weights` + `save`, twenty lines that everybody writes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLAIN = """
import sys, torch
import coremltools as ct
import coremltools.optimize.coreml as cto
from portrait_export.models.registry import create_model, model_spec

name, out = sys.argv[1:]
height, width = model_spec(name).size
net = create_model(name, seed=0).eval()
image = torch.zeros(1, 3, height, width)
with torch.no_grad():
    traced = torch.jit.trace(net, image)
inputs = [ct.ImageType(name="image", shape=image.shape, scale=1 / 255 / 0.226, bias=[-2.118, -2.036, -1.804])]
model = ct.convert(traced, inputs=inputs, minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
config = cto.OptimizationConfig(global_config=cto.OpLinearQuantizerConfig(mode="linear_symmetric"))
cto.linear_quantize_weights(model, config).save(out)
"""


def ours(model: str, folder: Path) -> tuple[list[str], Path]:
    """Our command line and the package that it writes."""
    command = [sys.executable, "-m", "portrait_export", "coreml", "-m", model, "--random-weights", "--no-parity", "-q"]
    return [*command, "--quantize", "int8", "-o", str(folder), "--force"], folder / f"{model}.mlpackage"


def plain(model: str, folder: Path) -> tuple[list[str], Path]:
    """The plain sequence as a command line, and its package."""
    package = folder / "plain.mlpackage"
    return [sys.executable, "-W", "ignore", "-c", PLAIN, model, str(package)], package


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} failed:\n{said}")
    scale = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is bytes there, KiB here
    return time.perf_counter() - start, usage.ru_maxrss / scale


def facts(package: Path) -> tuple[int, int, int]:
    """Operations, reshapes and transposes among them, and bytes of a package."""
    from portrait_export.mil.describe import describe_program
    from portrait_export.mil.program import read_program

    described = describe_program(read_program(package), package)
    counts = described["operations"]
    computing = {name: n for name, n in counts.items() if not name.startswith("constexpr_")}
    layout = sum(n for name, n in computing.items() if name in ("reshape", "transpose"))
    return sum(computing.values()), layout, described["size_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="segformer_b0")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    memory: dict[str, list[float]] = {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as temporary:
        for name in seconds:
            (Path(temporary) / name).mkdir()
        jobs = {f.__name__: f(arguments.model, Path(temporary) / f.__name__) for f in (ours, plain)}
        for _ in range(arguments.rounds):
            for name, (command, _) in jobs.items():
                wall, peak = measure(command)
                seconds[name].append(wall)
                memory[name].append(peak)
        found = {name: facts(package) for name, (_, package) in jobs.items()}
    print(f"{arguments.model}, int8, {arguments.rounds} rounds, interleaved")
    for what, table, unit in (("wall time", seconds, "s"), ("peak memory", memory, "MiB")):
        ratio = statistics.median(table["ours"]) / statistics.median(table["plain"])
        spread = ", ".join(f"{n} {min(v):.1f}–{max(v):.1f} {unit}" for n, v in table.items())
        print(f"{what:<22} ours / plain = {ratio:.2f}   ({spread})")
    for index, what in enumerate(("operations", "reshapes + transposes", "bytes")):
        print(f"{what:<22} ours {found['ours'][index]:,}, plain {found['plain'][index]:,}")


if __name__ == "__main__":
    main()
