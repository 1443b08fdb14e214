"""What kernels on NVIDIA GPUs are made of; Numba's simulator runs them without one."""
