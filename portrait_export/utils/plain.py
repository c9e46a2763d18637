"""Values of ours in, JSON's own out: tuples become lists; NaN and infinities, which JSON does not have, null."""

from __future__ import annotations

import math
from typing import Any


def plain_data(value: Any) -> Any:
    """Dataclass data as JSON data: tuples become lists; NaN and infinities, which JSON does not have, become null."""
    if isinstance(value, dict):
        return {key: plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
