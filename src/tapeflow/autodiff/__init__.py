"""Derivatives: reverse mode on tapes, forward mode beside the values, functions of functions."""
