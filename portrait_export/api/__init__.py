"""Provide the Python API: functions with keyword arguments over the workflows.

exporting.py   export, export_onnx
segmenting.py  load, load_program, segment, and their results
checking.py    check_parity, find_blame, evaluate
networks.py    list_models, create_model, load_checkpoint
arguments.py   check keyword arguments and turn them into requests
"""

from .arguments import NetworkOptions
from .checking import check_parity, evaluate, find_blame
from .exporting import export, export_onnx
from .networks import create_model, list_models, load_checkpoint
from .segmenting import Package, Segmentation, load, load_program, segment

__all__ = [
    "NetworkOptions",
    "Package",
    "Segmentation",
    "check_parity",
    "create_model",
    "evaluate",
    "export",
    "export_onnx",
    "find_blame",
    "list_models",
    "load",
    "load_checkpoint",
    "load_program",
    "segment",
]
