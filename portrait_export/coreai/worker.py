"""Convert, read and run Core AI assets; the only file that imports Core AI's packages.

It is run as a script, in a process of its own: Apple's native code ends the whole process when bytecode is damaged, and
prints to the standard streams. The script needs nothing of portrait_export.

    worker.py convert ONNX ASSET WEIGHTS   write an asset without metadata of ours; WEIGHTS: see `with_decoders`
    worker.py describe ASSET               answer one message: signature, types and operations, as JSON
    worker.py run ASSET                    answer each message of inputs with one of outputs, until stdin ends

A message is its length (8 bytes, little-endian) and a .npz archive without pickles.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import struct
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAX_MESSAGE_BYTES = 2**31
ENTRY = "main"
_WEIGHT_NAME = re.compile(r"\bresource_\d+(?:_\d+)?\b")
_FUNCTION_NAME = re.compile(r"@(\w+)_[a-z]{8}\b")
_BLOB = re.compile(r'\s+weight_\d+: "0x')
WEIGHT = "%weight"  # in the text of a decoder: the weight that it decodes
_ARGUMENT = re.compile(r'(%arg\d+): tensor<[^>]*> {coreai.name = "([^"]*)"}(?:, )?')
_BODY = re.compile(r"(coreai\.graph @main\()(.*?)(\) -> .*? {\n)", re.DOTALL)
_BLOBS = "\n{-#\n  dialect_resources: {\n    builtin: {\n"
_ALIGNMENT = (16).to_bytes(4, "little").hex()


def read_message(stream: BinaryIO) -> dict[str, np.ndarray] | None:
    """The next message; None at the end of the stream."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length:,} bytes")
    data = stream.read(length)
    if len(data) < length:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_message(stream: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Send arrays by name."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    data = buffer.getvalue()
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def convert(model: Path, asset: Path, weights: Path) -> None:
    """Write an ONNX model as an asset, with some of its inputs as compressed weights."""
    from coreai.authoring import AIProgram
    from coreai_onnx import OnnxConverter

    converter = OnnxConverter()
    converter.add_onnx_model(model, entrypoint_name=ENTRY)
    module: Any = converter.to_coreai()._module._mlir_module  # Core AI has no public way to name weights
    text = with_decoders(str(module), json.loads(weights.read_bytes()))
    with module.context:
        named = type(module).parse(with_stable_names(text))
    AIProgram._from_mlir_module(named).save_asset(asset)


def with_decoders(text: str, decoders: Mapping[str, Mapping[str, Any]]) -> str:
    """Replace inputs of a program in its text form by operations that decode stored weights.

    Args:
        decoders: by the input's name: `lines` of operations, in which `WEIGHT` is the input, and `blobs`, the bytes of
            their constants in hexadecimal digits.
    """
    if not decoders:
        return text
    found = _BODY.search(text)
    if found is None:
        raise ValueError("the program has no function main")
    names = {name: variable for variable, name in _ARGUMENT.findall(found[2])}
    missing = sorted(set(decoders) - set(names))
    if missing:
        raise ValueError(f"the program does not take {', '.join(missing)}")
    kept = _ARGUMENT.sub(lambda match: "" if match[2] in decoders else match[0], found[2]).removesuffix(", ")
    lines = [line.replace(WEIGHT, names[name]) for name, each in decoders.items() for line in each["lines"]]
    blobs = {name: data for each in decoders.values() for name, data in each["blobs"].items()}
    stored = [f'      {name}: "0x{_ALIGNMENT}{data}"' for name, data in blobs.items()]
    body = "".join(f"    {line}\n" for line in lines)
    text = text[: found.start()] + found[1] + kept + found[3] + body + text[found.end() :]
    if _BLOBS in text:
        return text.replace(_BLOBS, _BLOBS + "".join(f"{line},\n" for line in stored), 1)
    return text.rstrip("\n") + "\n" + _BLOBS + ",\n".join(stored) + "\n    }\n  }\n#-}\n"


def with_stable_names(text: str) -> str:
    """Number the weights and inner functions of a program in its text form, in the order in which they appear.

    Core AI names weights by a hash with a seed of the process, and functions with eight random letters, so that two
    conversions of one model differ. The blobs that follow the program are sorted by name.
    """
    names: dict[str, str] = {}
    text = _WEIGHT_NAME.sub(lambda match: names.setdefault(match[0], f"weight_{len(names):05d}"), text)
    functions: dict[str, str] = {}
    text = _FUNCTION_NAME.sub(lambda match: functions.setdefault(match[0], f"@{match[1]}_{len(functions):05d}"), text)
    lines = text.split("\n")
    blobs = [index for index, line in enumerate(lines) if _BLOB.match(line)]
    for index, line in zip(blobs, sorted(lines[index].rstrip(",") for index in blobs), strict=True):
        lines[index] = line + ("," if index != blobs[-1] else "")
    return "\n".join(lines)


def describe(asset: Path, out: BinaryIO) -> None:
    """Answer the asset's signature, types and operations."""
    from coreai.authoring import AIModelAsset

    summary = AIModelAsset.load(asset).summary()
    if summary is None:
        raise ValueError("the asset has no program")
    functions = {
        name: {"inputs": summary.function_inputs(name), "outputs": summary.function_outputs(name)}
        for name in summary.function_names
    }
    facts = {
        "functions": functions,
        "storage": dict(summary.storage_types),
        "operations": dict(summary.operation_distribution),
    }
    write_message(out, {"json": np.array(json.dumps(facts))})


async def run(asset: Path, requests: BinaryIO, out: BinaryIO) -> None:
    """Run the asset on each message of inputs."""
    from coreai.authoring import AIModelAsset
    from coreai.runtime import NDArray

    async with AIModelAsset.load(asset).executable() as model:
        function = model.load_function(ENTRY)
        while (inputs := read_message(requests)) is not None:
            arrays: dict[str, Any] = {name: NDArray(np.ascontiguousarray(value)) for name, value in inputs.items()}
            outputs: Mapping[str, Any] = await function(arrays)
            write_message(out, {name: np.array(value.numpy()) for name, value in outputs.items()})


def main(command: str, *paths: str) -> None:
    """Run one command. Prints of native code go to standard error, away from the messages."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    source, *target = map(Path, paths)
    if command == "run":
        asyncio.run(run(source, sys.stdin.buffer, out))
    elif command == "convert":
        convert(source, *target)
    else:
        describe(source, out)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # the last line of standard error is what the caller shows
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
