"""Operations, one definition each, and the operators and methods of Tensor."""
from __future__ import annotations

from math import e, inf, nan, pi

from tapeflow.ops._operators import bind as _bind
from tapeflow.ops.activation import (
    elu,
    gelu,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    logsumexp,
    relu,
    relu6,
    selu,
    silu,
    softmax,
    softplus,
)
from tapeflow.ops.arithmetic import abs_ as abs
from tapeflow.ops.arithmetic import (
    add,
    ceil,
    clip,
    copysign,
    divide,
    floor,
    floor_divide,
    hypot,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    positive,
    reciprocal,
    remainder,
    rsqrt,
    sign,
    sqrt,
    square,
    subtract,
    trunc,
)
from tapeflow.ops.arithmetic import round_ as round
from tapeflow.ops.casts import astype, cast, conj, imag, real
from tapeflow.ops.comparison import (
    allclose,
    array_equal,
    isclose,
    nan_to_num,
)
from tapeflow.ops.counting import (
    bincount,
    histogram,
)
from tapeflow.ops.create import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from tapeflow.ops.cumulative import (
    cummax,
    cummin,
    cumprod,
    cumsum,
    cumulative_sum,
    logcumsumexp,
)
from tapeflow.ops.curves import (
    convolve,
    diff,
    interp,
    trapezoid,
)
from tapeflow.ops.einsum import einsum
from tapeflow.ops.elementwise import stop_gradient, where
from tapeflow.ops.gather import (
    embedding_lookup,
    gather,
    one_hot,
    repeat,
    scatter_add,
    take,
    take_along_axis,
)
from tapeflow.ops.info import can_cast, finfo, iinfo, isdtype, result_type
from tapeflow.ops.joining import add_n, concat, roll, split, stack, tile, unstack
from tapeflow.ops.linalg import matmul, outer, tensordot, vecdot
from tapeflow.ops.linalg_diagonal import block_diag, diag, diagonal, kron, trace
from tapeflow.ops.linalg_solve import inv as matrix_inverse
from tapeflow.ops.logic import (
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    equal,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    signbit,
)
from tapeflow.ops.loss import (
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    sparse_softmax_cross_entropy,
)
from tapeflow.ops.movement import (
    broadcast_arrays,
    broadcast_shapes,
    flip,
    fliplr,
    flipud,
    moveaxis,
    pad,
    rot90,
)
from tapeflow.ops.normalization import (
    batch_normalization,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    global_norm,
    l2_normalize,
    layer_normalization,
    moments,
)
from tapeflow.ops.product import cumulative_prod, prod
from tapeflow.ops.reduce import all, any, count_nonzero, max, mean, min, std, sum, var
from tapeflow.ops.scatter import (
    gather_nd,
    scatter_nd,
    tensor_scatter_nd_add,
    tensor_scatter_nd_update,
)
from tapeflow.ops.segments import (
    segment_max,
    segment_mean,
    segment_min,
    segment_prod,
    segment_sum,
)
from tapeflow.ops.shape import (
    broadcast_to,
    expand_dims,
    matrix_transpose,
    permute_dims,
    reshape,
    squeeze,
    transpose,
)
from tapeflow.ops.skip_nan import nanmax, nanmean, nanmin, nanprod, nanstd, nansum, nanvar
from tapeflow.ops.sorting import (
    argmax,
    argmin,
    argpartition,
    argsort,
    in_top_k,
    nonzero,
    partition,
    searchsorted,
    sort,
    top_k,
    unique,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from tapeflow.ops.special import (
    betainc,
    digamma,
    erfc,
    erfcx,
    erfinv,
    gammainc,
    gammaincc,
    i0,
    i0e,
    i1,
    i1e,
    lgamma,
    logit,
    polygamma,
    sinc,
    xlog1py,
    xlogy,
)
from tapeflow.ops.statistics import (
    average,
    corrcoef,
    cov,
    median,
    percentile,
    ptp,
    quantile,
)
from tapeflow.ops.transcendental import (
    acos,
    acosh,
    angle,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cos,
    cosh,
    erf,
    exp,
    exp2,
    expm1,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logaddexp2,
    pow,
    sigmoid,
    sin,
    sinh,
    tan,
    tanh,
)

newaxis = None   # in a key: an axis of size 1

__all__ = [
    "abs", "acos", "acosh", "add", "add_n", "all", "allclose", "angle", "any", "arange", "argmax",
    "argmin", "argpartition", "argsort", "array_equal", "asarray", "asin", "asinh", "astype",
    "atan", "atan2", "atanh", "average", "batch_normalization", "betainc", "bincount",
    "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "block_diag", "broadcast_arrays", "broadcast_shapes", "broadcast_to", "can_cast",
    "cast", "ceil", "clip", "clip_by_global_norm", "clip_by_norm", "clip_by_value", "concat",
    "conj", "convolve", "copysign", "corrcoef", "cos", "cosh", "count_nonzero", "cov", "cummax",
    "cummin", "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "diag", "diagonal", "diff",
    "digamma", "divide", "e", "einsum", "elu", "embedding_lookup", "empty", "empty_like", "equal",
    "erf", "erfc", "erfcx", "erfinv", "exp", "exp2", "expand_dims", "expm1", "eye", "finfo", "flip",
    "fliplr", "flipud", "floor", "floor_divide", "from_dlpack", "full", "full_like", "gammainc",
    "gammaincc", "gather", "gather_nd", "gelu", "global_norm", "greater", "greater_equal",
    "histogram", "hypot", "i0", "i0e", "i1", "i1e", "iinfo", "imag", "in_top_k", "inf", "interp",
    "isclose", "isdtype", "isfinite", "isinf", "isnan", "kron", "l2_normalize",
    "layer_normalization", "leaky_relu", "less", "less_equal", "lgamma", "linspace", "log", "log1p",
    "log2", "log10", "log_sigmoid", "log_softmax", "logaddexp", "logaddexp2", "logcumsumexp",
    "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "logsumexp", "matmul",
    "matrix_inverse", "matrix_transpose", "max", "maximum", "mean", "median", "meshgrid", "min",
    "minimum", "moments", "moveaxis", "multiply", "nan", "nan_to_num", "nanmax", "nanmean",
    "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "negative", "newaxis", "nextafter",
    "nonzero", "not_equal", "one_hot", "ones", "ones_like", "outer", "pad", "partition",
    "percentile", "permute_dims", "pi", "polygamma", "positive", "pow", "prod", "ptp", "quantile",
    "real", "reciprocal", "relu", "relu6", "remainder", "repeat", "reshape", "result_type", "roll",
    "rot90", "round", "rsqrt", "scatter_add", "scatter_nd", "searchsorted", "segment_max",
    "segment_mean", "segment_min", "segment_prod", "segment_sum", "selu", "sigmoid",
    "sigmoid_cross_entropy", "sign", "signbit", "silu", "sin", "sinc", "sinh", "softmax",
    "softmax_cross_entropy", "softplus", "sort", "sparse_softmax_cross_entropy", "split", "sqrt",
    "square", "squeeze", "stack", "std", "stop_gradient", "subtract", "sum", "take",
    "take_along_axis", "tan", "tanh", "tensor_scatter_nd_add", "tensor_scatter_nd_update",
    "tensordot", "tile", "top_k", "trace", "transpose", "trapezoid", "tril", "triu", "trunc",
    "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values", "unstack", "var",
    "vecdot", "where", "xlog1py", "xlogy", "zeros", "zeros_like",
]

_bind()
