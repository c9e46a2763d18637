"""Export many random networks and count what came of them.

A package that fails its gates in half precision is exported again in full precision, where it must pass. Exit code 1
says that one crashed, passed with a wrong mask, or failed in full precision.

python benchmarks/fuzz_export.py --count 200 --first 0 --steps 8
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the generator is shared with the tests

from tests.workflows.export_fuzzing import FAULTS, outcome


def pictures(folder: Path) -> Path:
    """Write two small photographs: a ramp and noise."""
    rows, columns = np.mgrid[0:48, 0:48]
    ramp = np.stack([rows * 5, columns * 5, 240 - rows * 5], axis=-1).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    for name, picture in (("ramp", ramp), ("noise", noise)):
        Image.fromarray(picture).save(folder / f"{name}.png")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="how many networks")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=8, help="operators in the chain of each")
    arguments = parser.parse_args()
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as photos:
        pictures(Path(photos))
        for seed in range(arguments.first, arguments.first + arguments.count):
            found = outcome(seed, Path(folder), Path(photos), steps=arguments.steps)
            kinds[found.kind] += 1
            print(f"{found.seed:>6} {found.kind:<14} {found.reason}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    sys.exit(1 if any(kinds[kind] for kind in FAULTS) else 0)


if __name__ == "__main__":
    main()
