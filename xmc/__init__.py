"""Extreme-classification retrieval."""
