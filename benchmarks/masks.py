"""Compare the masks of the bundled weights with those of MediaPipe's free selfie segmentation.

    python benchmarks/masks.py [--data FOLDER] [--split NAME] [--models NAME …] [--sheet FILE.png]

Every network sees each photograph stretched to its own input and is scored by `portrait-export evaluate`'s code: IoU
with the drawn masks over photographs with people, the share of empty pictures of which more than 1 % is called a
person, and haze, the share of pixels with P(person) between 0.1 and 0.9. Without --data it takes the calibration set,
whose photographs no weights were trained on. Prints a Markdown table. Needs the extra `train`; the selfie model
(0.5 MB, Apache-2.0) is fetched with pip, once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from portrait_export.artifacts import Frame, Prediction, Runner
from portrait_export.cli.label import segmenter
from portrait_export.imaging.resize import resize_bilinear
from portrait_export.inputs.frames import load_frames
from portrait_export.inputs.runners import open_runner
from portrait_export.inputs.sources import ModelSource
from portrait_export.models.registry import list_models, model_spec
from portrait_export.preprocessing import PortraitSpec
from portrait_export.training.evaluate import Evaluation, Group, Worst, evaluate, worst_sheet
from portrait_export.training.label import Segmenter
from portrait_export.verify.metrics import boundary_f, mask_iou

ORDER = ("portrait", "everyday", "empty")  # then any other kind, by name
SHOWN = 16  # photographs on the sheet of the worst


class SelfieRunner:
    """MediaPipe's selfie segmentation as a Runner."""

    name = "MediaPipe selfie"

    def __init__(self, segment: Segmenter):
        self._segment = segment

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        return [Prediction(resize_bilinear(self._segment(f.image), f.image.shape[:2])) for f in frames]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--models", nargs="*", default=[n for n in list_models() if model_spec(n).weights_path])
    parser.add_argument("--sheet", type=Path, help="a picture of each network's worst photographs, its name added")
    args = parser.parse_args()
    runners: list[tuple[Runner, PortraitSpec]] = []
    for name in args.models:
        opened = open_runner(ModelSource(model=name))
        runners.append((opened.runner, opened.spec))
    runners.append((SelfieRunner(segmenter(ModelSource(), None)[0]), PortraitSpec(height=512, width=512)))
    results = []
    for runner, spec in runners:
        worst = Worst(SHOWN)
        frames = load_frames(args.data, spec, split=args.split)
        results.append(evaluate(runner, frames, iou=mask_iou, boundary_f=boundary_f, on_image=worst))
        if args.sheet:
            path = args.sheet.with_stem(f"{args.sheet.stem}-{runner.name.replace(' ', '-')}")
            path.write_bytes(worst_sheet(worst.cases))
    print(table(results))


def table(results: Sequence[Evaluation]) -> str:
    """Markdown: a row per network, the columns by kind."""
    kinds = sorted(results[0].kinds, key=lambda kind: (*(kind != known for known in ORDER), kind))
    heads = ["", *(f"{kind or 'photographs'} ({len(results[0].kinds[kind].scores)})" for kind in kinds), "haze"]
    rows = [heads, ["---"] * len(heads)]
    for result in results:
        rows.append([result.runner, *(cell(result.kinds[kind]) for kind in kinds), f"{result.haze:.3f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(group: Group) -> str:
    """IoU mean / worst of photographs with people; how many pictures without any show one."""
    parts = []
    if group.iou_mean is not None:
        parts.append(f"{group.iou_mean:.3f} / {group.iou_worst:.3f}")
    if group.empty:
        parts.append(f"{group.empty_with_person} of {len(group.empty)} with a person")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
