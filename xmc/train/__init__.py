"""The training loop and its parts; it knows losses and encoders by their interfaces only."""
