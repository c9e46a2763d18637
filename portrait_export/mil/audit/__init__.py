"""Audit the weights that a saved package stores.

decode.py    the operators that store weights, in numpy
stored.py    constants and the operations that decode them, alone or in chains
health.py    faults that show without an original
nearest.py   originals rounded to what a weight can take
compare.py   a weight against its original
storage.py   what every byte of a package is for
auditing.py  audit_program: all of it for one program
result.py    what an audit found
"""

from .auditing import Original, Originals, audit_program, list_weights, recorded
from .result import Audit, StoredWeight
from .storage import Storage

__all__ = ["Audit", "Original", "Originals", "Storage", "StoredWeight", "audit_program", "list_weights", "recorded"]
