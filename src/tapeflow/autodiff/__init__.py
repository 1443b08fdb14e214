"""Derivatives: reverse mode on tapes, forward mode beside the values, and functions of functions."""
