"""Evaluation: how good the hits of Q queries are, judged by their positives, with intervals and by label frequency.

Start at `xmc.evaluate.report.evaluate_hits`; every metric is a pure function in a module of its name.
"""
