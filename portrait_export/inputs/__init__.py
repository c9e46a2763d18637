"""What a command is given: a network, its input sizes, and photographs."""
