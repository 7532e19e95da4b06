"""Sets of words that may replace each other: what an attacker may do, and what robust training rehearses."""
