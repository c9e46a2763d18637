"""PyTorch module (or a user's ONNX file) in, checked and simplified ONNX out.

checkpoint/    weights of any published naming → a network
deployment.py  the network with its mask head
export.py      deployment → ONNX, the same bytes every time
onnx/          load, check, edit, trace and describe an ONNX model
simplify/      onnxsim, then exact rewrites, one rule per file
foreign/       networks that users bring
runners.py     frames → predictions, as a Runner
"""
