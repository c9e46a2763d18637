"""Measure how an export's memory and time grow with the network.

The networks are SegFormer B0 to B5, from ONNX files.

    python benchmarks/scale.py [--networks B0 B2 B5] [--size 64] [--simplify] [--out rows.json]

The networks have random weights. A small input keeps the activations small beside the weights, which are what is
measured. Each export runs in its own process, without parity. The table has, per network, the size of the ONNX file,
the processor time, also per node of the graph, and the peak memory of each stage (Linux only); then the growth of the
whole export's peak and processor time, per MB of ONNX, between each network and the smallest. `--simplify` measures
the `onnx` command instead. `--out` keeps each row as soon as it is measured; a run that was cut short goes on after the
last of them, if it measures the same.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

# Widths, depths and decoder width: https://arxiv.org/abs/2105.15203, table 6.
NETWORKS = {
    "B0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "B1": ((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "B2": ((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "B3": ((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "B4": ((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "B5": ((64, 128, 320, 512), (3, 6, 40, 3), 768),
}
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
HERE = Path(__file__).resolve()


def main() -> None:
    """Measure each network and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--simplify", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    command = "onnx" if options.simplify else "coreml"
    rows = measured(options.out, command, options.size)
    for name in options.networks:
        if name not in rows:
            rows[name] = measure(name, command, options.size)
            if options.out:
                record = {"command": command, "size": options.size, "rows": rows}
                options.out.write_text(json.dumps(record, indent=1) + "\n")
        print_row(name, rows[name])
    smallest = rows[options.networks[0]]
    for name in options.networks[1:]:
        more = rows[name]["onnx_mb"] - smallest["onnx_mb"]
        growth = (rows[name]["peak_mb"] - smallest["peak_mb"]) / more
        slower = (rows[name]["cpu_s"] - smallest["cpu_s"]) / more
        print(f"{options.networks[0]} to {name}: {growth:.1f} MB of memory and {slower:.3f} s per MB of ONNX")


def measured(out: Path | None, command: str, size: int) -> dict[str, dict]:
    """The rows of an earlier run that measured the same."""
    if out is None or not out.exists():
        return {}
    record = json.loads(out.read_text())
    if (record["command"], record["size"]) != (command, size):
        raise SystemExit(f"{out} has rows of {record['command']} at {record['size']}: name another file.")
    return record["rows"]


def measure(name: str, command: str, size: int) -> dict:
    """The row of one network: it is written and exported in two processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.onnx"
        nodes = int(_child("write", name, str(size), str(file)))
        return json.loads(_child(command, str(file))) | {"nodes": nodes}


def print_row(name: str, row: dict) -> None:
    """One network: its file, its processor time, its peak and those of the stages."""
    stages = "  ".join(f"{stage} {peak:.0f}" for stage, peak in row["stages"].items())
    per_node = 1000 * row["cpu_s"] / row["nodes"]
    total = (
        f"{name}  {row['onnx_mb']:.0f} MB  {row['cpu_s']:.1f} s, {per_node:.1f} ms a node  peak {row['peak_mb']:.0f} MB"
    )
    print(f"{total}:  {stages}", flush=True)


def _child(*words: str) -> str:
    """Run one step in a process of its own, whose memory is nobody else's."""
    command = [sys.executable, "-W", "ignore", str(HERE), "--child", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def write(name: str, size: str, file: str) -> None:
    """Write a network as torch's exporter does, and print how many nodes it has."""
    from dataclasses import replace

    from portrait_export.capture.export import export_onnx
    from portrait_export.models.registry import create_model, model_spec

    widths, depths, decoder = NETWORKS[name]
    net = create_model("segformer_b0", seed=0, hidden_sizes=widths, depths=depths, decoder_width=decoder).eval()
    spec = replace(model_spec("segformer_b0").portrait_spec(), height=int(size), width=int(size))
    model = export_onnx(net, spec=spec, check=False)
    model.producer_name = "benchmark"  # as a file from elsewhere, which onnxsim folds in a process of its own
    Path(file).write_bytes(model.SerializeToString())
    print(len(model.graph.node))


def export(kind: str, file: str) -> None:
    """Export a file and print its size and the peak memory of each stage as JSON."""
    from portrait_export.capture.foreign.options import ForeignOptions
    from portrait_export.inputs.sources import ModelSource
    from portrait_export.utils.stages import SilentObserver, Stage
    from portrait_export.workflows.export import export_coreml, export_onnx
    from portrait_export.workflows.requests import CoreMLRequest, OnnxRequest

    peaks: dict[str, float] = {}

    class Observer(SilentObserver):
        """Records the peak of each stage."""

        def stage_finished(self, stage: Stage) -> None:
            peaks[stage.name] = peak_mb()

    path = Path(file)
    foreign = ForeignOptions(onnx=path, mask_output="logits", mean=(0.5,) * 3, std=(0.5,) * 3)
    source = ModelSource(foreign=foreign)
    start = cpu_s()
    if kind == "coreml":
        export_coreml(CoreMLRequest(source=source, out=path.parent / "out", parity=None), Observer())
    else:
        export_onnx(OnnxRequest(source=source, out=path.parent / "simplified.onnx"), Observer())
    peaks["end"] = peak_mb()
    peaks["largest child"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    row = {
        "onnx_mb": path.stat().st_size / 1e6,
        "cpu_s": cpu_s() - start,
        "peak_mb": max(peaks.values()),
        "stages": peaks,
    }
    print(json.dumps(row))


def cpu_s() -> float:
    """The processor time of this process and of those that it has run; what else the machine does matters little."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_mb() -> float:
    """The process's peak memory since the last call, or since its start."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    CLEAR.write_text("5")
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        step, *words = sys.argv[2:]
        if step == "write":
            write(*words)
        else:
            export(step, *words)
    else:
        main()
