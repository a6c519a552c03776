"""Judging a network by its predictions: metrics, charts, heat maps and the report's page."""
