"""Compare two runs of a network: metrics of masks and logits, gates, parity reports, and the operation to blame."""
