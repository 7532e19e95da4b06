"""The data sets that travel inside the package; each folder says where it is from."""
