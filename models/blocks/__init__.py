"""The building blocks of the networks, one paper's idea per file."""
