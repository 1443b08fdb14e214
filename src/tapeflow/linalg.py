"""Linear algebra: `tf.linalg`, the array API's extension and what else NumPy, SciPy and JAX have.

Factorizations run on the host, by NumPy's LAPACK, in compiled code too: a step of the program. All
take stacks of matrices over leading axes, in the dtypes of LAPACK (float32, float64, complex64 and
complex128), and have derivatives of any order, in both modes, unless they say where not.
"""
from tapeflow.ops.linalg import cross, matmul, outer, tensordot, vecdot
from tapeflow.ops.linalg_det import det, slogdet
from tapeflow.ops.linalg_diagonal import block_diag, kron
from tapeflow.ops.linalg_diagonal import matrix_diagonal as diagonal
from tapeflow.ops.linalg_diagonal import matrix_trace as trace
from tapeflow.ops.linalg_eig import eig, eigvals
from tapeflow.ops.linalg_factor import cholesky, lu, qr
from tapeflow.ops.linalg_function import expm, matrix_power, multi_dot
from tapeflow.ops.linalg_norm import cond, matrix_norm, norm, vector_norm
from tapeflow.ops.linalg_solve import inv, lstsq, matrix_rank, pinv, solve, triangular_solve
from tapeflow.ops.linalg_spectral import eigh, eigvalsh, svd, svdvals
from tapeflow.ops.shape import matrix_transpose

__all__ = [
    "block_diag",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "expm",
    "inv",
    "kron",
    "lstsq",
    "lu",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "triangular_solve",
    "vecdot",
    "vector_norm",
]
