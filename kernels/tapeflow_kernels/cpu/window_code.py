"""The code of a convolution."""

from __future__ import annotations

from ..machine import Host, host
from .ir import Module
from .window import Window
from .window_tiles import TileItems, emit_tiles
from .window_vectors import Items, emit_vectors


def emit(window: Window, name: str, target: Host | None = None) -> str:
    """The LLVM IR of `void name(i64 start, i64 stop, i64* args)`, see `window.arguments`."""
    target = target or host()
    module = Module(target)
    if window.way.tiles:
        emit_tiles(module, window, target)
        TileItems(module, window, target, name).emit()
    else:
        emit_vectors(module, window, target)
        Items(module, window, target, name).emit()
    return module.text()
