"""Export public mobile architectures from ONNX, run the packages, and print a table of the results.

    python benchmarks/architectures.py [NAME or SOURCE …] [--small]

Each net has random weights and a mobile size. Torch writes an ONNX file of it, the pipeline makes an fp32 package, and
our runtime runs the package from disk. PSNR compares its values with ONNX Runtime on the untouched file; the seconds
are the export's. Sources: `transformers` (a development dependency), `paper` (nets written down in the tests), and
`timm` and `torchvision`, which run where they can be imported. If there is no torchvision
for your CPU build of PyTorch, this wheel works: the models need none of its compiled operators.

    pip install --no-deps timm 'torchvision==0.16.2'; pip install requests

The last line counts. A refusal that the table's entry expects (Core ML's limit of five dimensions) is not a failure;
anything else below the bar ends with exit code 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the table is shared with the tests

from tests.frontend.architecture_parity import Outcome, measure
from tests.frontend.architectures import ARCHITECTURES, Architecture

PSNR_DB = 60.0
ROW = "{:<30} {:<13} {:>6} {:>12} {:>8} {:>8}  {}"


def row(architecture: Architecture, outcome: Outcome) -> str:
    """Format one line of the table."""
    psnr = "refused" if outcome.psnr_db is None else f"{outcome.psnr_db:.1f}"
    numbers = f"{outcome.nodes:,}", f"{outcome.parameters / 1e6:.2f} M", psnr, f"{outcome.seconds:.1f}"
    return ROW.format(architecture.name, architecture.source, *numbers, outcome.refusal).rstrip()


def failed(outcome: Outcome) -> bool:
    """Whether an architecture was refused, or lost its numbers."""
    return outcome.psnr_db is None or not outcome.psnr_db >= PSNR_DB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="names or sources; all of them by default")
    parser.add_argument("--small", action="store_true", help="shrunk nets, as in the tests")
    arguments = parser.parse_args()
    chosen = [a for a in ARCHITECTURES if not arguments.only or {a.name, a.source} & set(arguments.only)]
    runnable = [a for a in chosen if a.available]
    print(ROW.format("architecture", "source", "nodes", "parameters", "PSNR dB", "seconds", "").rstrip())
    outcomes = {}
    for architecture in runnable:
        with tempfile.TemporaryDirectory() as folder:
            outcomes[architecture] = measure(architecture, Path(folder), small=arguments.small)
        print(row(architecture, outcomes[architecture]), flush=True)
    psnr = [outcome.psnr_db for outcome in outcomes.values() if outcome.psnr_db is not None]
    fell_short = [a.name for a, outcome in outcomes.items() if failed(outcome)]
    if psnr:
        reached = sum(value >= PSNR_DB for value in psnr)
        print(
            f"\n{reached} of {len(runnable)} at {PSNR_DB:.0f} dB or more; lowest {min(psnr):.1f} dB,"
            f" median {statistics.median(psnr):.1f} dB"
        )
    if len(runnable) < len(chosen):
        print(f"{len(chosen) - len(runnable)} more need timm or torchvision, which cannot be found here")
    if fell_short:
        sys.exit(f"failed: {', '.join(fell_short)}")


if __name__ == "__main__":
    main()
