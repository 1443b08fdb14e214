"""Neural networks: layers, and the functions they are made of."""
from __future__ import annotations

from tapeflow.nn.attention import MultiHeadAttention
from tapeflow.nn.convolution import (
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    DepthwiseConv2D,
    SeparableConv2D,
)
from tapeflow.nn.dropout import dropout
from tapeflow.nn.embedding import Embedding
from tapeflow.nn.layers import Dense, Dropout, Flatten, Sequential
from tapeflow.nn.module import Module
from tapeflow.nn.normalization import BatchNorm, LayerNorm, LocalResponseNorm
from tapeflow.nn.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from tapeflow.nn.rectifiers import PReLU, RReLU
from tapeflow.nn.recurrent import GRU, LSTM, RNN
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
from tapeflow.ops.conv_calls import (
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
    "GRU", "LSTM", "RNN", "AvgPool2D", "BatchNorm", "Conv1D", "Conv2D", "Conv2DTranspose",
    "Conv3D", "Dense", "DepthwiseConv2D", "Dropout", "Embedding", "Flatten", "GlobalAvgPool2D",
    "LayerNorm", "LocalResponseNorm", "MaxPool2D", "Module", "MultiHeadAttention", "PReLU",
    "RReLU", "SeparableConv2D", "Sequential", "atrous_conv2d", "avg_pool", "batch_normalization",
    "conv1d", "conv2d", "conv2d_transpose", "conv3d", "depthwise_conv2d", "dropout", "elu",
    "embedding_lookup", "gelu", "in_top_k", "l2_normalize", "layer_normalization", "leaky_relu",
    "local_response_normalization", "log_softmax", "max_pool", "moments", "relu", "relu6",
    "scaled_dot_product_attention", "selu", "separable_conv2d", "sigmoid", "sigmoid_cross_entropy",
    "silu", "softmax", "softmax_cross_entropy", "softplus", "sparse_softmax_cross_entropy", "tanh",
]
