"""Linear algebra: `tf.linalg`."""
from tapeflow.ops.linalg import matmul, outer, tensordot, vecdot
from tapeflow.ops.shape import matrix_transpose

__all__ = ["matmul", "matrix_transpose", "outer", "tensordot", "vecdot"]
