"""Photographs and masks in, a checkpoint folder out. Needs the extra `train` (Lightning, Kornia, TensorBoard)."""
