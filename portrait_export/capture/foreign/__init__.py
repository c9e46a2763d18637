"""A user's own network in: ONNX, torch code or TorchScript. What goes on is the project's contract, and a reference.

options.py        what the user says; the TOML beside the network
interface.py      the image input: name, layout, type; shapes pinned
normalisation.py  mean and std: said, found in the graph, or assumed and said so
widen.py          half and double precision as float32
head.py           which output and class is the person, and what was done to it
adapt.py          operators before and behind the graph: `image` in, `logits` and `mask` out
reference.py      the untouched network as a Runner, in numpy: the other side of parity
pytorch.py        torch code and TorchScript as ONNX
network.py        these in order
"""
