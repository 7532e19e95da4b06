"""The HTTP service: `xmc serve`."""
