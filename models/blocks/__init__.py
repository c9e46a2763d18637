"""The networks' parts, one paper's idea per file."""
