"""Unify the programs of one network at several input sizes.

The programs differ only in constants that depend on the size. The first is copied, operation by operation, with
symbolic sides of its inputs. If a constant differs between the sizes, `resizable` has a form of the operation that
computes it; one that MIL does not require to be a constant is taken from a table of all of them. The result holds each
weight once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..artifacts import Feature, ImageFeature, Lowered
from ..errors import LoweringError, UsageError
from ..mil import coreml
from .dimensions import Dimensions, Emit, Side, varies
from .emitter import build
from .names import UniqueNames
from .refusals import Problem, Unsupported, problem_lines
from .resizable import FORMS, Input, Resizable
from .values import Argument, Operation, Var

CODE = "size-dependent"
SEVERAL_INPUTS = ("iOS18", "iOS26")  # targets whose programs may list the shapes of more than one input
WEIGHTS = ("weight", "bias")  # of layers, which may be computed in MIL; that devices run such layers is not known
LARGEST_TABLE = 2**24  # numbers: what a package may hold of a constant at all its sizes
HINT = "export a package for each size with `size=`."


def unify(programs: Sequence[Lowered], *, sizes: Sequence[tuple[int, int]], source: str = "the model") -> Lowered:
    """Make one program from several.

    Args:
        programs: the same network, lowered for the same target at each of the sizes.
        sizes: (height, width) of their images, the default first.
        source: what to call the model in messages.
    Returns:
        A program whose inputs list their sizes.
    Raises:
        LoweringError: with every operation that cannot be expressed for all sizes.
        UsageError: the target does not support as many inputs with listed sizes.
    """
    return _Unification(programs, [f"{height}x{width}" for height, width in sizes], source).run()


def require_target(listed: Sequence[str], *, target: str, source: str) -> None:
    """Raise UsageError if a target does not support as many inputs with several sizes as these."""
    if len(listed) > 1 and target not in SEVERAL_INPUTS:
        raise UsageError(
            f"Before {SEVERAL_INPUTS[0]}, Core ML supports several sizes for one input only; {source} takes"
            f" {' and '.join(listed)}, and the target is {target}.",
            hint=f"pass `target={SEVERAL_INPUTS[0]}`, or {HINT}",
        )


class _Unification:
    """One run of `unify`."""

    def __init__(self, programs: Sequence[Lowered], labels: list[str], source: str):
        self.programs = programs
        self.first = programs[0]
        self.labels = labels
        self.source = source
        self.functions = [lowered.program.functions["main"] for lowered in programs]
        self.builder = coreml.builder()
        self.names = UniqueNames()
        self.values: dict[int, Var] = {}  # id of a Var of the first program → its copy
        self.partners: dict[int, Var] = {}  # id of a Var of any program → that of the first program
        self.sides: dict[int, tuple[Side, ...]] = {}  # id of a Var of the first program → its sides
        self.dimensions = Dimensions(self._emit)
        self.problems: list[Problem] = []

    def run(self) -> Lowered:
        """Copy inputs, operations and outputs, in this order."""
        inputs = tuple(self._features("inputs"))
        require_target([f.name for f in inputs if f.listed], target=self.first.target, source=self.source)
        steps = [[op for op in function.operations if op.op_type != "const"] for function in self.functions]
        self._check_structure(steps)
        mil = coreml.mil()
        program = mil.Program()
        placeholders = {name: self._placeholder(name) for name in self.functions[0].inputs}
        self.names.taken.update(var.name for op in self.functions[0].operations for var in op.outputs)
        with mil.Function(placeholders, opset_version=coreml.target(self.first.target)) as function:
            for name, var in function.inputs.items():
                self._remember([function.inputs[name] for function in self.functions], var)
            for ops in zip(*steps, strict=True):
                self._copy(ops)
            self._raise_problems()
            function.set_outputs([self._copied(var) for var in self._outputs()])
        program.add_function("main", function)
        return Lowered(
            program=program, inputs=inputs, outputs=tuple(self._features("outputs")), target=self.first.target
        )

    # inputs and outputs

    def _outputs(self) -> list[Var]:
        """The outputs of the first program, which must be the same values in the others."""
        try:
            return [self._partner(group) for group in zip(*(f.outputs for f in self.functions), strict=True)]
        except Unsupported as error:
            raise self._refusal("returns different values at different sizes", []) from error

    def _features(self, kind: str) -> list[Feature]:
        return [_merged(features) for features in zip(*(getattr(p, kind) for p in self.programs), strict=True)]

    def _placeholder(self, name: str) -> object:
        variables = [function.inputs[name] for function in self.functions]
        sides = _sides(variables)
        shape = [coreml.mil().get_new_symbol() if varies(side) else side[0] for side in sides]
        return self.builder.placeholder(shape=shape, dtype=variables[0].dtype)

    def _remember(self, group: Sequence[Var], var: Var) -> None:
        """Record one value: its Var in each program, and its copy."""
        self.partners.update((id(old), group[0]) for old in group)
        self.values[id(group[0])] = var
        self.sides[id(group[0])] = _sides(group)
        self.dimensions.note(var, self.sides[id(group[0])])

    def _partner(self, group: Sequence[Var]) -> Var:
        """The first program's Var of a value, given its Var in each. Raises Unsupported if they are not one value."""
        if any(_is_const(var) for var in group):
            same = all(_is_const(var) for var in group)
        else:
            same = len({id(self.partners[id(var)]) for var in group}) == 1
        if not same:
            raise Unsupported("it reads different values at different sizes")
        return group[0]

    # operations

    def _check_structure(self, steps: Sequence[Sequence[Operation]]) -> None:
        """Raise LoweringError if the programs do not have the same operations."""
        for label, others in zip(self.labels[1:], steps[1:], strict=True):
            for mine, theirs in zip(steps[0], others, strict=False):
                if mine.op_type != theirs.op_type:
                    found = f"{self.labels[0]}: {mine.op_type} {mine.name}", f"{label}: {theirs.op_type} {theirs.name}"
                    raise self._refusal("has different operations at different sizes", list(found))
            if len(steps[0]) != len(others):
                counts = f"{self.labels[0]}: {len(steps[0])} operations", f"{label}: {len(others)} operations"
                raise self._refusal("has different operations at different sizes", list(counts))

    def _copy(self, ops: Sequence[Operation]) -> None:
        """Copy one operation. A refusal is collected, and the operation copied as it is at the first size."""
        first = ops[0]
        variables = list(zip(*(op.outputs for op in ops), strict=True))
        try:
            results = self._results(ops, [_sides(group) for group in variables])
        except Unsupported as error:
            self.problems.append(Problem(first.op_type, first.name, str(error)))
            results = self._fixed(first)
        for new, group in zip(results, variables, strict=True):
            new.name = group[0].name
            self._remember(group, new)

    def _results(self, ops: Sequence[Operation], sides: Sequence[tuple[Side, ...]]) -> Sequence[Var]:
        first = ops[0]
        if first.blocks:
            raise Unsupported("it has branches or a body")
        groups = _input_groups(ops)
        changing = {
            name: [var.val for var in _single(group)] for name, group in groups.items() if _changes(first, name, group)
        }
        inputs = {name: self._joint_input(first, group) for name, group in groups.items() if name not in changing}
        if not changing:
            return build(self.builder, first.op_type, first.name, **inputs)
        if first.op_type not in FORMS:
            verb = "changes" if len(changing) == 1 else "change"
            raise Unsupported(f"its {', '.join(changing)} {verb} with the size")
        op = Resizable(
            name=first.name,
            inputs=inputs,
            changing=changing,
            x_sides=self.sides[id(first.inputs["x"])] if "x" in first.inputs else (),
            out_sides=sides[0],
            dimensions=self.dimensions,
            emit=self._emit_as(first.name),
            target=self.first.target,
        )
        return [FORMS[first.op_type](op)]

    def _fixed(self, op: Operation) -> Sequence[Var]:
        """A refused operation as it is at the first size, so that the operations after it are checked, too."""
        values = {
            name: [self._copied(var) for var in value] if isinstance(value, Sequence) else self._copied(value)
            for name, value in _inputs(op).items()
        }
        try:
            return build(self.builder, op.op_type, op.name, **values)
        except Unsupported:
            self._raise_problems()
            raise

    def _joint_input(self, op: Operation, group: Sequence[Input]) -> Input:
        """An input that is the same value at every size, or a constant filled with one number."""
        if isinstance(group[0], Sequence):
            return [self._joint_var(op, parts) for parts in zip(*_lists(group), strict=True)]
        return self._joint_var(op, _single(group))

    def _joint_var(self, op: Operation, group: Sequence[Var]) -> Var:
        if not _differ(group):
            return self._copied(self._partner(group))
        if not _uniform(group):
            return self._chosen(op, [np.asarray(var.val) for var in group])
        name = f"{op.name}_filled"
        shape = self.dimensions.vector(_sides(group), f"{name}_shape")
        return self._emit("fill", name, shape=shape, value=group[0].val.reshape(-1)[0])

    def _chosen(self, op: Operation, values: Sequence[np.ndarray]) -> Var:
        """A constant that differs between the sizes: a table of all of them, of which the program takes a part."""
        if len({(value.dtype, value.ndim) for value in values}) > 1:
            raise Unsupported("one of its constants has another type or rank at another size")
        total = sum(value.size for value in values)
        if total > LARGEST_TABLE:
            raise Unsupported(f"one of its constants changes with the size, and has {total:,} numbers in all")
        sides = tuple(zip(*(value.shape for value in values), strict=True))
        ends = tuple(int(end) for end in np.cumsum([value.size for value in values]))
        begins = (0, *ends[:-1])
        name = f"{op.name}_table"
        table = self.builder.const(
            val=np.concatenate([value.reshape(-1) for value in values]), name=self.names.take(name)
        )
        bounds = {"begin": self.dimensions.chosen(begins, name), "end": self.dimensions.chosen(ends, name)}
        part = self._emit("slice_by_index", f"{name}_part", x=table, **bounds)
        if not sides:  # a number: one element broadcasts as it does
            return part
        return self._emit("reshape", f"{name}_shaped", x=part, shape=self.dimensions.vector(sides, f"{name}_shape"))

    def _copied(self, var: Var) -> Var:
        """The copy of a Var of the first program; constants are copied when they are first used."""
        if id(var) not in self.values:
            self.values[id(var)] = self.builder.const(val=var.val, name=var.name)
        return self.values[id(var)]

    def _emit(self, op: str, name: str, /, **inputs: Argument) -> Var:
        """Write an additional MIL operation under a free name."""
        (var,) = build(self.builder, op, self.names.take(name), **inputs)
        return var

    def _emit_as(self, own: str) -> Emit:
        """`_emit` for the form of an operation: the operation called `own` keeps exactly that name."""

        def emit(op: str, name: str, /, **inputs: Argument) -> Var:
            if name != own:
                return self._emit(op, name, **inputs)
            (var,) = build(self.builder, op, own, **inputs)
            return var

        return emit

    # refusals

    def _raise_problems(self) -> None:
        if self.problems:
            raise self._refusal("has operations that depend on the input size", problem_lines(self.problems))

    def _refusal(self, what: str, context: list[str]) -> LoweringError:
        return LoweringError(
            f"One package cannot accept {', '.join(self.labels)}: {self.source} {what}.",
            code=CODE,
            context=context,
            hint=HINT,
        )


