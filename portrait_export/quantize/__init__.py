"""Compress weights, and round activations, by recipes."""
