"""Describe a Core AI asset as plain data: inputs, outputs, operations, stored types and metadata."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..mil.package import saved_package
from .asset import TARGET, read_asset
from .process import Process

_TENSOR = re.compile(r"NDArray \((\w+)(?:, ([^)]*))?\)")  # as Core AI prints it: NDArray (UInt8, 1 × 64 × 64 × 3)
_BITS = re.compile(r"\d+")  # in the name of a type: Float32, UInt4; one without is a byte wide
_MAIN = "main"


def describe_asset(path: Path) -> dict[str, Any]:
    """Describe an asset; its program is read by Apple's reader."""
    asset = read_asset(path)
    process = Process(f"Core AI cannot read {path.name}", "describe", path)
    try:
        facts = json.loads(str(process.answer()["json"]))
    finally:
        process.close()
    functions = facts["functions"]
    shown = _MAIN if _MAIN in functions else next(iter(functions), "")
    signature = functions.get(shown, {})
    metadata = asset.metadata
    texts = {"author": metadata.author, "license": metadata.license, "description": metadata.description}
    return {
        "kind": "Core AI asset",
        "file": str(path),
        "size_bytes": saved_package(path).size_bytes,
        "needs": TARGET,
        "producer": asset.producer,
        "functions": list(functions),
        "default_function": shown,
        **{side: [_feature(*entry) for entry in signature.get(side, ())] for side in ("inputs", "outputs")},
        "operations": dict(sorted(facts["operations"].items(), key=lambda item: (-item[1], item[0]))),
        "weights": {kind: _stored(kind, count) for kind, count in sorted(facts["storage"].items())},
        "metadata": {**{key: text for key, text in texts.items() if text}, **metadata.user_defined},
    }


def _feature(name: str, text: str) -> dict[str, Any]:
    match = _TENSOR.fullmatch(text)
    shape = [int(n) if n.strip().isdigit() else n.strip() for n in (match[2] or "").split("×")] if match else []
    return {
        "name": name,
        "kind": "array",
        "shape": shape,
        "dtype": match[1].lower() if match else text,
        "description": "",
    }


def _stored(kind: str, elements: int) -> dict[str, int]:
    bits = _BITS.search(kind)
    return {"elements": elements, "bytes": -(-elements * int(bits[0] if bits else 8) // 8)}
