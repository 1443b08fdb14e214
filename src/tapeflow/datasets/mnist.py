"""MNIST: 70,000 handwritten digits of 28x28 pixels, read from files or downloaded once."""
from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from tapeflow import arguments, config
from tapeflow.datasets.examples import Examples, Split
from tapeflow.errors import ArgumentError
from tapeflow.tensor import Array

_TRAIN = 60_000   # of the 70,000, the first are to train with
_IDX = {"x_train": "train-images-idx3-ubyte", "y_train": "train-labels-idx1-ubyte",
        "x_test": "t10k-images-idx3-ubyte", "y_test": "t10k-labels-idx1-ubyte"}
_CHUNK = 1 << 16
_FIX = "give the path of mnist.npz, or of a folder that holds the four IDX files (.gz or not)"


@dataclass(frozen=True)
class Source:
    """A file to download, and the SHA-256 of its bytes."""

    url: str
    sha256: str


MIRROR = Source("https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1")


def load_mnist(path: str | os.PathLike[str] | None = None) -> Split:
    """The MNIST digits: 60,000 to train with and 10,000 to test with, u8[n, 28, 28] of 0 to 255.

    Args:
        path: an npz file with `x_train y_train x_test y_test`, or with all 70,000 in `x` and `y`;
            or a folder that holds one, or the four IDX files, compressed or not. None: the folder
            TAPEFLOW_DATA_DIR, into which the file is downloaded if need be.

    Raises: ArgumentError if there is no such file, if it is not MNIST, or if a download is not what
        it should be.
    Source: Y. LeCun, C. Cortes and C. Burges, licence CC BY-SA 3.0.
    """
    if path is None:
        folder = config.data_dir()
        return _read(_find(folder) or _download(MIRROR, folder / "mnist.npz"))
    found = _find(arguments.path("load_mnist", "path", path))
    if found is None:
        raise ArgumentError("load_mnist", got=str(path), why="there is no MNIST", fix=_FIX)
    return _read(found)


def _find(path: Path) -> Path | None:
    """The npz file or the folder of IDX files that `path` leads to."""
    if path.is_file():
        return path
    inside = [path / "mnist.npz", path / "mnist" / "mnist.npz"]
    files = [file for file in inside if file.is_file()]
    folders = [folder for folder in (path, path / "mnist")
               if all(_idx_file(folder, name) for name in _IDX.values())]
    return next(iter(files + folders), None)


def _idx_file(folder: Path, name: str) -> Path | None:
    files = (folder / name, folder / f"{name}.gz")
    return next((file for file in files if file.is_file()), None)


def _read(path: Path) -> Split:
    arrays = _read_folder(path) if path.is_dir() else _read_npz(path)
    if {"x", "y"} <= arrays.keys():
        x, y = arrays["x"], arrays["y"]
        arrays = {"x_train": x[:_TRAIN], "y_train": y[:_TRAIN],
                  "x_test": x[_TRAIN:], "y_test": y[_TRAIN:]}
    if not arrays.keys() >= _IDX.keys():
        raise ArgumentError("load_mnist", got=f"{path} with arrays {sorted(arrays)}",
                            why="the names are not those of MNIST", fix=_FIX)
    return Split(_examples(path, arrays["x_train"], arrays["y_train"]),
                 _examples(path, arrays["x_test"], arrays["y_test"]))


def _examples(path: Path, images: Array, labels: Array) -> Examples:
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise ArgumentError("load_mnist",
                            got=f"{path} with images {images.dtype}{list(images.shape)}",
                            why="images of MNIST are uint8[n, 28, 28]", fix=_FIX)
    return Examples(images, labels.astype(np.int64), levels=255)


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, AttributeError) as error:
        raise ArgumentError("load_mnist", got=str(path), why=f"this is no whole npz file: {error}",
                            fix=_FIX) from error


def _read_folder(folder: Path) -> dict[str, Array]:
    files = {key: _idx_file(folder, name) for key, name in _IDX.items()}
    return {key: read_idx(file) for key, file in files.items() if file is not None}


def read_idx(path: Path) -> Array:
    """The array in an IDX file of bytes: 0, 0, 8, ndim, the sizes as big-endian u32, the elements.

    Raises: ArgumentError if the file is of another kind, or not whole.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = cast("IO[bytes]", file).read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArgumentError("load_mnist", got=str(path), why=f"the file is not whole: {error}",
                            fix="download it again") from error
    if data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise ArgumentError("load_mnist", got=str(path), why="this is no IDX file of bytes",
                            fix=_FIX)
    start = 4 + 4 * data[3]
    shape = np.frombuffer(data, ">u4", data[3], 4).astype(int)
    if len(data) - start != shape.prod():
        raise ArgumentError("load_mnist", got=f"{path} with {len(data) - start} elements",
                            why=f"its header promises {shape.prod()}", fix="download it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _download(source: Source, target: Path) -> Path:
    """Fetch `source` to `target`, which appears only when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as file:
        part = Path(file.name)
        try:
            digest = _copy(source, cast("IO[bytes]", file))
            if digest != source.sha256:
                raise ArgumentError("load_mnist", got=f"{source.url}, SHA-256 {digest}",
                                    why=f"it should be {source.sha256}",
                                    fix="try again, or " + _FIX)
            file.flush()
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return target


def _copy(source: Source, file: IO[bytes]) -> str:
    """Write the bytes of `source` to `file` with a progress bar; gives their SHA-256."""
    from tqdm.auto import tqdm

    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(source.url, timeout=config.timeout()) as answer:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=size, unit="B", unit_scale=True, desc="MNIST") as bar:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
    except OSError as error:
        raise ArgumentError("load_mnist", got=source.url, why=f"the download failed: {error}",
                            fix="check the network, or " + _FIX) from error
    return digest.hexdigest()
