"""Infer a network's configuration from the names and shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from ..errors import CheckpointError
from .config import EfficientNetFPNConfig, NetConfig, SegformerConfig, SernetConfig, SersegConfig
from .weights_io import CLASSIFIERS


def infer_config(state: Mapping[str, Tensor], *, source: str) -> NetConfig:
    """Infer the configuration of a checkpoint without config.json.

    The number of heads (1, 2, 5, 8) and the strides do not show in shapes; they are taken from the paper.

    Raises:
        CheckpointError: an unknown architecture, or a SERSeg: its AbG has no weights, so the file does not
            show whether it is on.
    """
    labels = num_labels(state)
    if any(key.startswith("encoder.initial_conv.") for key in state):
        return SernetConfig(num_labels=labels or 1)
    if any(key.startswith("decode_head.levels.") for key in state):
        return EfficientNetFPNConfig(num_labels=labels or 1)
    name = next((key.partition(".")[0] for key in state if re.match(r"(ser)?segformer\.encoder\.", key)), None)
    if name is None:
        keys = ", ".join(sorted(state)[:4])
        raise CheckpointError(
            f"{source} has no known architecture; its keys begin with {keys}.", code="unknown-architecture"
        )
    if name == "sersegformer" or any(re.match(r"decode_head\.(dbn|afn|dam|upsample)", key) for key in state):
        raise CheckpointError(
            f"{source} is a SERSeg, and its weights do not show whether it has attention-boosting gates.",
            code="config-needed",
            hint="pass the model's name, or put its config.json next to it.",
        )
    return _segformer(state, labels or 1)


def num_labels(state: Mapping[str, Tensor]) -> int | None:
    """K, from the classifier's shape; None without a classifier."""
    return next((int(state[key].shape[0]) for key in CLASSIFIERS if key in state and state[key].dim()), None)


def switches(state: Mapping[str, Tensor]) -> dict[str, bool]:
    """The switches of SersegConfig that weights show; `abg` has none."""
    first = state.get("sersegformer.encoder.patch_embeddings.0.proj.weight")
    found = {
        name: any(key.startswith(f"decode_head.{sign}") for key in state)
        for name, sign in (("dbn", "dbn1."), ("afn", "afn11."), ("dam", "dam."), ("upsample", "upsample1."))
    }
    return {**found, "depth": first is not None and first.dim() == 4 and first.shape[1] == 4}


def _segformer(state: Mapping[str, Tensor], labels: int) -> SegformerConfig:
    """Widths, depths and ratios of a SegFormer's encoder. A missing tensor leaves B0's value; loading then names it."""
    default = SersegConfig()
    prefix = "segformer.encoder"
    widths, depths, ratios, mlps, patches = [], [], [], [], []
    for i in range(4):
        proj = state.get(f"{prefix}.patch_embeddings.{i}.proj.weight")
        width = int(proj.shape[0]) if proj is not None and proj.dim() == 4 else default.hidden_sizes[i]
        blocks = {int(m[1]) for key in state if (m := re.match(rf"{prefix}\.block\.{i}\.(\d+)\.", key))}
        reduction = state.get(f"{prefix}.block.{i}.0.attention.self.sr.weight")
        hidden = state.get(f"{prefix}.block.{i}.0.mlp.dense1.weight")
        widths.append(width)
        depths.append(len(blocks) or default.depths[i])
        ratios.append(int(reduction.shape[-1]) if reduction is not None else 1)
        mlps.append(max(int(hidden.shape[0]) // width, 1) if hidden is not None else default.mlp_ratios[i])
        patches.append(int(proj.shape[-1]) if proj is not None and proj.dim() == 4 else default.patch_sizes[i])
    fuse = state.get("decode_head.linear_fuse.weight")
    first = state.get(f"{prefix}.patch_embeddings.0.proj.weight")
    return SegformerConfig(
        num_labels=labels,
        in_channels=int(first.shape[1]) if first is not None and first.dim() == 4 else 3,
        hidden_sizes=tuple(widths),
        depths=tuple(depths),
        heads=tuple(math.gcd(width, heads) for width, heads in zip(widths, default.heads, strict=True)),
        sr_ratios=tuple(ratios),
        mlp_ratios=tuple(mlps),
        patch_sizes=tuple(patches),
        decoder_width=int(fuse.shape[0]) if fuse is not None else default.decoder_width,
    )
