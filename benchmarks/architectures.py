"""Export public mobile architectures from ONNX, run the packages, and print a table of the results.

    python benchmarks/architectures.py [NAME or SOURCE …] [--small]

Each net has random weights and a mobile size. Torch writes an ONNX file of it, the pipeline makes an fp32 package, and
our runtime runs the package from disk. PSNR compares its values with ONNX Runtime on the untouched file; the seconds
are the export's. Then a half-precision package is gated on two photographs: the worst mask IoU and the logits' PSNR
(random weights are a harder case than trained ones: much of a mask lies near the threshold).

Sources: `transformers` (a development dependency), `paper` (nets written down in the tests), and
`timm` and `torchvision`, which run where they can be imported. If there is no torchvision
for your CPU build of PyTorch, this wheel works: the models need none of its compiled operators.

    pip install --no-deps timm 'torchvision==0.16.2'; pip install requests

The last line counts. A refusal that the table's entry expects (a mask per query) is not a failure; anything else below
the bar ends with exit code 1. `--markdown FILE` appends each row as soon as it is known, and leaves out
the architectures that have one.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the table is shared with the tests

from tests.frontend.architecture_parity import Outcome, measure
from tests.frontend.architectures import ARCHITECTURES, Architecture

PSNR_DB = 60.0
ROW = "{:<46} {:<13} {:>6} {:>12} {:>8} {:>8} {:>9} {:>9}  {}"
HEADER = ("architecture", "source", "nodes", "parameters", "PSNR dB", "seconds", "half: IoU", "PSNR dB", "")
HALF_GATES = ("worst_mask_iou", "logits_psnr_db")
PHOTOGRAPHS = 2


def cells(architecture: Architecture, outcome: Outcome) -> tuple[str, ...]:
    """One line of the table."""
    psnr = "refused" if outcome.psnr_db is None else f"{outcome.psnr_db:.1f}"
    values = {gate.name: gate.value for gate in outcome.half}
    half = [f"{values[name]:.4f}"[: 6 if values[name] < 10 else 4] if name in values else "" for name in HALF_GATES]
    numbers = f"{outcome.nodes:,}", f"{outcome.parameters / 1e6:.2f} M", psnr, f"{outcome.seconds:.1f}"
    return architecture.name, architecture.source, *numbers, *half, outcome.refusal


def failed(architecture: Architecture, outcome: Outcome) -> bool:
    """Whether an architecture was refused against expectation (or not refused), or lost its numbers."""
    if architecture.refused:
        return architecture.refused not in outcome.refusal
    return outcome.psnr_db is None or not outcome.psnr_db >= PSNR_DB


def photographs(folder: Path) -> Path:
    """Two photographs of the calibration set, in a folder of their own."""
    source = Path(__file__).resolve().parents[1] / "calibration"
    for path in sorted(source.rglob("*.jpg"))[:PHOTOGRAPHS]:
        shutil.copy(path, folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="names or sources; all of them by default")
    parser.add_argument("--small", action="store_true", help="shrunk nets, as in the tests")
    parser.add_argument("--markdown", type=Path, help="append rows to this file")
    arguments = parser.parse_args()
    chosen = [a for a in ARCHITECTURES if not arguments.only or {a.name, a.source} & set(arguments.only)]
    done = arguments.markdown.read_text() if arguments.markdown and arguments.markdown.exists() else ""
    runnable = [a for a in chosen if a.available and f"| {a.name} |" not in done]
    print(ROW.format(*HEADER).rstrip())
    outcomes = {}
    for architecture in runnable:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as photos:
            given = photographs(Path(photos))
            outcomes[architecture] = measure(architecture, Path(folder), small=arguments.small, photos=given)
        found = cells(architecture, outcomes[architecture])
        print(ROW.format(*found).rstrip(), flush=True)
        if arguments.markdown:
            with arguments.markdown.open("a") as file:
                file.write("| " + " | ".join(found) + " |\n")
    psnr = [outcome.psnr_db for outcome in outcomes.values() if outcome.psnr_db is not None]
    fell_short = [a.name for a, outcome in outcomes.items() if failed(a, outcome)]
    if psnr:
        reached, meant = sum(value >= PSNR_DB for value in psnr), sum(not a.refused for a in runnable)
        print(
            f"\n{reached} of {meant} at {PSNR_DB:.0f} dB or more; lowest {min(psnr):.1f} dB,"
            f" median {statistics.median(psnr):.1f} dB"
        )
    missing = sum(not a.available for a in chosen)
    if missing:
        print(f"{missing} more need timm or torchvision, which cannot be found here")
    if fell_short:
        sys.exit(f"failed: {', '.join(fell_short)}")


if __name__ == "__main__":
    main()
