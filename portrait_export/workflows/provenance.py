"""Tell whether a package was made from the weights that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping

from ..preprocessing import METADATA_PREFIX

WEIGHTS = "weights_sha256"  # in a network's provenance, and with the prefix in a package's metadata


def made_from_others(name: str, provenance: Mapping[str, str], package: str, stored: Mapping[str, str]) -> str:
    """Say that a package was made from other weights than a network has; empty if not, or not known.

    Args:
        name, provenance: of the network.
        package, stored: name and metadata of the package.
    """
    made, given = stored.get(f"{METADATA_PREFIX}{WEIGHTS}", ""), provenance.get(WEIGHTS, "")
    if not made or not given or made == given:
        return ""
    return (
        f"{package} was made from other weights (sha256 {made[:12]}…) than {name} has ({given[:12]}…): the two differ"
        " for that reason alone."
    )
