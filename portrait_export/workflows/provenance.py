"""Tell whether a package was made from the weights that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..preprocessing import METADATA_PREFIX

if TYPE_CHECKING:
    import onnx

    from ..inputs.sources import LoadedModel

WEIGHTS = "weights_sha256"  # in a network's provenance, and with the prefix in a package's metadata
ORIGIN, MODEL = "weights", "model"  # likewise: where the weights came from, and the network's name
OF_A_FILE = "file "  # an origin that starts so goes with the hash of a file's bytes, any other with that of tensors


def written_in(model: onnx.ModelProto) -> dict[str, str]:
    """The metadata of an ONNX file, ours under our own names."""
    return _own_names({entry.key: entry.value for entry in model.metadata_props})


def _own_names(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(METADATA_PREFIX): value for key, value in metadata.items()}


def provenance_of(model: LoadedModel) -> Mapping[str, str]:
    """A network's provenance; for an ONNX file of this project, that of the network which it was made from."""
    from ..capture.foreign.network import ForeignNetwork

    if not isinstance(model, ForeignNetwork):
        return model.provenance
    written = written_in(model.original.stored.outline)
    return written if WEIGHTS in written else model.provenance


def made_from_others(name: str, provenance: Mapping[str, str], package: str, stored: Mapping[str, str]) -> str:
    """Say that a package was made from other weights than a network has; empty if not, or not known.

    Args:
        name, provenance: of the network.
        package, stored: name and metadata of the package.
    """
    of_package = _own_names(stored)
    made, given = of_package.get(WEIGHTS, ""), provenance.get(WEIGHTS, "")
    if not made or not given or made == given:
        return ""
    origins = of_package.get(ORIGIN, ""), provenance.get(ORIGIN, "")
    if all(origins) and len({origin.startswith(OF_A_FILE) for origin in origins}) > 1:
        return ""  # the hash of a file says nothing about that of tensors
    model = of_package.get(MODEL, "")
    of_model = f"of {model}, " if model not in ("", name) else ""
    return (
        f"{package} was made from other weights ({of_model}sha256 {made[:12]}…) than {name} has ({given[:12]}…): what"
        " differs need not come from the export."
    )
