"""Code generation: loops as Python text for CPU and CUDA, and machine code of it."""
