"""Simplify an ONNX model without changing its results.

The interface stays, there are fewer operations, and a report says what was done.
First onnxsim (shapes, constants, batch norms), then our own rules, one per file, until none fires any more. Every rule
is an exact identity: what is not exact belongs to quantization.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from ...errors import CaptureError, first_line
from ..onnx.check import RELATIVE_TOLERANCE, check_model, random_feeds, relative_error, run_once
from ..onnx.graph import Graph
from ..onnx.light import convert_version
from ..onnx.stored import StoredModel
from .folding import fold_constants
from .naming import name_weights
from .report import Fired, Refused, SimplifyReport
from .rule import Match, P, Rule
from .rules import RULES

__all__ = [
    "RULES",
    "Fired",
    "Graph",
    "Match",
    "Refused",
    "Rule",
    "SimplifyReport",
    "apply_rules",
    "simplify",
    "simplify_stored",
]

MAX_ROUNDS = 50  # the seven registered models need at most 4; two rules that undo each other would never end


def simplify(
    model: onnx.ModelProto, *, rules: tuple[Rule[Any], ...] = RULES, keep_opset: bool = False
) -> tuple[onnx.ModelProto, SimplifyReport]:
    """Simplify a model in memory. See `simplify_stored`."""
    simplified, report = simplify_stored(StoredModel(model), rules=rules, keep_opset=keep_opset)
    return simplified.whole(), report


def simplify_stored(
    model: StoredModel, *, rules: tuple[Rule[Any], ...] = RULES, keep_opset: bool = False
) -> tuple[StoredModel, SimplifyReport]:
    """Fold constants with onnxsim, then apply the rules to a fixed point.

    Args:
        model: static input shapes. It is not changed.
        rules: in the order in which they are tried.
        keep_opset: leave the opset alone, and so what needs a newer one; else it is raised where a rule fires for it.
    Returns:
        The cheaper model, deterministic, accepted by onnx.checker, with the same inputs, outputs and metadata; and the
        report. A rule that changes the numbers under ONNX Runtime is skipped and reported as refused.
    Raises:
        CaptureError: the model is invalid, dynamic, or cannot be run at all.
    """
    from ..onnx.cost import cost_before, cost_of

    expected = _Expected(model)
    folded, note = fold_constants(model)
    notes = [note] if note else []
    before = cost_before(cost_of(model), cost_of(folded))
    if not keep_opset:
        folded = raise_opset(folded, rules, notes)
    rewritten, fired, refused = _rewritten(folded, rules)
    error = expected.error(rewritten)
    if error > RELATIVE_TOLERANCE:
        if expected.error(folded) > RELATIVE_TOLERANCE:
            notes.append("onnxsim or the newer opset changed the numbers; the unfolded model is used")
            folded = model
        sound, unsound = _sound_rules(expected, folded, rules)
        rewritten, fired, refused = _rewritten(folded, sound)
        refused = (*refused, *unsound)
        error = expected.error(rewritten)
    _keep_description(model.outline, rewritten.outline)
    check_model(rewritten.outline)
    after = cost_of(rewritten)
    report = SimplifyReport(fired=fired, refused=refused, before=before, after=after, error=error, notes=tuple(notes))
    return rewritten, report


def _rewritten(
    model: StoredModel, rules: tuple[Rule[Any], ...]
) -> tuple[StoredModel, tuple[Fired, ...], tuple[Refused, ...]]:
    """`apply_rules` to a stored model."""
    graph = Graph(model)
    fired, refused = _apply_to(graph, rules)
    return model.with_outline(graph.to_model()), fired, refused


def apply_rules(
    model: onnx.ModelProto, rules: tuple[Rule[Any], ...] = RULES
) -> tuple[onnx.ModelProto, tuple[Fired, ...], tuple[Refused, ...]]:
    """Apply rules until none fires any more. Numbers are not compared here, see `simplify`."""
    graph = Graph(model)
    fired, refused = _apply_to(graph, rules)
    return graph.to_model(), fired, refused


def _apply_to(graph: Graph, rules: tuple[Rule[Any], ...]) -> tuple[tuple[Fired, ...], tuple[Refused, ...]]:
    graph.clean()
    fired: list[Fired] = []
    for _ in range(MAX_ROUNDS):
        refused: dict[tuple[str, str], Refused] = {}
        count = len(fired)
        for rule in rules:
            _apply(graph, rule, fired, refused)
        if len(fired) == count:
            if fired:
                name_weights(graph)
            return tuple(fired), tuple(refused.values())
    raise CaptureError(
        f"The rewrite rules did not terminate within {MAX_ROUNDS} rounds.",
        code="endless-rewrite",
        context=[f"{entry.rule} at {entry.node}" for entry in fired[-4:]],
    )


def _apply(graph: Graph, rule: Rule[P], fired: list[Fired], refused: dict[tuple[str, str], Refused]) -> None:
    for match in rule.pattern(graph):
        if graph.opset < rule.since:
            reason = f"needs opset {rule.since}, the model has {graph.opset}"
        else:
            reason = rule.check(graph, match)
        if reason:
            refused[rule.name, match.anchor.name] = Refused(rule.name, match.anchor.name, reason)
            continue
        rule.rewrite(graph, match)
        graph.clean()
        fired.append(Fired(rule.name, match.anchor.name))


def raise_opset(model: StoredModel, rules: tuple[Rule[Any], ...], notes: list[str]) -> StoredModel:
    """Bring a model to the opset that the rules with a match in it need; a note is added where that fails."""
    graph = Graph(model)
    needed = [rule.since for rule in rules if rule.since > graph.opset and any(True for _ in rule.pattern(graph))]
    if not needed or not graph.opset:
        return model
    try:
        raised = convert_version(model.outline, max(needed))
        raised.ir_version = max(raised.ir_version, onnx.helper.find_min_ir_version_for(raised.opset_import, True))
        check_model(raised)
    except Exception as error:  # the C++ converter raises RuntimeErrors of its own
        notes.append(f"opset {graph.opset} could not be raised to {max(needed)}: {first_line(error)}")
        return model
    return model.with_outline(raised)


class _Expected:
    """What a model computes from seeded random inputs, when ONNX Runtime runs it as it is written."""

    def __init__(self, model: StoredModel):
        self.feeds = random_feeds(model.outline)
        self.outputs = run_once(model, self.feeds, optimize=False)

    def error(self, model: StoredModel) -> float:
        """Largest relative error of any output of another model."""
        found = run_once(model, self.feeds)
        pairs = [pair for name, value in self.outputs.items() for pair in _pairs(value, found[name])]
        return max((relative_error(expected, actual) for expected, actual in pairs), default=0.0)


def _pairs(expected: Any, found: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The arrays of an output and its counterpart: one pair, one per element of a sequence, none for an absent one."""
    if isinstance(expected, list):
        return [pair for both in zip(expected, found, strict=True) for pair in _pairs(*both)]
    return [] if expected is None else [(expected, found)]


def _sound_rules(
    expected: _Expected, folded: StoredModel, rules: tuple[Rule[Any], ...]
) -> tuple[tuple[Rule[Any], ...], list[Refused]]:
    """The rules that together keep the numbers, and a refusal for each that does not."""
    sound: tuple[Rule[Any], ...] = ()
    unsound: list[Refused] = []
    for rule in rules:
        rewritten, fired, _ = _rewritten(folded, (*sound, rule))
        error = expected.error(rewritten)
        if error <= RELATIVE_TOLERANCE:
            sound = (*sound, rule)
        else:
            where = next((entry.node for entry in fired if entry.rule == rule.name), "")
            unsound.append(Refused(rule.name, where, f"the numbers would change by {error:.1e} of their scale"))
    return sound, unsound


def _keep_description(source: onnx.ModelProto, target: onnx.ModelProto) -> None:
    """Producer, documentation and metadata of the model as it came; tools on the way replace or drop them."""
    for name in ("producer_name", "producer_version", "domain", "doc_string", "model_version"):
        setattr(target, name, getattr(source, name))
    target.graph.name, target.graph.doc_string = source.graph.name, source.graph.doc_string
    del target.metadata_props[:]
    target.metadata_props.extend(source.metadata_props)
