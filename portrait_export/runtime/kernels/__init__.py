"""MIL's operators, iOS15 to iOS18: one file per family, one small function per operator.

How to add one: write a function under `@kernel("name")` in its family's file; `runtime/registry.py` says how its inputs
arrive and what it may return. The name is MIL's, the parameters are MIL's, the docstring is the specification, and a
comment has the mathematics where the code does not show it. Where versions differ (`crop_resize` of iOS16 and iOS17),
one kernel serves all of them by the inputs that are there. Files are imported when the first program is compiled, so
they may import torch at the top. A test row in `tests/runtime/kernels/` checks it against an independent oracle.
"""
