"""Releasing data without giving away the labels of single queries."""
