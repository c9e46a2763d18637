"""Build a package of every kind for the fuzz tests: compressed weights, control flow, states, labels, shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from portrait_export.mil import coreml
from tests.runtime.packages import accumulator, from_builder, from_torch, save, tools


def families(folder: Path) -> list[Path]:
    """One package of each kind, written into a folder. Their weights are always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = _image(folder / "net.mlpackage")
        return [
            image,
            *_compressed(image, folder),
            _control_flow(folder / "flow.mlpackage"),
            accumulator(folder / "state.mlpackage"),
            _several_functions(folder),
            *_classifiers(folder),
            *_flexible(folder),
        ]


def _image(path: Path) -> Path:
    net = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, groups=8)),
        *(torch.nn.Upsample(scale_factor=2, mode="bilinear"), torch.nn.Conv2d(8, 4, 1), torch.nn.Softmax(1)),
        *(torch.nn.AvgPool2d(2), torch.nn.Flatten(2), torch.nn.LayerNorm(36), torch.nn.Linear(36, 16), torch.nn.GELU()),
    )
    image = tools().ImageType(name="image", shape=(1, 3, 16, 16))
    return from_torch(path, net, [torch.zeros(1, 3, 16, 16)], inputs=[image])


def _compressed(package: Path, folder: Path) -> list[Path]:
    """Palettes, 8-bit scales, pruned weights of the image network; 4-bit blocks of a second one for iOS18."""
    ct = tools()
    optimize = ct.optimize.coreml
    big = {"weight_threshold": 16}
    later = from_torch(folder / "later.mlpackage", torch.nn.Conv2d(8, 8, 3), [torch.zeros(1, 8, 6, 6)], target="iOS18")
    palette = optimize.OpPalettizerConfig(mode="uniform", nbits=4, **big)
    blocks = optimize.OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=4, **big)
    kinds: dict[str, tuple[Any, Any, Path]] = {
        "lut": (optimize.palettize_weights, palette, package),
        "int8": (optimize.linear_quantize_weights, optimize.OpLinearQuantizerConfig(**big), package),
        "pruned": (optimize.prune_weights, optimize.OpMagnitudePrunerConfig(target_sparsity=0.6, **big), package),
        "blocks": (optimize.linear_quantize_weights, blocks, later),
    }
    paths = []
    for name, (compress, config, source) in kinds.items():
        with coreml.quiet():
            model = ct.models.MLModel(str(source), skip_model_load=True)
            small = compress(model, optimize.OptimizationConfig(config))
        paths.append(save(small, folder / f"{name}.mlpackage"))
    return paths


def _control_flow(path: Path) -> Path:
    mb = coreml.builder()

    def flow(x: Any) -> Any:
        halved = mb.while_loop(
            _cond=lambda v: mb.greater_equal(x=mb.reduce_sum(x=v, keep_dims=False), y=1.0),
            _body=lambda v: mb.mul(x=v, y=0.5),
            loop_vars=(x,),
        )
        tall = mb.tile(x=mb.expand_dims(x=halved, axes=[0]), reps=[3, 1])
        picked = mb.gather(x=tall, indices=np.array([0, 2], np.int32), axis=0)
        padded = mb.pad(x=picked, pad=[1, 1, 2, 2], mode="constant", constant_val=0.5)
        w = np.ones((16, 16), np.float32)
        return mb.cond(
            pred=mb.greater(x=mb.reduce_max(x=halved, keep_dims=False), y=0.1),
            _true_fn=lambda: mb.matmul(x=padded, y=w),
            _false_fn=lambda: mb.add(x=padded, y=1.0),
        )

    return from_builder(path, {"x": ((12,), np.float32)}, flow)


def _several_functions(folder: Path) -> Path:
    ct, mb = tools(), coreml.builder()
    description = ct.utils.MultiFunctionDescriptor()
    for name in ("double", "triple"):
        weight = np.full((2, 300), len(name), np.float32)
        part = from_builder(
            folder / f"{name}.mlpackage",
            {"x": ((2, 300), np.float32)},
            lambda x, w=weight: mb.mul(x=x, y=w, name="out"),
            target="iOS18",
        )
        description.add_function(str(part), src_function_name="main", target_function_name=name)
    description.default_function_name = "triple"
    with coreml.quiet():
        ct.utils.save_multifunction(description, str(folder / "several.mlpackage"))
    return folder / "several.mlpackage"


def _classifiers(folder: Path) -> list[Path]:
    net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Softmax(-1))
    labels: dict[str, list[Any]] = {"words": ["cat", "dog", "person", "tree"], "numbers": [10, 20, 30, 40]}
    return [
        from_torch(
            folder / f"{name}.mlpackage", net, [torch.zeros(1, 8)], classifier_config=tools().ClassifierConfig(words)
        )
        for name, words in labels.items()
    ]


def _flexible(folder: Path) -> list[Path]:
    """A range of lengths, and a list of image sizes."""
    ct = tools()
    ranged = ct.TensorType("x", ct.Shape((1, 2, ct.RangeDim(4, 64, default=8))))
    listed = ct.ImageType("image", ct.EnumeratedShapes([(1, 3, 16, 16), (1, 3, 12, 20)], default=(1, 3, 16, 16)))
    return [
        from_torch(folder / "ranged.mlpackage", torch.nn.Conv1d(2, 3, 3), [torch.zeros(1, 2, 8)], inputs=[ranged]),
        from_torch(folder / "listed.mlpackage", torch.nn.Conv2d(3, 4, 3), [torch.zeros(1, 3, 16, 16)], inputs=[listed]),
    ]
