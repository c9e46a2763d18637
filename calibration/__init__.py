"""The bundled calibration set of photographs with masks, and the loader of a user's own folder."""

from .dataset import Item, find_items, load_calibration, load_folder

__all__ = ["Item", "find_items", "load_calibration", "load_folder"]
