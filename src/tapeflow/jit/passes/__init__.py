"""Passes over graphs, one a file: pure functions from Graph to Graph."""
