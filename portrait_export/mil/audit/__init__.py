"""Audit the weights that a saved package stores.

decode.py       the operators that store weights, in numpy
stored.py       constants and the operations that decode them, alone or in chains
health.py       faults that show without an original
nearest.py      originals rounded to what a weight can take
compare.py      a weight against its original
grids.py        the scale and the table of each value
fitted.py       scales and tables that are not the original's
requantized.py  a weight on a grid of few bits that was rounded to another one
storage.py      what every byte of a package is for
originals.py    what the weights should be
matching.py     the original of each weight among those of a network
auditing.py     audit_program: all of it for one program
result.py       what an audit found
"""

from .auditing import audit_program, decoded_weights, list_weights
from .matching import Matches, match
from .originals import Original, Originals, recorded
from .result import Audit, StoredWeight
from .storage import Storage

__all__ = [
    "Audit",
    "Matches",
    "Original",
    "Originals",
    "Storage",
    "StoredWeight",
    "audit_program",
    "decoded_weights",
    "list_weights",
    "match",
    "recorded",
]
