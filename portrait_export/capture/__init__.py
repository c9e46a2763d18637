"""Capture a network as a checked and simplified ONNX model.

checkpoint/     weights of any published naming → a network
deployment.py   the network with its mask head
export.py       deployment → ONNX, the same bytes every time
onnx/           load, check, edit, trace and describe an ONNX model
simplify/       onnxsim, then exact rewrites, one rule per file
runners.py      PyTorch and ONNX Runtime as Runners
registered.py   a network of `models/`, ready to export and to run
foreign/        a network of the user's own, ready to export and to run
huggingface.py  config.json and preprocessor_config.json next to a network
"""
