"""Make control characters in other people's names visible, so that a terminal does not obey them."""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1, and what changes the direction of text or breaks lines in some viewers.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NAMED = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_SPACES = re.compile("[\t\n]")


def visible(text: str) -> str:
    r"""Replace control characters by escapes such as `\x1b`; tabs and newlines stay.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _CONTROLS.sub(_escape, text)


def visible_line(text: str) -> str:
    r"""As `visible`, with tabs and newlines replaced too, for text that must stay on its line."""
    return _SPACES.sub(_escape, visible(text))


def visible_in_json(text: str) -> str:
    r"""Escape what JSON may hold as it is, such as DEL and C1, as `\u009b`; the value stays the same."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    if match[0] in _NAMED:
        return _NAMED[match[0]]
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
