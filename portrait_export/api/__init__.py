"""Provide the Python API: functions with keyword arguments over the workflows.

exporting.py   export, export_onnx
segmenting.py  load, load_program, segment, and their results
sweeping.py    sweep
checking.py    check_parity, find_blame, evaluate
networks.py    list_models, create_model, load_checkpoint
arguments.py   check keyword arguments and turn them into requests
"""
