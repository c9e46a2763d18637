"""Predictions in, a judgement out: metrics of masks and logits, gates on them, parity reports, pictures, blame."""
