"""Put arguments into words, for files that are written for people who call from Python and from the command line."""

from __future__ import annotations

import re
from typing import Any

ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)=([^`\n]*)`")  # as messages name arguments, see `errors.PortraitError`


def in_words(text: str) -> str:
    """Name arguments in a text without the syntax of a language.

    >>> in_words("set by `min_iou=`; `rounding=gptq` and `tune=True` may help")
    'set by min_iou; rounding gptq and tune may help'
    """
    return ARGUMENT.sub(lambda match: match[1] if match[2] in ("", "True") else f"{match[1]} {match[2]}", text)


def all_in_words(value: Any) -> Any:
    """`in_words` of every text in plain data."""
    if isinstance(value, dict):
        return {key: all_in_words(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [all_in_words(item) for item in value]
    return in_words(value) if isinstance(value, str) else value
