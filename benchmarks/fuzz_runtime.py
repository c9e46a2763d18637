"""Run random and damaged packages through the runtime.

    python -m benchmarks.fuzz_runtime [--count 20000] [--seed 0]

Half of the cases are random valid programs (tests/runtime/grammar.py); every value must be what coremltools' operator
definitions infer, where they infer one. The other half are damaged copies of packages of every kind
(tests/runtime/families.py) and of random programs; each must give a result or a clean error. One line of JSON tells
what happened. Exit code 1: something else did.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.runtime import growing
from tests.runtime.families import families
from tests.runtime.fuzzing import Sound, in_time, limit_resources, run_case, write_damaged
from tests.runtime.grammar import grow

FROZEN_EVERY = 200
RANDOM_SOUND = 64  # random programs that are damaged, beside the packages of every kind


class Record:
    """Counts outcomes and keeps the bad ones."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.operators: Counter[str] = Counter()
        self.compared = 0
        self.bad: list[str] = []

    def add(self, half: str, case: str, outcome: str) -> None:
        """Count one outcome."""
        self.outcomes[f"{half}: {outcome.split(':')[0]}"] += 1
        if outcome.startswith("bad"):
            self.bad.append(f"{case}: {outcome[:400]}")


def run_grown(first: int, count: int, folder: Path, record: Record) -> None:
    """Random programs of consecutive seeds."""
    for seed in range(first, first + count):
        if seed % FROZEN_EVERY == 0:
            gc.freeze()  # coremltools collects garbage on each conversion, through every object there is
        grown = grow(seed)
        package = growing.write(grown, folder / "grown.mlpackage")
        record.add("random", f"seed {seed}", in_time(partial(growing.run, grown, package)))
        record.operators.update(grown.operators)
        record.compared += len(grown.expected)


def run_damaged(seed: int, count: int, folder: Path, record: Record) -> None:
    """Damaged copies of every kind of package and of random programs, in turn."""
    rng = random.Random(seed)
    sound = {package.stem: Sound.read(package) for package in families(folder)}
    for index in range(RANDOM_SOUND):
        sound[f"random {seed + index}"] = Sound.read(growing.write(grow(seed + index), folder / "sound.mlpackage"))
    names, damaged = list(sound), folder / "damaged.mlpackage"
    for case in range(count):
        name = names[case % len(names)]
        damages = write_damaged(rng, sound[name], damaged)
        record.add("damaged", f"case {case}, {name} ({', '.join(damages)})", in_time(lambda: run_case(damaged)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="cases in all")
    parser.add_argument("--seed", type=int, default=0, help="the first seed of the programs, and that of the damages")
    options = parser.parse_args()
    record, start = Record(), time.perf_counter()
    grow(options.seed)
    limit_resources()
    with tempfile.TemporaryDirectory() as temporary:
        run_grown(options.seed, options.count // 2, Path(temporary), record)
        run_damaged(options.seed, options.count - options.count // 2, Path(temporary), record)
    print(
        json.dumps(
            {
                "cases": options.count,
                "outcomes": dict(sorted(record.outcomes.items())),
                "values_compared": record.compared,
                "operators": len(record.operators),
                "bad": record.bad,
                "seconds": round(time.perf_counter() - start),
                "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            }
        )
    )
    return 1 if record.bad else 0


if __name__ == "__main__":
    sys.exit(main())
