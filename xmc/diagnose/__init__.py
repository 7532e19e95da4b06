"""How a linear head learns from its features, mode by mode: what it knows, when to stop, what would help."""
