"""Implement the MIL operators of iOS15 to iOS26: one file per family, one function per operator.

To add an operator, write a function under `@kernel("name")` in its family's file; `runtime/registry.py` describes how
it receives its inputs and what it returns. The name, the parameters and their defaults are MIL's, the docstring is the
specification, and a comment gives the mathematics where the code does not show it. Where versions differ (`crop_resize`
of iOS16 and iOS17), one kernel implements all of them and tells them apart by their inputs. The files are imported when
the first program is compiled, so they can import torch at the top. A test row in `tests/runtime/kernels/` compares each
kernel with an independent reference.
"""
