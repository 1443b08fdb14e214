"""`tapeflow demo`, the examples and the notebook, run as a user runs them."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tapeflow import cli, datasets, demo

ROOT = Path(__file__).parents[1]


def _run(*command: str, timeout: int = 120) -> str:
    """What the command prints; it must end well."""
    result = subprocess.run([sys.executable, "-W", "error", *command], capture_output=True,
                            text=True, timeout=timeout, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the demo prints, and its folder."""
    folder = tmp_path_factory.mktemp("demo")
    return _run("-m", "tapeflow", "demo", "--logdir", str(folder), "--seed", "3"), folder


def test_the_demo_recognises_97_of_100_unseen_digits(shown: tuple[str, Path]) -> None:
    found = re.search(r"accuracy +([\d.]+) on 359 digits", shown[0])
    assert found and float(found[1]) >= 0.97


def test_the_demo_states_the_speed_of_both_ways(shown: tuple[str, Path]) -> None:
    rates = [float(number.replace(",", "")) for number in re.findall(r"([\d,]+) steps/s", shown[0])]
    assert len(rates) == 2 and rates[1] > rates[0] > 0


def test_the_demo_leaves_what_it_says_it_leaves(shown: tuple[str, Path]) -> None:
    text, folder = shown
    assert {f"{folder}/model.safetensors", f"{folder}/learning_curve.png"} <= set(text.split())
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list(folder.glob("events.out.tfevents.*"))


def test_the_checkpoint_of_the_demo_recognises_the_digits(shown: tuple[str, Path]) -> None:
    """The net's formula in NumPy, with the weights of the file, on the digits held out."""
    weights = load_file(shown[1] / "model.safetensors")
    test = datasets.load_digits().split(0.2, seed=1).test
    x = test.images.reshape(-1, 64) / 16
    for layer in ("hidden1", "hidden2"):
        x = np.maximum(x @ weights[f"model/{layer}/kernel"] + weights[f"model/{layer}/bias"], 0)
    scores = x @ weights["model/outputs/kernel"] + weights["model/outputs/bias"]
    found = re.search(r"accuracy +([\d.]+)", shown[0])
    assert found
    assert abs((scores.argmax(-1) == test.labels).mean() - float(found[1])) < 0.0006


def test_the_demo_trains_on_two_processes(tmp_path: Path) -> None:
    text = _run("-m", "tapeflow", "demo", "--nproc", "2", "--logdir", str(tmp_path))
    found = re.search(r"accuracy +([\d.]+)", text)
    assert "on 2 processes" in text and found and float(found[1]) >= 0.97


def test_the_demo_without_matplotlib_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch,
                                                        tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    drawn = demo.draw(tmp_path / "curve.png", demo.Course([1.0], []), None)   # type: ignore[arg-type]
    reached = {"accuracy": 1.0, "test": 359, "eager": 1.0, "compiled": 2.0, "compile_seconds": 0.0,
               "numbers": 10, "curve": drawn}
    assert not drawn and "pip install 'tapeflow[viz]'" in demo.report(reached, tmp_path, 1)


def test_a_number_of_processes_that_cannot_be_is_an_error_without_traceback(
        capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["demo", "--nproc", "0", "--logdir", str(tmp_path)]) == 1
    assert "nproc=0" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_error_without_traceback(
        capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--logdir", str(tmp_path / "file" / "folder")]) == 1
    assert "file" in capsys.readouterr().err


def test_smooth_is_the_mean_of_the_last_values() -> None:
    values = np.random.default_rng(0).standard_normal(20)
    expected = [values[max(0, i - 4):i + 1].mean() for i in range(20)]
    np.testing.assert_allclose(demo.smooth(values, 5), expected, rtol=1e-12)


# ---- examples

@pytest.fixture
def small_mnist(tmp_path: Path) -> Path:
    """The 8x8 digits, each pixel 3x3 large and within a frame of 2: as many pixels as MNIST's."""
    train, test = datasets.load_digits().split(0.2, seed=1)
    arrays = {}
    for name, part in (("train", train), ("test", test)):
        large = np.kron(part.images, np.ones((1, 3, 3), np.uint8)) * 15
        arrays[f"x_{name}"] = np.pad(large, ((0, 0), (2, 2), (2, 2)))
        arrays[f"y_{name}"] = part.labels
    np.savez(tmp_path / "mnist.npz", **arrays)
    return tmp_path


def test_the_mnist_example_learns_digits_of_its_size(small_mnist: Path) -> None:
    text = _run("examples/mnist_mlp.py", "--data", str(small_mnist), "--epochs", "5",
                "--save", str(small_mnist / "net.safetensors"))
    assert "266,610 trainable" in text
    last = re.findall(r"test accuracy ([\d.]+)", text)[-1]
    assert float(last) >= 0.95
    assert load_file(small_mnist / "net.safetensors")["model/hidden1/kernel"].shape == (784, 300)


def test_the_notebook_runs_from_its_first_cell_to_its_last() -> None:
    """In a process of its own, as the notebook's client and kernel warn of matters of theirs."""
    code = ("import nbformat, nbclient\n"
            "notebook = nbformat.read('examples/quickstart.ipynb', as_version=4)\n"
            "nbclient.NotebookClient(notebook, timeout=120, kernel_name='python3').execute()\n"
            "cells = [c for c in notebook.cells if c.cell_type == 'code']\n"
            "print(sum(bool(c.outputs) for c in cells), 'of', len(cells), 'cells show something')")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                            timeout=300)
    assert result.returncode == 0, result.stderr
    assert "11 of 11 cells show something" in result.stdout
