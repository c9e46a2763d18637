"""Test serving a package to another program: the greeting, frames, frames that cannot be run, broken messages."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait_export.artifacts import Frame
from portrait_export.errors import UsageError
from portrait_export.preprocessing import PortraitSpec
from portrait_export.runtime.runner import PackageRunner
from portrait_export.workflows.serve import serve

from ..conftest import SIDE

Message = tuple[dict[str, Any], bytes]


def message(header: Any, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<II", len(text), len(payload)) + text + payload


def messages(stream: bytes) -> list[Message]:
    found, rest = [], stream
    while rest:
        header_bytes, payload_bytes = struct.unpack("<II", rest[:8])
        header, rest = json.loads(rest[8 : 8 + header_bytes]), rest[8 + header_bytes :]
        found.append((header, rest[:payload_bytes]))
        rest = rest[payload_bytes:]
    return found


def answers(package: Path, *requests: bytes) -> list[Message]:
    replies = io.BytesIO()
    serve(package, io.BytesIO(b"".join(requests)), replies)
    return messages(replies.getvalue())


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def saved(small_export: Path) -> Path:
    return small_export / "segformer_b0.mlpackage"


def request_of(image: np.ndarray, number: int = 1) -> bytes:
    height, width = image.shape[:2]
    return message({"id": number, "height": height, "width": width, "depth": False}, image.tobytes())


def test_the_package_introduces_itself(saved):
    ((hello, payload),) = answers(saved)
    assert payload == b""
    assert (hello["protocol"], hello["package"]) == (1, "segformer_b0.mlpackage")
    assert PortraitSpec.from_json(hello["metadata"]["portrait_export.spec"]).height == SIDE
    assert hello["metadata"]["portrait_export.sizes"] == f"{SIDE}x{SIDE}"


def test_frames_are_answered_with_what_the_runner_gives(saved, image):
    _, first, second = answers(saved, request_of(image, 7), request_of(255 - image, 8))
    expected = PackageRunner(saved).run([Frame(image), Frame(255 - image)])
    for (header, payload), number, prediction in zip((first, second), (7, 8), expected, strict=True):
        assert header == {"id": number}
        np.testing.assert_array_equal(np.frombuffer(payload, "<f4").reshape(SIDE, SIDE), prediction.probability)


def test_a_frame_that_cannot_be_run_does_not_end_the_service(saved, image):
    cut = message({"id": 3, "height": SIDE, "width": SIDE, "depth": False}, image.tobytes()[:-1])
    _, failed, wrong_size, good = answers(saved, cut, request_of(image[:32], 4), request_of(image, 5))
    assert failed[0]["id"] == 3
    assert f"A frame of {SIDE}x{SIDE} has {image.size} bytes; found {image.size - 1}." in failed[0]["error"]["message"]
    assert wrong_size[0]["error"]["code"] == "execution-failed"
    assert good[0] == {"id": 5}


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        (b"\x01\x00\x00", "after 3 bytes of its lengths"),
        (struct.pack("<II", 20, 0) + b"{}", "2 of 20 bytes"),
        (struct.pack("<II", 1 << 31, 0), "is too long"),
        (message(b"not JSON"), "needs the numbers id, height and width; found b'not JSON'"),
        (message({"id": 1}), "needs the numbers"),
        (message(b"[1]"), "needs the numbers"),
    ],
)
def test_a_message_that_cannot_be_understood_ends_it(saved, requests, words):
    with pytest.raises(UsageError, match=words.replace("[", r"\[")):
        answers(saved, requests)


def test_stdout_of_the_command_carries_only_the_protocol(saved, image):
    command = [sys.executable, "-m", "portrait_export", "serve", str(saved)]
    done = subprocess.run(command, input=request_of(image), capture_output=True, check=True)
    assert [header.get("id") for header, _ in messages(done.stdout)] == [None, 1]


def test_a_package_that_is_missing_is_bad_input(cli, tmp_path):
    ran = cli("serve", tmp_path / "none.mlpackage")
    assert (ran.code, ran.out) == (2, "")
    assert "There is no package" in ran.err
