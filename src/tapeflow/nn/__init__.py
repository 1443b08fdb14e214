"""Neural networks: layers, and the functions they are made of."""
from __future__ import annotations

from tapeflow.nn.dropout import dropout
from tapeflow.nn.layers import Dense, Dropout, Flatten, Sequential
from tapeflow.nn.module import Module
from tapeflow.ops import (
    batch_normalization,
    elu,
    embedding_lookup,
    gelu,
    in_top_k,
    l2_normalize,
    layer_normalization,
    leaky_relu,
    log_softmax,
    moments,
    relu,
    relu6,
    selu,
    sigmoid,
    sigmoid_cross_entropy,
    silu,
    softmax,
    softmax_cross_entropy,
    softplus,
    sparse_softmax_cross_entropy,
    tanh,
)
from tapeflow.ops.attention import scaled_dot_product_attention
from tapeflow.ops.convolve import (
    atrous_conv2d,
    conv1d,
    conv2d,
    conv2d_transpose,
    conv3d,
    depthwise_conv2d,
    separable_conv2d,
)
from tapeflow.ops.normalization import local_response_normalization
from tapeflow.ops.pool import avg_pool, max_pool

__all__ = [
    "Dense", "Dropout", "Flatten", "Module", "Sequential", "atrous_conv2d", "avg_pool",
    "batch_normalization", "conv1d", "conv2d", "conv2d_transpose", "conv3d", "depthwise_conv2d",
    "dropout", "elu", "embedding_lookup", "gelu", "in_top_k", "l2_normalize",
    "layer_normalization", "leaky_relu", "local_response_normalization", "log_softmax", "max_pool",
    "moments", "relu", "relu6", "scaled_dot_product_attention", "selu", "separable_conv2d",
    "sigmoid", "sigmoid_cross_entropy", "silu", "softmax", "softmax_cross_entropy", "softplus",
    "sparse_softmax_cross_entropy", "tanh",
]
