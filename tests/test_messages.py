"""Test that library messages name arguments, not flags: only the command line knows its flags."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from portrait_export.cli.flags import options_by_argument

ROOT = Path(__file__).parents[1]
FLAGS = {flag for option in options_by_argument().values() for flag in option.opts if flag.startswith("--")}
OTHER_COMMANDS = re.compile(r"`(sips|pip|portrait-export) [^`]*`|^--quiet$")  # `--quiet` alone: an argument of pip
FILES = [
    path
    for folder in ("portrait_export", "models", "calibration")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "cli" not in path.parts
]


def messages(path: Path) -> list[str]:
    """Every string literal that is not a docstring."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and isinstance(node.body[0], ast.Expr)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings)
    return [node.value for node in constants if isinstance(node.value, str)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_message_names_a_flag(path):
    texts = (OTHER_COMMANDS.sub("", text) for text in messages(path))
    named = {flag for text in texts for flag in re.findall(r"--[a-z][a-z-]*[a-z]", text)}
    assert named & FLAGS == set()
