"""Loops over arrays: arrays in, arrays out. Knows nothing of tensors."""