def _merged(features: Sequence[Feature]) -> Feature:
    """One input or output at several sizes: the first feature, with all shapes if they differ."""
    first = features[0]
    if len(set(features)) == 1:
        return first
    if isinstance(first, ImageFeature):
        sizes = tuple((f.height, f.width) for f in features if isinstance(f, ImageFeature))
        return replace(first, sizes=sizes, description=_one_of([f.description for f in features]))
    return replace(first, shapes=tuple(f.shape for f in features if not isinstance(f, ImageFeature)))


def _one_of(texts: Sequence[str]) -> str:
    """Merge descriptions that differ in numbers: `64×64 pixels.`, `96×64 pixels.` → `64×64 or 96×64 pixels.`"""
    words = [text.split(" ") for text in texts]
    if len({len(row) for row in words}) > 1:
        return texts[0]
    return " ".join(" or ".join(dict.fromkeys(column)) for column in zip(*words, strict=True))


def _sides(variables: Sequence[Var]) -> tuple[Side, ...]:
    """The sides of one value, given its Var in each program."""
    return tuple(zip(*(tuple(int(side) for side in var.shape) for var in variables), strict=True))


def _inputs(op: Operation) -> dict[str, Input]:
    return {name: value for name, value in op.inputs.items() if value is not None}


def _input_groups(ops: Sequence[Operation]) -> dict[str, list[Input]]:
    """Each input of one operation, as it is in each program."""
    names = [set(_inputs(op)) for op in ops]
    if any(other != names[0] for other in names):
        raise Unsupported("it has different inputs at different sizes")
    return {name: [op.inputs[name] for op in ops] for name in _inputs(ops[0])}


