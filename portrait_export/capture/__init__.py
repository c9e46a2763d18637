"""PyTorch module (or a user's ONNX file) in, checked and simplified ONNX out.

checkpoint.py  weights of any published naming → a network         load.py      an ONNX file, trusted in nothing
deployment.py  the network with its mask head                      check.py     onnx.checker, ONNX Runtime
export.py      deployment → ONNX, the same bytes every time        cost.py      MACs, bytes, layout operators
simplify/      onnxsim, then exact rewrites, one rule per file     runners.py   frames → predictions, as a Runner
foreign/       networks that users bring
"""
