"""Label photographs, and train and evaluate models. Needs the extra `train` (Lightning, Kornia, TensorBoard)."""
