"""Write Core AI assets (`.aimodel`) and run them with Apple's own runtime, on Linux too.

installed.py  whether the extra `coreai` is there, in its pinned versions
worker.py     the only file that imports Core AI's packages; it runs in a process of its own
process.py    starts that process and talks to it
graph.py      an ONNX model that takes 8-bit pixels, as the asset does
half.py       the same model in half precision
shared.py     its weights in the stored form that the Core ML package has
decoders.py   that form in Core AI's text form
asset.py      the folder on disk: written whole, read with bounds, hashed
audit.py      the weights in the asset against those of the model
describe.py   an asset as plain data, for `inspect`
runner.py     an asset as a Runner
"""
