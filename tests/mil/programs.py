"""Small lowered programs for the tests of compiling, packaging and auditing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from portrait_export.artifacts import ArrayFeature, ImageFeature, Lowered
from portrait_export.mil import coreml
from portrait_export.utils.quiet import quiet

SIDE = 16
IMAGE = ImageFeature("image", SIDE, SIDE, "rgb", scale=1 / 255, bias=(-0.4, -0.5, -0.6), description="a photo")
MASK = ImageFeature("mask", SIDE, SIDE, "grayscale", description="the person")
LOGITS = ArrayFeature("logits", (1, 1, SIDE, SIDE), description="of the person")


def weights(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def two_convolutions(target: str = "iOS17", output: str = "mask", width: int = 128) -> Lowered:
    """image → conv (width channels) → conv → logits → sigmoid → 0..255."""
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, SIDE, SIDE))], opset_version=getattr(ct.target, target))
    def program(image):
        pads = {"pad_type": "custom", "pad": [1, 1, 1, 1]}
        # Every value is named: coremltools numbers the others over all programs that a process makes.
        first = mb.const(val=weights(0, width, 3, 3, 3), name="first_weight_0")
        hidden = mb.conv(x=image, weight=first, name="first", **pads)
        last = mb.const(val=weights(1, 1, width, 3, 3), name="logits_weight_0")
        logits = mb.conv(x=hidden, weight=last, name="logits", **pads)
        if output == "logits":
            return logits
        probability = mb.sigmoid(x=logits, name="probability")
        return mb.round(x=mb.mul(x=probability, y=np.float32(255), name="pixels"), name="mask")

    return Lowered(program, (IMAGE,), (MASK if output == "mask" else LOGITS,), target)


def as_int8(package: Path) -> None:
    """Store a package's large weights as symmetric 8-bit integers with coremltools: evidence from another quantizer."""
    optimize = coreml.optimize()
    options = {"mode": "linear_symmetric", "dtype": "int8", "granularity": "per_channel", "weight_threshold": 2048}
    config = optimize.OptimizationConfig(global_config=optimize.OpLinearQuantizerConfig(**options))
    with quiet():
        model = coreml.coremltools().models.MLModel(str(package), skip_model_load=True)
        optimize.linear_quantize_weights(model, config).save(str(package))
