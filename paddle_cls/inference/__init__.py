"""Answers of a trained network."""
