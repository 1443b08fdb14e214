"""Kernels for CPUs, written as LLVM IR or as functions that Numba compiles."""
