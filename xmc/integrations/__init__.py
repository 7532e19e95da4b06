"""Adapters that put parts of xmc into other libraries; none of them is imported by the rest of xmc."""
