"""A plugin of xmc."""
