"""Writer: scalars, histograms, images, texts and graphs in a folder for TensorBoard."""
from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from tapeflow import arguments
from tapeflow.dtypes import as_dtype, float32, is_floating, uint8
from tapeflow.errors import ArgumentError, MissingExtraError, ShapeError, StateError
from tapeflow.summary.graph import graph_def
from tapeflow.tensor import Array, TensorLike, as_tensor


class Writer:
    """Writes event files below `logdir`; `tensorboard --logdir ...` shows them. Use it by `with`.

    Values may be tensors, variables, arrays or numbers, but not traced ones: return them from the
    compiled function and write them outside.

    Raises: ArgumentError unless `logdir` is a path below which files can be written; StateError
        once it is closed; TraceError for traced values.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Writer(folder) as writer:
    ...     writer.scalar("loss", 0.5, step=1)
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        from tensorboardX import SummaryWriter

        self.logdir = arguments.path("Writer", "logdir", logdir)
        try:
            self._writer: Any = SummaryWriter(str(self.logdir))
        except OSError as error:
            raise ArgumentError("Writer", got=f"logdir={str(self.logdir)!r}",
                                why=f"no file can be written there: {error}",
                                fix="give a folder that can be written") from error

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def scalar(self, name: str, value: TensorLike, step: TensorLike) -> None:
        """One number at one step. Raises: ArgumentError if it is more than one."""
        number = float(as_tensor(value, op="scalar").item())
        self._open().add_scalar(_name("scalar", name), number, _step("scalar", step))

    def histogram(self, name: str, values: TensorLike, step: TensorLike) -> None:
        """How `values`, of any shape, are distributed. Raises: ArgumentError if there are none."""
        array = as_tensor(values, op="histogram").concrete("histogram")
        if not array.size:
            raise ArgumentError("histogram", got=f"{name}: no values",
                                why="there is nothing to count", fix="leave out what is empty")
        wide = array.astype(float32) if is_floating(as_dtype(array.dtype)) else array
        self._open().add_histogram(_name("histogram", name), wide, _step("histogram", step))

    def image(self, name: str, image: TensorLike, step: TensorLike) -> None:
        """An image [height, width], or with 1, 3 or 4 channels last; floats count from 0 to 1.

        Raises: ShapeError if it has other axes, MissingExtraError without Pillow.
        """
        array = as_tensor(image, op="image").concrete("image")
        if array.ndim == 2:
            array = array[..., np.newaxis]
        if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
            raise ShapeError("image", got=f"{name}: {list(array.shape)}",
                             why="an image is [height, width, channels], with 1, 3 or 4 channels",
                             fix="write one image of a batch, channels last")
        try:
            import PIL.Image  # noqa: F401   # tensorboardX draws with it, but does not bring it
        except ImportError as error:
            raise MissingExtraError("image", got=name, why="Pillow is not installed",
                                    fix="pip install 'tapeflow[viz]'") from error
        at = _step("image", step)
        self._open().add_image(_name("image", name), _bytes(array), at, dataformats="HWC")

    def text(self, name: str, text: str, step: TensorLike) -> None:
        """A text in Markdown. Raises: ArgumentError if it is no text."""
        written = arguments.text("text", "text", text)
        self._open().add_text(_name("text", name), written, _step("text", step))

    def graph(self, jitted: Any, *args: Any) -> None:
        """The graph of a compiled function for these arguments, as it was traced, by name scopes.

        Raises: ArgumentError if `jitted` is not a compiled function.
        """
        if not (callable(jitted) and hasattr(jitted, "lower")):
            raise ArgumentError("graph", got=repr(jitted), why="this function has no graph",
                                fix="compile it first: tf.jit(f)")
        from tensorboardX.proto.event_pb2 import Event

        lowered = jitted.lower(*args)
        definition = graph_def(lowered.traced, [v.name for v in lowered.variables])
        event = Event(graph_def=definition.SerializeToString())
        self._open().file_writer.add_event(event)

    def hparams(self, params: Mapping[str, bool | int | float | str],
                metrics: Mapping[str, TensorLike] | None = None) -> None:
        """The settings of this run, and what it reached, for the table of runs.

        Raises: ArgumentError unless both are dicts, and the settings bools, numbers or texts.
        """
        from tensorboardX.summary import hparams

        given = {} if metrics is None else arguments.mapping("hparams", "metrics", metrics)
        reached = {_name("hparams", name): float(as_tensor(value, op="hparams").item())
                   for name, value in given.items()}
        settings = {_name("hparams", name): _setting(value) for name, value in
                    arguments.mapping("hparams", "params", params).items()}
        for part in hparams(settings, reached):
            self._open().file_writer.add_summary(part)
        for name, value in reached.items():
            self.scalar(name, value, 0)

    def flush(self) -> None:
        """Let all that was written reach the file."""
        self._open().flush()

    def close(self) -> None:
        """Write what is left; the writer cannot be used any more."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            raise StateError("summary", got=f"a writer to {self.logdir} that was closed",
                             why="its file is complete", fix="make a new writer")
        return self._writer


def _step(op: str, step: TensorLike) -> int:
    return arguments.integer(op, "step", step)


def _name(op: str, name: str) -> str:
    return arguments.text(op, "name", name)


def _setting(value: object) -> object:
    if isinstance(value, bool | int | float | str):
        return value
    raise arguments.wrong("hparams", "params", value, "a dict of bools, numbers and texts")


def _bytes(image: Array) -> Array:
    """The image in u8; floats from 0 to 1 become 0 to 255."""
    if is_floating(as_dtype(image.dtype)):
        levels: Array = np.clip(image.astype(float32), 0.0, 1.0) * 255.0   # type: ignore[operator]
        return np.rint(levels).astype(uint8)
    return image.astype(uint8)
