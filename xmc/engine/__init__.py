"""The verbs as library functions: train, build an index, evaluate, describe. The command line only wraps them."""
