"""What was only guessed of a test's network."""

from __future__ import annotations

from portrait_export.capture.foreign.network import ForeignNetwork
from portrait_export.capture.foreign.on_masks import BADLY


def guesses(network: ForeignNetwork) -> tuple[str, ...]:
    """Its warnings, without the one that networks with random weights get: their masks are of nobody."""
    return tuple(warning for warning in network.warnings if not warning.startswith(BADLY))
