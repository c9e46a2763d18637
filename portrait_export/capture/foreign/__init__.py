"""Bring a user's own network (ONNX, torch code or TorchScript) to the project's inputs and outputs.

options.py        what the user can set, as options or in a TOML file
original.py       the network as it came: the Original protocol, ONNX files
pytorch.py        torch code and TorchScript, exported to ONNX
interface.py      the image input: name, layout, type; shapes pinned
carried.py        inputs of a recurrent network, and the outputs that they take with the next frame
module_states.py  the same among the arguments and results of a PyTorch module
computed.py       values computed from constants alone
affine.py         pixels, followed through what keeps them affine per channel
leading.py        the graph's own normalisation, and which pixels it is made for
normalisation.py  scale, mean and std: given, found in the graph, or assumed with a warning
widen.py          half and double precision to float32
field.py          how an array holds classes over pixels
bounds.py         what the graph proves of its values: interval arithmetic
walk.py           from an output back to its activation
measured.py       values of an output on photographs, and of whom they are
meaning.py        what the values mean: logits, a probability, a matte of 0..255, class numbers
instances.py      outputs of instance segmentation, which are refused unless a mask is composed of them
compositions.py   the layouts of such outputs, of which one mask can be composed
composing.py      one mask of the person: in the graph (composed_graph.py), in NumPy (composed_reference.py)
head.py           which output and class is the person
surgeon.py        operators appended to a graph, or prepended
adapt.py          operators before and after the graph: `image` in, `logits` and `mask` out
reference.py      the original as a Runner, in numpy: the reference of the parity check
network.py        the network, ready to export and to run
load.py           all of these in order
finding.py        a value with notes and warnings
"""
