"""Texts to embeddings: the encoder interface, the two embedded encoders, tokenising."""
