"""portrait-export: PyTorch portrait segmentation in, a Core ML package that provably gives the same mask out.

checkpoint ─ capture ─▶ torch module ─▶ ONNX ─▶ simplified ONNX
           ─ frontend ─▶ MIL program ─ quantize ─▶ compressed MIL ─ mil ─▶ .mlpackage (on disk)
           ─ runtime ─▶ masks, computed from the bytes on disk ─ verify ─▶ parity report, exit code
"""

__version__ = "0.1.0"
