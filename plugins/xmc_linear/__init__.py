"""Linear one-vs-rest models over sparse features, as a plugin of xmc."""
