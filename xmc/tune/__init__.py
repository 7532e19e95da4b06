"""Choosing an index by goal: measure what the backends propose, take what meets the goal best, say what it reaches."""
