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

__all__ = [
    "Dense", "Dropout", "Flatten", "Module", "Sequential", "batch_normalization", "dropout", "elu",
    "embedding_lookup", "gelu", "in_top_k", "l2_normalize", "layer_normalization", "leaky_relu",
    "log_softmax", "moments", "relu", "relu6", "selu", "sigmoid", "sigmoid_cross_entropy", "silu",
    "softmax", "softmax_cross_entropy", "softplus", "sparse_softmax_cross_entropy", "tanh",
]
