"""Data sets: the digits in the package, and MNIST from every kind of file, whole or not."""
from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from tapeflow import datasets
from tapeflow.datasets import mnist
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.tensor import Array

_FILES = {"x_train": "train-images-idx3-ubyte", "y_train": "train-labels-idx1-ubyte",
          "x_test": "t10k-images-idx3-ubyte", "y_test": "t10k-labels-idx1-ubyte"}


@pytest.fixture
def arrays() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    sizes = {"train": 6, "test": 4}
    return {f"{kind}_{part}": rng.integers(0, 255 if kind == "x" else 10,
                                           (n, 28, 28) if kind == "x" else (n,), dtype=np.uint8)
            for part, n in sizes.items() for kind in "xy"}


def _idx(array: Array) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _write_idx(folder: Path, arrays: dict[str, Array], suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    for key, name in _FILES.items():
        (folder / f"{name}{suffix}").write_bytes(pack(_idx(arrays[key])))


def _same(split: datasets.Split, arrays: dict[str, Array]) -> bool:
    found = dict(zip(_FILES, (*split.train, *split.test), strict=True))
    return all(np.array_equal(found[key], arrays[key]) for key in _FILES)


def test_digits_are_those_of_the_uci_repository() -> None:
    images, labels = datasets.load_digits()
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]   # the first line of optdigits.tes
    assert int(images.sum()) == 561718


def test_the_shipped_file_is_small_and_its_licence_lies_beside_it() -> None:
    folder = Path(datasets.__file__).parent
    assert (folder / "digits.npz").stat().st_size < 60_000
    assert "CC BY 4.0" in (folder / "DIGITS.txt").read_text()


def test_scaled_images_lie_between_0_and_1() -> None:
    x = datasets.load_digits().scaled()
    assert x.dtype == np.float32 and x.min() == 0.0 and x.max() == 1.0


def test_a_split_holds_every_example_once() -> None:
    digits = datasets.load_digits()
    numbered = datasets.Examples(np.arange(1797).reshape(-1, 1, 1), digits.labels, 16)
    train, test = numbered.split(0.2, seed=3)
    both = np.concatenate([train.images.ravel(), test.images.ravel()])
    assert len(test) == 359 and np.array_equal(np.sort(both), np.arange(1797))


def test_a_split_depends_on_nothing_but_its_seed() -> None:
    digits = datasets.load_digits()
    assert np.array_equal(digits.split(seed=1).test.images, digits.split(seed=1).test.images)
    assert not np.array_equal(digits.split(seed=1).test.labels, digits.split(seed=2).test.labels)


def test_a_fraction_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        datasets.load_digits().split(1.5)


def test_images_without_labels_are_refused() -> None:
    with pytest.raises(ShapeError, match="3 images, 2 labels"):
        datasets.Examples(np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.int64), 255)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_reads_a_folder_of_idx_files(tmp_path: Path, arrays: dict[str, Array],
                                           suffix: str) -> None:
    _write_idx(tmp_path, arrays, suffix)
    assert _same(datasets.load_mnist(tmp_path), arrays)


def test_mnist_reads_an_npz_file(tmp_path: Path, arrays: dict[str, Array]) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert _same(datasets.load_mnist(tmp_path / "mnist.npz"), arrays)


def test_mnist_divides_70000_digits_at_60000(tmp_path: Path) -> None:
    x = np.zeros((60_003, 28, 28), np.uint8)
    np.savez_compressed(tmp_path / "all.npz", x=x, y=np.arange(60_003) % 10)
    train, test = datasets.load_mnist(str(tmp_path / "all.npz"))
    assert (len(train), len(test)) == (60_000, 3)


def test_mnist_is_found_in_the_data_folder(tmp_path: Path, arrays: dict[str, Array],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEFLOW_DATA_DIR", str(tmp_path))
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert _same(datasets.load_mnist(), arrays)


@pytest.fixture
def mirror(tmp_path: Path, arrays: dict[str, Array],
           monkeypatch: pytest.MonkeyPatch) -> mnist.Source:
    """A mirror on this disk, and an empty data folder."""
    file = tmp_path / "served.npz"
    np.savez(file, **arrays)
    source = mnist.Source(file.as_uri(), hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(mnist, "MIRROR", source)
    monkeypatch.setenv("TAPEFLOW_DATA_DIR", str(tmp_path / "data"))
    return source


def test_mnist_is_downloaded_once(tmp_path: Path, arrays: dict[str, Array], mirror: mnist.Source,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert _same(datasets.load_mnist(), arrays)
    assert "MNIST: 100%" in capsys.readouterr().err
    (tmp_path / "served.npz").unlink()
    assert _same(datasets.load_mnist(), arrays)


def test_a_download_with_a_wrong_checksum_leaves_nothing(tmp_path: Path, mirror: mnist.Source,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "MIRROR", mnist.Source(mirror.url, "0" * 64))
    with pytest.raises(ArgumentError, match="it should be 0000"):
        datasets.load_mnist()
    assert list((tmp_path / "data").iterdir()) == []


def test_a_failed_download_says_what_else_to_do(tmp_path: Path, mirror: mnist.Source) -> None:
    (tmp_path / "served.npz").unlink()
    with pytest.raises(ArgumentError, match=r"(?s)download failed.*give the path of mnist\.npz"):
        datasets.load_mnist()


def test_a_path_without_mnist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="there is no MNIST"):
        datasets.load_mnist(tmp_path)


def test_an_npz_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ArgumentError, match="arrays \\['a'\\]"):
        datasets.load_mnist(tmp_path / "other.npz")


def test_a_truncated_npz_file_is_an_error(tmp_path: Path, arrays: dict[str, Array]) -> None:
    file = tmp_path / "mnist.npz"
    np.savez(file, **arrays)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ArgumentError, match="no whole npz file"):
        datasets.load_mnist(file)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_truncated_idx_file_is_an_error(tmp_path: Path, arrays: dict[str, Array],
                                          suffix: str) -> None:
    _write_idx(tmp_path, arrays, suffix)
    file = tmp_path / f"{_FILES['x_test']}{suffix}"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ArgumentError, match=r"not whole|header promises"):
        datasets.load_mnist(tmp_path)


def test_a_file_that_is_no_idx_is_an_error(tmp_path: Path, arrays: dict[str, Array]) -> None:
    _write_idx(tmp_path, arrays, "")
    (tmp_path / _FILES["y_train"]).write_bytes(b"hello")
    with pytest.raises(ArgumentError, match="no IDX file"):
        datasets.load_mnist(tmp_path)