def _changes(op: Operation, name: str, group: Sequence[Input]) -> bool:
    """Whether an input is a constant that differs between the programs, so that the operation needs a form for it.

    Others need none: what MIL does not require to be a constant becomes a `fill`, or a part of a table.
    """
    if isinstance(group[0], Sequence):
        return False
    variables = _single(group)
    if not _differ(variables):
        return False
    must_be_const = type(op).input_spec.input_types[name].const  # type: ignore[attr-defined]  # coremltools' own class
    return must_be_const or name in WEIGHTS or (op.op_type in FORMS and name != "x" and not _uniform(variables))


def _single(group: Sequence[Input]) -> list[Var]:
    return [value for value in group if not isinstance(value, Sequence)]


def _lists(group: Sequence[Input]) -> list[Sequence[Var]]:
    return [value for value in group if isinstance(value, Sequence)]


def _is_const(var: Var) -> bool:
    return var.op is not None and var.op.op_type == "const"


def _differ(group: Sequence[Var]) -> bool:
    """Whether one input is constant in all programs, but not the same in all."""
    if not all(map(_is_const, group)):
        return False
    first, *others = (np.asarray(var.val) for var in group)
    return any(
        (other.dtype, other.shape) != (first.dtype, first.shape) or other.tobytes() != first.tobytes()
        for other in others
    )


def _uniform(group: Sequence[Var]) -> bool:
    """Whether constants are filled with one number and have the same rank at every size."""
    values = [np.asarray(var.val) for var in group]
    if len({value.ndim for value in values}) > 1 or values[0].ndim == 0:
        return False
    return len({number for value in values for number in np.unique(value).tolist()}) == 1
