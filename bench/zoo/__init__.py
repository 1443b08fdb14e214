"""Nets that bench/models.py times, and their counterparts in PyTorch."""
