"""The process of its own: kept from model to model, replaced after it ended, and never a model behind."""

from __future__ import annotations

import os
import time

import onnx
import pytest

from portrait_export.capture.simplify.apart import Apart, answer

from .build import model

GOOD = "(float[2] x) => (float y) { y = Relu(x) }"


def serve() -> None:
    """What the other process runs here: each model's documentation says what to do with it."""
    answer(obey)


def obey(source: onnx.ModelProto) -> onnx.ModelProto:
    if source.doc_string == "crash":
        os.abort()
    if source.doc_string == "fail":
        raise ValueError("not this one\nmore")
    if source.doc_string == "wait":
        time.sleep(60)
    source.doc_string = str(os.getpid())
    return source


def told(order: str) -> onnx.ModelProto:
    source = model(GOOD)
    source.doc_string = order
    return source


def apart(longest_s: float = 60.0) -> Apart:
    return Apart(__name__, longest_s)


def test_one_process_serves_all_models():
    run = apart()
    first, second = run(told("a")), run(told("b"))
    assert first.doc_string == second.doc_string != str(os.getpid())
    assert [node.op_type for node in second.graph.node] == ["Relu"]


def test_a_failure_is_told_in_one_line_and_the_process_stays():
    run = apart()
    before = run(told("")).doc_string
    with pytest.raises(RuntimeError, match=r"^not this one$"):
        run(told("fail"))
    assert run(told("")).doc_string == before


def test_after_a_crash_the_next_model_has_a_new_process():
    run = apart()
    before = run(told("")).doc_string
    with pytest.raises(RuntimeError, match=r"^it crashed with signal 6$"):
        run(told("crash"))
    assert run(told("")).doc_string != before


def test_a_model_that_takes_too_long_is_given_up_and_the_next_has_a_new_process():
    run = apart()
    before = run(told("")).doc_string
    run._longest_s = 0.2
    with pytest.raises(RuntimeError, match=r"^it took longer than 0.2 s$"):
        run(told("wait"))
    run._longest_s = 60.0
    assert run(told("")).doc_string != before


def test_an_interrupted_models_answer_is_not_the_next_ones(monkeypatch):
    run = apart()
    before = run(told("")).doc_string
    assert run._child is not None

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(run._child, "stdout", type("Pipe", (), {"readline": staticmethod(interrupted)}))
    with pytest.raises(KeyboardInterrupt):
        run(told("a"))
    assert run(told("b")).doc_string != before
