"""Time PortraitKit's pixel work on a 12-megapixel photograph against the toolkit's own Pillow and NumPy.

python benchmarks/portrait_kit.py [RUNS]      needs `swift build -c release --package-path ios_demo`

Both sides run alternately, one thread each, and report the median of their runs and the peak memory of their process;
PortraitKit's memory also holds a refined mask and foreground colours.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from portrait_export.imaging import compose
from portrait_export.imaging.photo import Photo
from portrait_export.imaging.placement import mask_back, to_frame
from portrait_export.preprocessing import PortraitSpec

T = TypeVar("T")
SIZE = (3000, 4000)
DEMO = Path(__file__).parents[1] / "ios_demo" / ".build" / "release" / "portrait-demo"
STEPS = {  # name in portrait-demo's bench: heading here
    "photo to frame": "photo to 512x512",
    "mask to photo": "mask back",
    "cut-out": "cut-out",
    "replaced by a colour": "background replaced",
    "blurred": "background blurred",
}
WHOLE = ("photo to frame", "mask to photo", "cut-out")  # what every still needs


def python_times() -> dict[str, float]:
    """Milliseconds of each step with Pillow and NumPy."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    channels = rows * 7 + columns * 13, 255 * rows // SIZE[0], 255 * columns // SIZE[1]
    photo = Photo(np.stack([channel.astype(np.uint8) for channel in channels], axis=-1))
    rows, columns = np.mgrid[0:512, 0:512] / 512
    distance = np.sqrt((rows - 0.6) ** 2 / 0.16 + (columns - 0.5) ** 2 / 0.06)
    mask = np.clip((1.1 - distance) * 5, 0, 1).astype(np.float32)
    times: dict[str, float] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        times[name] = (time.perf_counter() - start) * 1e3
        return result

    _, placement = timed("photo to frame", lambda: to_frame(photo, PortraitSpec()))
    back = timed("mask to photo", lambda: mask_back(mask, placement))
    timed("cut-out", lambda: compose.cut_out(photo, back))
    timed("replaced by a colour", lambda: compose.replace_background(photo, back, (255, 255, 255)))
    timed("blurred", lambda: compose.blur_background(photo, back))
    return times


def swift_times(folder: Path) -> dict[str, list[float]]:
    """Milliseconds of each step with PortraitKit: one measured run after one of warm-up."""
    out = folder / "swift.json"
    size = f"{SIZE[0]}x{SIZE[1]}"
    subprocess.run([DEMO, "bench", "--size", size, "--runs", "1", "-o", out], check=True, capture_output=True)
    times = json.loads(out.read_text())
    times["cut-out"] = [a + b for a, b in zip(times["cut-out"], times["check mask"], strict=True)]
    return times


def main(runs: int) -> None:
    swift: dict[str, list[float]] = {step: [] for step in STEPS}
    python: dict[str, list[float]] = {step: [] for step in STEPS}
    with tempfile.TemporaryDirectory() as folder:
        swift_times(Path(folder))
        # Read while this process is still small: a child's peak begins with what its parent held when it forked.
        swift_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        python_times()  # warm-up
        for _ in range(runs):
            one = swift_times(Path(folder))
            for step in STEPS:
                swift[step] += one[step]
            for step, value in python_times().items():
                python[step].append(value)
    print(f"{SIZE[0]}x{SIZE[1]} photograph, milliseconds, median of {runs} alternating runs")
    print(f"{'':22}{'Swift':>8}{'Python':>9}{'ratio':>8}")
    for step, heading in STEPS.items():
        print_row(heading, statistics.median(swift[step]), statistics.median(python[step]))
    totals = [sum(statistics.median(times[step]) for step in WHOLE) for times in (swift, python)]
    print_row("first three together", *totals)
    print_row("peak memory, MiB", swift_peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def print_row(heading: str, swift: float, python: float) -> None:
    print(f"{heading:22}{swift:8.1f}{python:9.1f}{swift / python:8.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="?", type=int, default=5, help="how often each step runs (default 5)")
    main(parser.parse_args().runs)
