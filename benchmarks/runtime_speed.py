"""Compare the speed and memory of our runtime with torch eager.

    python benchmarks/runtime_speed.py [--model segformer_b0] [--rounds 7] [--threads 2]

The network's fp16 package at its own size (coremltools' frontend makes it, so that only the runtime is under test) runs
in each arithmetic mode, alternating with torch eager in one process. It prints the median of the rounds' ratios and
their spread. Peak memory is measured in a separate process for each, less what the imports use. On a busy machine CPU
time is reliable; wall time, which is what a person waits, is not.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

MODES = ("fp32", "as_typed", "fp16")
BATCH = 6  # images of the comparison "several at once"

MAKE = """
import sys, torch
from portrait_export.mil import coreml
from portrait_export.models.registry import create_model, model_spec

name, out = sys.argv[1:]
ct = coreml.coremltools()
height, width = model_spec(name).size
net = create_model(name, seed=0).eval()
example = torch.zeros(1, 3, height, width)
with torch.no_grad():
    traced = torch.jit.trace(net, example, check_trace=False)
model = ct.convert(
    traced, inputs=[ct.TensorType(name="image", shape=example.shape)], outputs=[ct.TensorType(name="logits")],
    minimum_deployment_target=ct.target.iOS17, skip_model_load=True,
)
model.save(out)
"""

PEAK = """
import resource, sys, torch
from pathlib import Path


def peak():
    status = Path("/proc/self/status")  # ru_maxrss would start from the parent's peak
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


name, package, what, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
from portrait_export.models.registry import create_model, model_spec
from portrait_export.runtime import load, model
from portrait_export.runtime.registry import kernels

kernels()
height, width = model_spec(name).size
image = torch.rand(1, 3, height, width)
before = peak()
if what == "eager":
    net = create_model(name, seed=0).eval()
    with torch.inference_mode():
        for _ in range(3):
            net(image)
else:
    program = load(package, arithmetic=what)
    for _ in range(3):
        program.predict({"image": image})
print(peak() - before)
"""


def _child(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _ratios(name: str, ours: list[float], theirs: list[float]) -> str:
    each = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return f"{name} {statistics.median(each):.2f} ({each[0]:.2f}..{each[-1]:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="segformer_b0", help="a registered model (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="how often each runs (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: torch's own choice)")
    options = parser.parse_args()

    import torch

    from portrait_export.models.registry import create_model, model_spec
    from portrait_export.runtime import load

    if options.threads:
        torch.set_num_threads(options.threads)
    height, width = model_spec(options.model).size
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "benchmark.mlpackage"
        _child(MAKE, options.model, package)
        net = create_model(options.model, seed=0).eval()

        def eager() -> object:
            with torch.inference_mode():
                return net(image)

        programs = {mode: load(package, arithmetic=mode) for mode in MODES}
        work: dict[str, Callable[[], object]] = {"eager": eager}
        work.update({mode: partial(program.predict, {"image": image}) for mode, program in programs.items()})
        for one in work.values():
            one()  # once to warm up
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
        for _ in range(options.rounds):
            for name, one in work.items():
                times[name].append(_timed(one))
        print(f"{options.model} {height}x{width}, {torch.get_num_threads()} threads, {options.rounds} rounds")
        for kind, index in (("wall time", 0), ("CPU time", 1)):
            base = [t[index] for t in times["eager"]]
            rows = ", ".join(_ratios(mode, [t[index] for t in times[mode]], base) for mode in MODES)
            print(f"  {kind} against eager ({statistics.median(base):.3f} s): {rows}")
        peaks = {name: int(_child(PEAK, options.model, package, name, torch.get_num_threads())) for name in work}
        rows = ", ".join(f"{mode} {peaks[mode] / peaks['eager']:.2f}" for mode in MODES)
        print(f"  peak memory against eager ({peaks['eager'] / 1024:.0f} MiB): {rows}")
        images = [{"image": image}] * BATCH
        program = programs["fp32"]
        alone = [_timed(lambda: [program.predict(one) for one in images])[0] for _ in range(3)]
        together = [_timed(lambda: program.predict(images))[0] for _ in range(3)]
        print(f"  {BATCH} images in one call against one by one, wall time: {_ratios('fp32', together, alone)}")


if __name__ == "__main__":
    main()
