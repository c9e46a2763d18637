"""Compare the time, memory and size of a whole export with other tools.

    python benchmarks/whole_export.py [--model segformer_b0] [--rounds 5] [--onnx2coreml FOLDER]

Two comparisons, each between tools that start from the same input and write a package to disk:

    from torch, int8 weights: ours traces to ONNX, checks it, simplifies, lowers, compiles, audits (`--no-parity`);
        plain is `torch.jit.trace` + `ct.convert` + `linear_quantize_weights` + `save`, the usual
        twenty lines.
    from one ONNX file, fp16: ours with `--onnx` against onnx2coreml, which has no quantization. It takes part if
        it is found, and uses the same coremltools.

            pip install --no-deps --target build/onnx2coreml onnx2coreml==1.1.0

Each round runs every tool once, one after the other, each in its own process. The printed figures are ratios of medians
over the rounds. A tool that fails to convert the model is listed with its error.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

BUILD = Path(__file__).resolve().parents[1] / "build"

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
# Runs in its own process: the peak memory reported for a child process starts at what its parent uses.
WRITE_ONNX = """
import sys
from pathlib import Path
from portrait_export.capture.export import export_onnx
from portrait_export.models.registry import create_model, model_spec
net, spec = create_model(sys.argv[1], seed=0).eval(), model_spec(sys.argv[1]).portrait_spec()
Path(sys.argv[2]).write_bytes(export_onnx(net, spec=spec).SerializeToString())
"""

ONNX2COREML = """
import sys, onnx2coreml
onnx2coreml.convert(sys.argv[1], format="mlpackage", minimum_deployment_target="iOS17").save(sys.argv[2])
"""


@dataclass
class Tool:
    """A command that makes a package, and what it took.

    Attributes:
        command, package: what is run and what it writes.
        path: a folder of Python packages that it needs in addition to ours.
        seconds, cpu_seconds, mebibytes: wall time, processor time and peak resident memory of each round.
        failure: the last line of its error output, if it did not convert.
    """

    name: str
    command: list[str]
    package: Path
    path: Path | None = None
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)
    failure: str = ""

    def run(self) -> None:
        """Run once, unless it failed before."""
        if self.failure:
            return
        environment = os.environ | ({"PYTHONPATH": str(self.path)} if self.path else {})
        start = time.perf_counter()
        process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            self.failure = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            return
        self.seconds.append(time.perf_counter() - start)
        self.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
        scale = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is bytes there, KiB here
        self.mebibytes.append(usage.ru_maxrss / scale)


def from_torch(model: str, folder: Path) -> list[Tool]:
    """Ours and the plain sequence, int8."""
    ours, plain = folder / "ours", folder / "plain.mlpackage"
    command = [*portrait_export(ours), "-m", model, "--random-weights", "--quantize", "int8"]
    return [
        Tool("ours", command, ours / f"{model}.mlpackage"),
        Tool("plain", [sys.executable, "-W", "ignore", "-c", PLAIN, model, str(plain)], plain),
    ]


def from_onnx(model: str, folder: Path, onnx2coreml: Path) -> list[Tool]:
    """Ours and onnx2coreml, fp16, on what torch's exporter writes of the model."""
    from portrait_export.models.registry import model_spec

    spec = model_spec(model).portrait_spec()
    file, ours, theirs = folder / "net.onnx", folder / "ours-onnx", folder / "onnx2coreml.mlpackage"
    subprocess.run([sys.executable, "-W", "ignore", "-c", WRITE_ONNX, model, str(file)], check=True)
    command = [*portrait_export(ours), "--onnx", str(file), "--mask-output", "logits"]
    command += ["--mean", ",".join(map(str, spec.mean)), "--std", ",".join(map(str, spec.std))]
    arguments = [sys.executable, "-W", "ignore", "-c", ONNX2COREML, str(file), str(theirs)]
    return [Tool("ours", command, ours / "net.mlpackage"), Tool("onnx2coreml", arguments, theirs, path=onnx2coreml)]


def portrait_export(folder: Path) -> list[str]:
    """Our command line without parity, into a folder."""
    return [sys.executable, "-m", "portrait_export", "coreml", "--no-parity", "-q", "-o", str(folder), "--force"]


def facts(package: Path) -> tuple[int, int, int]:
    """Operations, reshapes and transposes among them, and bytes of a package."""
    from portrait_export.mil.describe import describe_program
    from portrait_export.mil.program import read_program

    described = describe_program(read_program(package), package)
    counts = described["operations"]
    computing = {name: n for name, n in counts.items() if not name.startswith("constexpr_")}
    layout = sum(n for name, n in computing.items() if name in ("reshape", "transpose"))
    return sum(computing.values()), layout, described["size_bytes"]


def report(title: str, ours: Tool, other: Tool) -> None:
    """Print a comparison."""
    print(f"\n{title}")
    for tool in (ours, other):
        if tool.failure:
            print(f"{tool.name} did not convert it: {tool.failure}")
    if ours.failure or other.failure:
        return
    rows = ("wall time", "seconds", "s"), ("processor time", "cpu_seconds", "s"), ("peak memory", "mebibytes", "MiB")
    for what, name, unit in rows:
        a, b = getattr(ours, name), getattr(other, name)
        ratio = statistics.median(a) / statistics.median(b)
        spread = f"ours {min(a):.1f}–{max(a):.1f} {unit}, {other.name} {min(b):.1f}–{max(b):.1f} {unit}"
        print(f"{what:<22} ours / {other.name} = {ratio:.2f}   ({spread})")
    found = facts(ours.package), facts(other.package)
    for what, a, b in zip(("operations", "reshapes + transposes", "bytes"), *found, strict=True):
        print(f"{what:<22} ours {a:,}, {other.name} {b:,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="segformer_b0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--onnx2coreml", type=Path, default=BUILD / "onnx2coreml", help="where it was installed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        comparisons = {f"{arguments.model} from torch, int8": from_torch(arguments.model, Path(temporary))}
        if arguments.onnx2coreml.is_dir():
            title = f"{arguments.model} from its ONNX file, fp16"
            comparisons[title] = from_onnx(arguments.model, Path(temporary), arguments.onnx2coreml)
        for _ in range(arguments.rounds):
            for tools in comparisons.values():
                for tool in tools:
                    tool.run()
        print(f"{arguments.rounds} rounds, interleaved")
        for title, (ours, other) in comparisons.items():
            report(title, ours, other)
    if len(comparisons) == 1:
        print(f"\nwithout onnx2coreml: there is no {arguments.onnx2coreml}")


if __name__ == "__main__":
    main()
