"""Load the inputs of a command: a network, its input sizes, and photos."""
