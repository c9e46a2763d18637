"""`portrait-export inspect`: show the inputs, outputs, operations and weights of a saved model or ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from . import options

if TYPE_CHECKING:
    from ..mil.lint import Advice
    from ..mil.mac import DevicePlacement


@click.command()
@click.argument("file", type=options.File())
@click.option(
    "--lint",
    is_flag=True,
    help="Add advice on patterns that are documented as slow on the Neural Engine or not run by it, with sources.",
)
@click.option(
    "--compute-plan",
    is_flag=True,
    help="Add the device on which Core ML would run each operation of a package (macOS only; not covered by tests).",
)
@options.output_options(options.AS_JSON)
def inspect(file: Path, lint: bool, compute_plan: bool, console: options.Console) -> None:
    """Show FILE's inputs, outputs, operations, weights by stored type, deployment target and metadata.

    FILE is a .mlpackage, an .mlmodel with an ML Program, a Core AI asset (.aimodel), or an .onnx file.
    """
    from . import render

    facts, advice = _read(file, lint=lint)
    plan = _plan(file) if compute_plan else []
    if console.as_json:
        more: dict[str, Any] = {"lint": _plain(advice)} if lint else {}
        more |= {"compute_plan": [vars(row) for row in plan]} if compute_plan else {}
        render.result_json({**facts, **more})
        return
    _show(facts)
    if lint:
        _show_advice(advice)
    if compute_plan:
        rows = [[row.name, row.type, row.device, "" if row.cost is None else f"{row.cost:.4f}"] for row in plan]
        render.result("\n" + render.table(["operation", "type", "runs on", "cost"], rows, right=(3,)))


def _plan(file: Path) -> list[DevicePlacement]:
    if file.suffix.lower() == ".onnx":
        raise UsageError("--compute-plan asks Core ML; it takes a package, not an ONNX file.")
    if file.suffix.lower() == ".aimodel":
        raise UsageError("--compute-plan asks Core ML; it takes a package, not a Core AI asset.")
    from ..mil.mac import compute_plan

    return compute_plan(file)


def _read(file: Path, *, lint: bool) -> tuple[dict[str, Any], list[Advice]]:
    """Read a file once and return its facts, and advice if `lint`."""
    if file.suffix.lower() == ".onnx":
        from ..capture.onnx.describe import describe_onnx
        from ..capture.onnx.lint import lint_model
        from ..capture.onnx.load import load_onnx
        from ..frontend.support import operators

        model = load_onnx(file)
        status = [vars(entry) for entry in operators(model)]
        return {**describe_onnx(model, file), "lowering": status}, lint_model(model) if lint else []
    if file.suffix.lower() == ".aimodel":
        from ..coreai.describe import describe_asset

        if lint:
            raise UsageError("--lint knows packages and ONNX files, not Core AI assets.")
        return describe_asset(file), []
    from ..mil.describe import describe_program
    from ..mil.lint import lint_program
    from ..mil.program import read_program

    program = read_program(file)
    return describe_program(program, file), lint_program(program) if lint else []


def _plain(advice: list[Advice]) -> dict[str, Any]:
    from ..mil.lint import NOTE

    return {"note": NOTE, "advice": [item.to_dict() for item in advice]}


def _show_advice(advice: list[Advice]) -> None:
    from ..mil.lint import NOTE
    from . import render

    render.result(f"\n{render.style('Neural Engine', bold=True)}: {NOTE}")
    if not advice:
        render.result("  none of the known patterns was found")
    for item in advice:
        more = f" and {item.count - len(item.where)} more" if item.count > len(item.where) else ""
        render.result(f"\n  {render.style(item.code, fg='yellow')}  {item.count} × {item.title}")
        render.result(f"    where   {', '.join(item.where)}{more}")
        render.result(f"    effect  {item.effect}")
        render.result(f"    do      {item.do}")
        for source in item.sources:
            render.result(f"    source  {source}")


_STATUS = {"lowered": "yes", "function": "through its ONNX function body", "missing": "NO LOWERING"}


def _show(facts: dict[str, Any]) -> None:
    from . import render

    needs = f", needs {facts['needs']} or later" if "needs" in facts else ""
    opset = ", opset " + " ".join(f"{d} {v}" for d, v in facts["opset"].items()) if "opset" in facts else ""
    render.result(f"{facts['file']}: {facts['kind']}, {render.size(facts['size_bytes'])}{needs}{opset}")
    functions = facts.get("functions", [])
    if len(functions) > 1:
        default = facts["default_function"]
        rows = [[name, "default, shown below" if name == default else ""] for name in functions]
        render.result("\n" + render.table(["functions", ""], rows))
    for side in ("inputs", "outputs", "states"):
        rows = [
            [f["name"], f["kind"], _shape(f), f.get("color") or f.get("dtype", ""), f["description"]]
            for f in facts.get(side, [])
        ]
        if rows or side != "states":
            render.result("\n" + render.table([side, "kind", "shape", "type", "description"], rows))
    status = {entry["op_type"]: _STATUS[entry["status"]] for entry in facts.get("lowering", ())}
    rows = [[name, str(count), status.get(name, "")] for name, count in facts["operations"].items()]
    total = sum(facts["operations"].values())
    heading = "to Core ML" if status else ""
    render.result("\n" + render.table([f"operations ({total})", "count", heading], rows, right=(1,)))
    rows = [
        [dtype, f"{row['weights']:,}" if "weights" in row else "", f"{row['elements']:,}", render.size(row["bytes"])]
        for dtype, row in facts["weights"].items()
    ]
    render.result("\n" + render.table(["stored as", "weights", "elements", "bytes"], rows, right=(1, 2, 3)))
    if "cost" in facts:
        render.result("\n" + render.table(["cost of one run", ""], _cost_rows(facts["cost"]), right=(1,)))
    rows = [[key, _one_line(text)] for key, text in facts["metadata"].items() if text]
    if rows:
        render.result("\n" + render.table(["metadata", ""], rows))


def _cost_rows(cost: dict[str, Any]) -> list[list[str]]:
    from . import render

    families = [[f"MACs, {family}", f"{count:,}"] for family, count in cost["macs"].items()]
    absorbed = cost["absorbed_layout_ops"]
    return [
        ["parameters", f"{cost['parameters']:,}"],
        *families,
        ["weights", render.size(cost["weight_bytes"])],
        ["peak activations", render.size(cost["peak_activation_bytes"])],
        ["reshapes, transposes and similar", str(cost["layout_ops"])],
        *([["of these, absorbed in MIL", str(absorbed)]] if absorbed else []),
    ]


def _shape(feature: dict[str, Any]) -> str:
    """Format the shape, or all listed shapes, the default first."""
    shapes = [feature["shape"], *(s for s in feature.get("enumerated", ()) if s != feature["shape"])]
    return " or ".join("x".join(map(str, shape)) for shape in shapes)


def _one_line(text: str, limit: int = 96) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
