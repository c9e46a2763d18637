"""Helpers that know nothing of networks or pictures: files, quiet libraries, pipeline stages, plain data."""
