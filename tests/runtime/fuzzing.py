"""Mutate valid packages and run them: `python -m tests.runtime.fuzzing PACKAGE… --count N --seed S`.

Prints one line of JSON: how many cases ended in a result, how many in a clean error, and what went wrong otherwise.
The address space is limited, so that an unbounded allocation is an error here, and a case that takes longer than
CASE_SECONDS is reported as a hang.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portrait_export.errors import PortraitError
from portrait_export.mil.coreml import spec_message
from portrait_export.mil.program import read_program
from portrait_export.runtime import limits
from portrait_export.runtime.model import CoreMLProgram

SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
CASE_SECONDS = 20
ADDRESS_SPACE_BYTES = 12 * 2**30  # torch and its libraries map a few GiB by themselves
ODD_NUMBERS = (0, 1, -1, 2, 7, 64, 255, 2**16, 2**31 - 1, -(2**31))

Damage = Callable[[random.Random, Any, bytearray], bytes | None]


def _operations(message: Any) -> list[Any]:
    """All operations of a specification, nested ones included."""
    found = []

    def walk(block: Any) -> None:
        for operation in block.operations:
            found.append(operation)
            for inner in operation.blocks:
                walk(inner)

    for function in message.mlProgram.functions.values():
        for block in function.block_specializations.values():
            walk(block)
    return found


def flip_bytes(rng: random.Random, message: Any, weights: bytearray) -> bytes:
    """Change a few bytes of the serialized specification."""
    data = bytearray(message.SerializeToString())
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def cut_specification(rng: random.Random, message: Any, weights: bytearray) -> bytes:
    data = message.SerializeToString()
    return data[: rng.randrange(len(data))]


def change_weights(rng: random.Random, message: Any, weights: bytearray) -> None:
    for _ in range(rng.choice((1, 4, 64))):
        if weights:
            weights[rng.randrange(min(len(weights), rng.choice((256, len(weights)))))] = rng.randrange(256)


def cut_weights(rng: random.Random, message: Any, weights: bytearray) -> None:
    del weights[rng.randrange(len(weights) + 1) :]


def _pick(rng: random.Random, message: Any) -> Any:
    return rng.choice(_operations(message))


def change_blob_offset(rng: random.Random, message: Any, weights: bytearray) -> None:
    for operation in rng.sample(_operations(message), k=len(_operations(message))):
        if operation.type == "const" and operation.attributes["val"].HasField("blobFileValue"):
            blob = operation.attributes["val"].blobFileValue
            blob.offset = rng.choice((0, 1, 64, blob.offset + 64, blob.offset - 64 if blob.offset >= 64 else 0, 2**63))
            return


def change_dimension(rng: random.Random, message: Any, weights: bytearray) -> None:
    outputs = [out for out in _pick(rng, message).outputs if out.type.HasField("tensorType")]
    sides = [side for out in outputs for side in out.type.tensorType.dimensions]
    if sides:
        rng.choice(sides).constant.size = rng.choice((0, 1, 3, 1000, 2**20, 2**31, 2**62))


def change_input_dimension(rng: random.Random, message: Any, weights: bytearray) -> None:
    for function in message.mlProgram.functions.values():
        sides = [side for value in function.inputs for side in value.type.tensorType.dimensions]
        if sides:
            rng.choice(sides).constant.size = rng.choice((0, 1, 5, 4096, 2**40))


def change_type(rng: random.Random, message: Any, weights: bytearray) -> None:
    for out in _pick(rng, message).outputs:
        out.type.tensorType.dataType = rng.choice((0, 1, 2, 10, 11, 21, 23, 25, 31, 37, 99))


def change_constant(rng: random.Random, message: Any, weights: bytearray) -> None:
    """Another number in a literal: shapes, strides, pads, axes."""
    literals = []
    for operation in _operations(message):
        values = [operation.attributes["val"]] if operation.type == "const" else []
        values += [b.value for a in operation.inputs.values() for b in a.arguments if b.HasField("value")]
        literals += [v.immediateValue.tensor for v in values if v.HasField("immediateValue")]
    if literals:
        tensor = rng.choice(literals)
        form = tensor.WhichOneof("value")
        if form in ("ints", "longInts", "floats"):
            numbers = getattr(tensor, form).values
            if len(numbers):
                numbers[rng.randrange(len(numbers))] = rng.choice(ODD_NUMBERS)
        elif form == "strings" and len(tensor.strings.values):
            tensor.strings.values[0] = rng.choice(("same", "nonsense", "", "int8", "DEFAULT"))
        elif form == "bools" and len(tensor.bools.values):
            tensor.bools.values[0] = not tensor.bools.values[0]


def drop_attribute(rng: random.Random, message: Any, weights: bytearray) -> None:
    operation = _pick(rng, message)
    fields = operation.attributes if operation.type == "const" or rng.random() < 0.2 else operation.inputs
    if len(fields):
        del fields[rng.choice(sorted(fields))]


def rewire(rng: random.Random, message: Any, weights: bytearray) -> None:
    """Let an operation take another value, possibly one that comes later."""
    names = [out.name for operation in _operations(message) for out in operation.outputs]
    operation = _pick(rng, message)
    for argument in operation.inputs.values():
        if len(argument.arguments) and rng.random() < 0.5:
            argument.arguments[0].name = rng.choice(names)


def change_operator(rng: random.Random, message: Any, weights: bytearray) -> None:
    kinds = [operation.type for operation in _operations(message)]
    _pick(rng, message).type = rng.choice(
        [*kinds, "tile", "pad", "while_loop", "reshape", "conv", "gather", "nonsense"]
    )


def swap_operations(rng: random.Random, message: Any, weights: bytearray) -> None:
    for function in message.mlProgram.functions.values():
        for block in function.block_specializations.values():
            if len(block.operations) > 1:
                i, j = rng.sample(range(len(block.operations)), 2)
                first = type(block.operations[i])()
                first.CopyFrom(block.operations[i])
                block.operations[i].CopyFrom(block.operations[j])
                block.operations[j].CopyFrom(first)


DAMAGES: tuple[Damage, ...] = (
    *(flip_bytes, flip_bytes, cut_specification, change_weights, cut_weights, change_blob_offset, change_dimension),
    *(change_input_dimension, change_type, change_constant, change_constant, drop_attribute, rewire, change_operator),
    swap_operations,
)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {CASE_SECONDS} s")


def _given(program: CoreMLProgram) -> dict[str, Any]:
    """Zeros and noise for every input, as it is declared now."""
    from PIL import Image

    noise = np.random.default_rng(0)
    given: dict[str, Any] = {}
    for feature in program.inputs:
        limits.claim(feature.shape)
        if feature.kind == "image":
            given[feature.name] = Image.new(
                "RGB", (feature.shape[1] % 4096 or 1, feature.shape[0] % 4096 or 1), (9, 99, 200)
            )
        else:
            given[feature.name] = noise.standard_normal(feature.shape)
    return given


def run_case(folder: Path) -> str:
    """Every function once: `result`, the class of the first clean error, or `bad: …`."""
    try:
        for name in read_program(folder).functions:
            program = CoreMLProgram.load(folder, function=name)
            program.predict(_given(program), program.make_state() if program.states else None)
    except PortraitError as error:
        str(error)
        return type(error).__name__
    except Exception as error:  # exactly what must not happen
        return f"bad: {type(error).__name__}: {error}"
    return "result"


@dataclass(frozen=True)
class Sound:
    """The files of an intact package."""

    specification: bytes
    weights: bytes
    manifest: bytes

    @classmethod
    def read(cls, package: Path) -> Sound:
        weights = package / WEIGHTS
        stored = weights.read_bytes() if weights.exists() else b""
        return cls((package / SPECIFICATION).read_bytes(), stored, (package / "Manifest.json").read_bytes())


def write_damaged(rng: random.Random, sound: Sound, folder: Path) -> list[str]:
    """Write a package with one or two damages into a folder, and return their names."""
    message, weights = spec_message(sound.specification), bytearray(sound.weights)
    damages, data = rng.choices(DAMAGES, k=rng.choice((1, 1, 2))), None
    for damage in damages:
        with suppress(ValueError):  # a number that this field cannot hold, or no weights to damage
            data = damage(rng, message, weights)
        if data is not None:
            break
    (folder / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
    (folder / SPECIFICATION).write_bytes(data if data is not None else message.SerializeToString())
    (folder / WEIGHTS).write_bytes(weights)
    (folder / "Manifest.json").write_bytes(sound.manifest)
    return [damage.__name__ for damage in damages]


def limit_resources() -> None:
    """Limit memory and loops, and let `in_time` end a case that takes too long."""
    warnings.simplefilter("ignore")  # numpy and torch may warn of what a damaged constant makes them do
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    limits.MAX_ITERATIONS = 1000
    signal.signal(signal.SIGALRM, _too_long)


def in_time(run: Callable[[], str]) -> str:
    """What `run` returns, or `bad: …` after CASE_SECONDS."""
    signal.alarm(CASE_SECONDS)
    try:
        return run()
    except TimeoutError as error:
        return f"bad: {error}"
    finally:
        signal.alarm(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=500, help="cases in all")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    options = parser.parse_args()
    limit_resources()
    rng = random.Random(options.seed)
    outcomes: Counter[str] = Counter()
    bad, slowest = [], 0.0
    sound = [Sound.read(package) for package in options.packages]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "m.mlpackage"
        for case in range(options.count):
            damages = write_damaged(rng, sound[case % len(sound)], folder)
            start = time.perf_counter()
            outcome = in_time(lambda: run_case(folder))
            slowest = max(slowest, time.perf_counter() - start)
            outcomes[outcome.split(":")[0]] += 1
            if outcome.startswith("bad"):
                bad.append(f"case {case} ({', '.join(damages)}): {outcome[:300]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"outcomes": outcomes, "bad": bad, "slowest_s": round(slowest, 2), "peak_kib": peak}))


if __name__ == "__main__":
    main()
