"""Load published or trained checkpoints without executing anything in them.

load.py      a folder or file → the network with its weights, in evaluation mode
locate.py    the weight files of a checkpoint
tensors.py   a weight file → tensors on the CPU
entries.py   which of a checkpoint's entries holds the network
pickles.py   pickles, read by PyTorch's restricted unpickler only
resolve.py   the model that the tensors and config.json belong to
metadata.py  person classes, positive class, preprocessing
"""

from .load import LoadedCheckpoint, load_checkpoint

__all__ = ["LoadedCheckpoint", "load_checkpoint"]
