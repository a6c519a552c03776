"""Checkpoints: what they hold, how they are written as a whole, and how files of strangers are read without running code."""
