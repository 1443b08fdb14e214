"""The UCI digits, which come with tapeflow."""
from __future__ import annotations

from importlib.resources import files

import numpy as np

from tapeflow.datasets.examples import Examples


def load_digits() -> Examples:
    """1,797 handwritten digits of 8x8 pixels with 17 grey levels (0 to 16).

    Source: "Optical Recognition of Handwritten Digits", test part, E. Alpaydin and C. Kaynak
        (1998), UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0.

    >>> digits = load_digits()
    >>> digits.images.shape, digits.labels[:5].tolist()
    ((1797, 8, 8), [0, 1, 2, 3, 4])
    """
    resource = files("tapeflow.datasets") / "digits.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Examples(arrays["images"], arrays["labels"].astype(np.int64), levels=16)
