"""Tests of Core AI assets."""
