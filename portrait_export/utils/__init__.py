"""Plumbing without knowledge of networks or pictures: files, quiet libraries, stages, plain data."""
