"""The bundled models in both of Apple's formats: our runtime on the package against Apple's runtime on the asset.

Core AI's runtime is Apple's code and shares none with ours, so agreement is evidence about both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portrait_export.coreai.runner import CoreAIRunner
from portrait_export.inputs.frames import load_frames
from portrait_export.inputs.sources import ModelSource
from portrait_export.models.registry import list_models, model_spec
from portrait_export.runtime.runner import PackageRunner
from portrait_export.utils.stages import SilentObserver
from portrait_export.verify.metrics import mask_iou
from portrait_export.workflows.export import export_coreml
from portrait_export.workflows.export_coreai import export_coreai
from portrait_export.workflows.requests import CoreAIRequest, CoreMLRequest

from .nets import needs_core_ai

SHIPPED = [name for name in list_models() if model_spec(name).weights_path is not None]
SIZE = (64, 64)  # Apple's runtime takes 8 to 40 s of a processor at 512x512
LARGEST_DIFFERENCE = 1e-4  # of P(person), both in float32; the largest was 3.2e-6 (serseg_b0_dam)


@needs_core_ai
@pytest.mark.parametrize("name", SHIPPED)
def test_both_runtimes_give_the_same_mask(name: str, tmp_path: Path) -> None:
    source = ModelSource(model=name, size=SIZE)
    common = {"output": "multiarray", "precision": "fp32", "parity": None}
    package = export_coreml(CoreMLRequest(source, out=tmp_path / "ml", **common), SilentObserver()).package
    asset = export_coreai(CoreAIRequest(source, out=tmp_path / "ai", **common), SilentObserver()).package
    ours, theirs = PackageRunner(package.path), CoreAIRunner(asset.path)
    assert theirs.spec == ours.spec
    frames = [labelled.frame for labelled in load_frames(None, theirs.spec).spread(3)]
    for ml, ai in zip(ours.run(frames), theirs.run(frames), strict=True):
        difference = np.abs(ml.probability - ai.probability).max()
        print(f"{name}: P(person) differs by at most {difference:.2g}")
        assert difference < LARGEST_DIFFERENCE
        assert mask_iou(ml.probability, ai.probability, theirs.spec.threshold) > 0.999
