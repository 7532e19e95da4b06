"""Scaling laws: what a larger run will reach, from a ladder of small ones."""
