"""Convert dataclass data to values that JSON can hold."""

from __future__ import annotations

import math
from typing import Any


def plain_data(value: Any) -> Any:
    """Convert tuples to lists, and NaN and infinities, which JSON does not have, to None."""
    if isinstance(value, dict):
        return {key: plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
