"""Names in a MIL program: valid identifiers, each used once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


def identifier(name: str) -> str:
    """Convert an ONNX name to a MIL identifier: each character but letters and digits becomes an underscore."""
    clean = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return clean if clean and not clean[0].isdigit() else f"_{clean}"


@dataclass
class UniqueNames:
    """The names in use in one program.

    Attributes:
        taken: names in use.
    """

    taken: set[str] = field(default_factory=set)
    _counts: dict[str, int] = field(default_factory=dict)

    def take(self, name: str) -> str:
        """Reserve and return `name`, with a number appended if it is already taken."""
        free, count = name, 1
        if name in self.taken:
            count = self._counts.get(name, 1)
        while free in self.taken:
            count += 1
            free = f"{name}_{count}"
        self._counts[name] = count
        self.taken.add(free)
        return free
