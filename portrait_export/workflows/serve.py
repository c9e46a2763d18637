"""Serve a package to another program: frames arrive on one stream, their P(person) leaves on another.

A message is two little-endian unsigned 32-bit lengths, so many bytes of JSON (UTF-8), and so many bytes of payload:

    →  {"protocol": 1, "package": …, "runtime": …, "metadata": {…},       once, when the package is loaded
        "carried": […]}
    ←  {"id": 7, "height": H, "width": W, "depth": false}                 H·W·3 bytes of sRGB, then H·W float32 of depth
    →  {"id": 7}                                                          H·W float32 of P(person) in 0..1
    →  {"id": 7, "error": {"code": …, "message": …, "hint": …}}           instead, for a frame that cannot be run

Arrays are row by row, numbers little-endian. The metadata are the package's own, with `portrait_export.spec` and
`portrait_export.sizes` added where a package from elsewhere lacks them. `carried` names what a recurrent network
carries from frame to frame, else it is empty: a frame with `"continues": true` takes what the frame before it left, and
every other one is the first of a sequence. The end of the input ends the service.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..artifacts import Frame, Runner
from ..errors import ExecutionError, PortraitError, UsageError
from ..inputs.runners import open_package
from ..inputs.sizes import labels
from ..preprocessing import SPEC_KEY

PROTOCOL = 1
SIZES_KEY = "portrait_export.sizes"
LENGTHS = struct.Struct("<II")
MAX_HEADER_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 1 << 30  # a frame of 8192x8192 with depth has 0.5 GB


def serve(package: Path, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer frames until the requests end.

    Raises:
        PortraitError: the package cannot be run, or a message cannot be understood: what follows it is then lost too.
    """
    runner, metadata, carried = _open(package)
    hello = {
        "protocol": PROTOCOL,
        "package": package.name,
        "runtime": "portrait-export",
        "metadata": metadata,
        "carried": carried,
    }
    _send(replies, hello)
    while (message := _receive(requests)) is not None:
        header, payload = message
        try:
            probability = runner.run([_frame(header, payload, carried)])[0].probability
            _send(replies, {"id": header["id"]}, np.ascontiguousarray(probability, "<f4").tobytes())
        except PortraitError as error:
            failure = {"code": error.code, "message": error.message, "hint": error.hint}
            _send(replies, {"id": header["id"], "error": failure})


def _open(package: Path) -> tuple[Runner, dict[str, str], tuple[str, ...]]:
    """The package's runner, its metadata with the spec and sizes that `segment` would use, and what it carries."""
    opened = open_package(package)
    if opened.spec.pictures:
        names = ", ".join(picture.name for picture in opened.spec.pictures)
        raise UsageError(
            f"{package.name} takes further pictures besides the photo ({names}), and a frame of this service has none."
        )
    metadata = dict(opened.runner.program.metadata.user_defined)
    metadata[SPEC_KEY] = opened.spec.to_json()
    metadata[SIZES_KEY] = labels(opened.sizes, last=",").replace(" ", "")
    return opened.runner, metadata, opened.carried


def _frame(header: dict[str, Any], payload: bytes, carried: tuple[str, ...]) -> Frame:
    continues = header.get("continues") is True
    if continues and not carried:
        raise ExecutionError("A frame cannot continue a sequence: the package carries nothing from frame to frame.")
    height, width = int(header["height"]), int(header["width"])
    pixels = height * width
    expected = pixels * (7 if header.get("depth") else 3)
    if min(height, width) < 1 or len(payload) != expected:
        raise ExecutionError(f"A frame of {height}x{width} has {expected} bytes; found {len(payload)}.")
    image = np.frombuffer(payload, np.uint8, pixels * 3).reshape(height, width, 3)
    if not header.get("depth"):
        return Frame(image, name=str(header["id"]), continues=continues)
    depth = np.frombuffer(payload, "<f4", pixels, offset=pixels * 3).reshape(height, width)
    return Frame(image, depth.astype(np.float32), str(header["id"]), continues=continues)


def _send(stream: BinaryIO, header: dict[str, Any], payload: bytes = b"") -> None:
    text = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(text), len(payload)) + text + payload)
    stream.flush()


def _receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None where the stream ends between two messages."""
    lengths = stream.read(LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < LENGTHS.size:
        raise UsageError(f"The requests end within a message, after {len(lengths)} bytes of its lengths.")
    header_bytes, payload_bytes = LENGTHS.unpack(lengths)
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise UsageError(
            f"A message of {header_bytes} + {payload_bytes} bytes is too long; at most {MAX_HEADER_BYTES} and"
            f" {MAX_PAYLOAD_BYTES} are read.",
            hint="this is a service for programs: its protocol is in portrait_export/workflows/serve.py.",
        )
    return _header(_exactly(stream, header_bytes)), _exactly(stream, payload_bytes)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise UsageError(f"The requests end within a message: {len(content)} of {count} bytes.")
    return content


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
        {key: int(header[key]) for key in ("id", "height", "width")}
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"A message needs the numbers id, height and width; found {text[:80]!r}.") from error
    return dict(header)
