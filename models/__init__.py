"""The portrait-segmentation networks and their registry. Importing this package imports no torch."""

from .registry import create_model, list_models, load_shipped, model_spec, register_model
from .spec import ModelSpec

__all__ = ["ModelSpec", "create_model", "list_models", "load_shipped", "model_spec", "register_model"]
