"""Examples: images with their labels; Split: those to train with and those to test with."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.tensor import Array


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and labels, which unpack as `images, labels = examples`.

    Args:
        images: u8[n, height, width], in the grey levels of the source.
        labels: i64[n].
        levels: the grey level of full ink.

    Raises: ShapeError unless there are as many labels as images.
    """

    images: Array
    labels: Array
    levels: int

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            got = f"{len(self.images)} images, {len(self.labels)} labels"
            raise ShapeError("datasets", got=got, why="every image has one label",
                             fix="check which files belong together")

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Array]:
        return iter((self.images, self.labels))

    def __getitem__(self, chosen: slice | Array) -> Examples:
        return Examples(self.images[chosen], self.labels[chosen], self.levels)

    def scaled(self) -> Array:
        """The images with ink between 0 and 1: f32[n, height, width]."""
        return self.images.astype(np.float32) / np.float32(self.levels)

    def split(self, test_fraction: float = 0.2, seed: int = 0) -> Split:
        """The examples in random order, the last `test_fraction` of them held out.

        Raises: ArgumentError unless 0 < test_fraction < 1.
        """
        if not 0.0 < test_fraction < 1.0:
            raise ArgumentError("split", got=f"test_fraction={test_fraction}",
                                why="it is the share that is held out",
                                fix="give a number between 0 and 1")
        order = np.random.default_rng(seed).permutation(len(self))
        cut = len(self) - round(test_fraction * len(self))
        return Split(self[order[:cut]], self[order[cut:]])


@dataclass(frozen=True, eq=False)
class Split:
    """Two sets that share no example, which unpack as `train, test = split`."""

    train: Examples
    test: Examples

    def __iter__(self) -> Iterator[Examples]:
        return iter((self.train, self.test))
