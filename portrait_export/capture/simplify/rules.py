"""The rewrite rules, in the order in which they are tried."""

from __future__ import annotations

from .rule import Rule

RULES: tuple[Rule, ...] = ()
