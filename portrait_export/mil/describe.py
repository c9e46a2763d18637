"""Describe a saved package: inputs and outputs, operations, weights, cost, deployment target."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from .audit import list_weights
from .cost import cost_of_program
from .features import Feature
from .package import saved_package
from .program import Program


def describe_program(program: Program, path: Path) -> dict[str, Any]:
    """Plain values about a program that was read from `path`. Raises PackageError if its weights are damaged."""
    saved = saved_package(path) if path.is_dir() else None
    audit = list_weights(program)
    metadata = program.metadata
    return {
        "kind": "Core ML ML Program",
        "file": str(path),
        "size_bytes": saved.size_bytes if saved else path.stat().st_size,
        "sha256": saved.sha256 if saved else None,
        "needs": program.deployment_target,
        "specification_version": program.spec_version,
        "functions": list(program.functions),
        "default_function": program.default_function,
        "inputs": [describe_feature(feature) for feature in program.inputs],
        "outputs": [describe_feature(feature) for feature in program.outputs],
        "states": [describe_feature(feature) for feature in program.main.states],
        "operations": operation_histogram(program),
        "weights": audit.by_dtype(),
        "cost": cost_of_program(program).to_dict(),
        "metadata": {
            "author": metadata.author,
            "licence": metadata.license,
            "version": metadata.version,
            "description": metadata.description,
            **dict(sorted(metadata.user_defined.items())),
        },
    }


def operation_histogram(program: Program) -> dict[str, int]:
    """Number of operations by type in the default function, without constants, most frequent first."""
    counts = Counter(op.type for op in program.main.block.walk() if op.type != "const")
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def describe_feature(feature: Feature) -> dict[str, Any]:
    """One input or output as plain values: name, kind, shape (images: height, width), type or color, description."""
    facts: dict[str, Any] = {"name": feature.name, "kind": feature.kind, "shape": list(feature.shape)}
    if feature.kind == "image":
        facts["color"] = feature.color
    else:
        facts["dtype"] = feature.dtype
    if feature.enumerated:
        facts["enumerated"] = [list(shape) for shape in feature.enumerated]
    if feature.ranges:
        facts["ranges"] = [list(bounds) for bounds in feature.ranges]
    if feature.optional:
        facts["optional"] = True
    facts["description"] = feature.description
    return facts
