"""Put arguments into words that suit Python and the command line alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)=([^`\n]*)`")  # as messages name arguments, see `errors.PortraitError`


def in_words(text: str) -> str:
    """Name arguments in a text without the syntax of a language.

    >>> in_words("set by `min_iou=`; `rounding=gptq` and `tune=True` may help")
    'set by min_iou; rounding gptq and tune may help'
    """
    return ARGUMENT.sub(lambda match: match[1] if match[2] in ("", "True") else f"{match[1]} {match[2]}", text)


def in_texts(value: Any, word: Callable[[str], str]) -> Any:
    """Plain data with `word` of every text in it."""
    if isinstance(value, dict):
        return {key: in_texts(item, word) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_texts(item, word) for item in value]
    return word(value) if isinstance(value, str) else value
