"""Checkpoints: what comes back, what is refused, and that a failed save harms nothing."""
from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tapeflow as tf
from tapeflow.checkpoints import CheckpointWarning
from tapeflow.dtypes import SHORT
from tapeflow.errors import ArgumentError, CheckpointError
from tapeflow.tensor import Array

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
Y = np.arange(8) % 2


def _model(hidden: str = "hidden1") -> tf.nn.Sequential:
    model = tf.nn.Sequential([tf.nn.Dense(3, "tanh", name=hidden),
                              tf.nn.Dense(2, name="outputs")])
    model(X)
    return model


def _train(model: tf.nn.Module, optimizer: tf.optim.Optimizer, steps: int = 3) -> list[float]:
    return [float(optimizer.minimize(
        lambda: tf.losses.sparse_softmax_cross_entropy(Y, model(X)), model.trainable_variables))
        for _ in range(steps)]


def _values(model: tf.nn.Module) -> list[Array]:
    return [v.numpy() for v in model.variables]


def _same(a: list[Array], b: list[Array]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# ---- what comes back

def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    model, optimizer = _model(), tf.optim.Adam(0.05)
    _train(model, optimizer)
    path = tf.Checkpoint(model=model, optimizer=optimizer).save(tmp_path / "c.safetensors")
    expected = _train(model, optimizer)
    again, fresh = _model(), tf.optim.Adam(0.9)
    tf.Checkpoint(model=again, optimizer=fresh).restore(path)
    assert _train(again, fresh) == expected


def test_the_file_is_safetensors_with_names_by_scope(tmp_path: Path) -> None:
    model, optimizer = _model(), tf.optim.SGD(0.1, momentum=0.9)
    _train(model, optimizer, 1)
    path = tf.Checkpoint(model=model, optimizer=optimizer).save(tmp_path / "c.safetensors")
    arrays = load_file(path)
    layers = [f"model/{layer}/{part}" for layer in ("hidden1", "outputs")
              for part in ("kernel", "bias")]
    assert sorted(arrays) == sorted([*layers, *(f"optimizer/{name}/momentum" for name in layers),
                                     "optimizer/iterations", "optimizer/learning_rate"])
    np.testing.assert_array_equal(arrays["model/hidden1/kernel"], model.variables[0].numpy())


def test_a_dtype_that_the_format_has_not_is_refused(tmp_path: Path) -> None:
    v = tf.Variable(tf.zeros(2, "complex128"))
    with pytest.raises(CheckpointError, match=r"complex128(.|\n)*v c128\[2\]"):
        tf.Checkpoint(v=v).save(tmp_path / "v.safetensors")


@pytest.mark.parametrize("dtype", [d.name for d in SHORT if d != tf.complex128])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_every_dtype_and_shape_comes_back(tmp_path: Path, dtype: str,
                                          shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 2, shape)
    v = tf.Variable(tf.cast(values, dtype))
    path = tf.Checkpoint(v=v).save(tmp_path / "v.safetensors")
    v.assign(tf.zeros(shape, dtype))
    tf.Checkpoint(v=v).restore(path)
    assert v.shape == shape and v.dtype.name == dtype
    np.testing.assert_array_equal(v.numpy().astype(complex), values)


def test_parts_may_lie_in_lists_and_dicts(tmp_path: Path) -> None:
    parts = {"a": tf.Variable(1.0), "b": [tf.Variable(2.0), tf.Variable(3.0)]}
    path = tf.Checkpoint(all=parts).save(tmp_path / "new" / "folder" / "c.safetensors")
    assert sorted(load_file(path)) == ["all/a", "all/b/0", "all/b/1"]


def test_a_wrapped_optimizer_is_saved_as_itself(tmp_path: Path) -> None:
    model, optimizer = _model(), tf.optim.SGD(0.1, momentum=0.9)
    _train(model, optimizer, 1)
    wrapped = tf.distributed.DataParallel(optimizer)
    assert (tf.Checkpoint(model=model, optimizer=wrapped).named_variables().keys()
            == tf.Checkpoint(model=model, optimizer=optimizer).named_variables().keys())


def test_match_restores_only_what_it_finds(tmp_path: Path) -> None:
    model = _model()
    saved = _values(model)
    path = tf.Checkpoint(model=model).save(tmp_path / "c.safetensors")
    for v in model.variables:
        v.assign(tf.zeros_like(v))
    names = tf.Checkpoint(model=model).restore(path, match="hidden[12]")
    assert names == ["model/hidden1/kernel", "model/hidden1/bias"]
    assert _same(_values(model)[:2], saved[:2]) and not model.variables[2].numpy().any()


def test_rename_takes_variables_and_slots_under_their_old_names(tmp_path: Path) -> None:
    model, optimizer = _model(), tf.optim.Adam()
    _train(model, optimizer)
    path = tf.Checkpoint(net=model, optimizer=optimizer).save(tmp_path / "c.safetensors")
    other, fresh = _model("first"), tf.optim.Adam()
    tf.Checkpoint(model=other, optimizer=fresh).restore(
        path, rename={"net": "model", "hidden1": "first"})
    assert _same(_values(other), _values(model))
    assert _train(other, fresh) == _train(model, optimizer)


def test_without_strict_the_rest_stays_as_it_is(tmp_path: Path) -> None:
    path = tf.Checkpoint(a=tf.Variable(1.0), b=tf.Variable(2.0)).save(tmp_path / "c.safetensors")
    b, c = tf.Variable(0.0), tf.Variable(5.0)
    assert tf.Checkpoint(b=b, c=c).restore(path, strict=False) == ["b"]
    assert (float(b), float(c)) == (2.0, 5.0)


def test_what_is_restored_is_seen_by_compiled_functions(tmp_path: Path) -> None:
    v = tf.Variable([1.0, 2.0])
    double = tf.jit(lambda: v * 2.0)
    path = tf.Checkpoint(v=v).save(tmp_path / "c.safetensors")
    v.assign([0.0, 0.0])
    double()
    tf.Checkpoint(v=v).restore(path)
    assert double().numpy().tolist() == [2.0, 4.0]


# ---- what is refused

def test_all_names_that_do_not_fit_are_listed_at_once_and_nothing_changes(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, np.float32), "b": np.ones(3, np.float32),
               "x": np.ones(1, np.float32),
               "y": np.ones(1, np.float32), "z": np.ones(1, np.int32)}, tmp_path / "c.safetensors")
    a, b, c, z = (tf.Variable(np.zeros(n, np.float32)) for n in (2, 2, 2, 1))
    with pytest.raises(CheckpointError) as caught:
        tf.Checkpoint(a=a, b=b, c=c, z=z).restore(tmp_path / "c.safetensors")
    for line in ("in the file f32[3], here f32[2]: b", "in the file i32[1], here f32[1]: z",
                 "unknown here: x, y", "missing in the file: c"):
        assert line in str(caught.value)
    assert not a.numpy().any()


def test_restoring_a_model_that_was_never_called_says_so(tmp_path: Path) -> None:
    path = tf.Checkpoint(model=_model()).save(tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match=r"(?s)here: .*hidden1/bias.*after its first call"):
        tf.Checkpoint(model=tf.nn.Dense(3, name="hidden1")).restore(path)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_checkpoint_is_refused_and_changes_nothing(tmp_path: Path, keep: int) -> None:
    v = tf.Variable(np.arange(100.0))
    path = tf.Checkpoint(v=v).save(tmp_path / "c.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        tf.Checkpoint(v=v).restore(path)
    assert v.numpy()[99] == 99.0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)no such file.*nowhere"):
        tf.Checkpoint(v=tf.Variable(1.0)).restore(tmp_path / "nowhere")


def test_a_match_that_finds_nothing_is_an_error(tmp_path: Path) -> None:
    path = tf.Checkpoint(v=tf.Variable(1.0)).save(tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match="no name is matched"):
        tf.Checkpoint(v=tf.Variable(1.0)).restore(path, match="hidden")


def test_match_is_found_anywhere_unless_anchored_and_the_error_says_so(tmp_path: Path) -> None:
    model, optimizer = tf.nn.Dense(2), tf.optim.Adam()
    model(tf.ones((1, 3)))
    optimizer.minimize(lambda: tf.sum(model(tf.ones((1, 3)))), model.trainable_variables)
    both = tf.Checkpoint(model=model, optimizer=optimizer)
    path = both.save(tmp_path / "c.safetensors")
    assert any(name.startswith("optimizer/") for name in both.restore(path, match="model/"))
    assert all(name.startswith("model/") for name in both.restore(path, match="^model/"))
    with pytest.raises(CheckpointError, match=r"match=, which is found anywhere in them unless \^"):
        both.restore(path, match="hidden")


def test_other_types_are_all_listed_and_no_looser_restore_is_advised(tmp_path: Path) -> None:
    path = tf.Checkpoint(a=tf.Variable([1.0]), b=tf.Variable([1.0])).save(tmp_path / "c")
    other = tf.Checkpoint(a=tf.Variable([1.0] * 2), b=tf.Variable([1.0] * 2))
    with pytest.raises(CheckpointError, match=r"in the file f32\[1\], here f32\[2\]: a, b") as it:
        other.restore(path, strict=False)
    assert "strict=False" not in it.value.fix and "shape or dtype" in it.value.fix


def test_a_step_below_zero_is_refused(tmp_path: Path) -> None:
    manager = tf.CheckpointManager(tf.Checkpoint(v=tf.Variable(1)), tmp_path)
    with pytest.raises(ArgumentError, match=r"numbered from 0 on(?s:.)*step=-3"):
        manager.save(-3)


def test_a_name_that_is_not_there_cannot_be_given_another(tmp_path: Path) -> None:
    model = _model()
    path = tf.Checkpoint(model=model).save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"(?s)'hiden1'.*model/hidden1/kernel"):
        tf.Checkpoint(model=model).restore(path, rename={"hiden1": "hidden2"}, strict=False)


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    path = tf.Checkpoint(a=tf.Variable(1.0), b=tf.Variable(1.0)).save(tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match="two names in the file become 'a'"):
        tf.Checkpoint(a=tf.Variable(1.0)).restore(path, rename={"b": "a"})


def test_a_part_without_variables_is_refused() -> None:
    with pytest.raises(ArgumentError, match="epoch: int"):
        tf.Checkpoint(epoch=3)


# ---- a save that fails

@contextmanager
def _full_disk(limit: int) -> Iterator[None]:
    """Inside, no file of this process may grow beyond `limit` bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX")
def test_a_disk_that_is_full_leaves_the_old_checkpoint_whole(tmp_path: Path) -> None:
    v = tf.Variable(np.arange(100_000.0))
    path = tf.Checkpoint(v=v).save(tmp_path / "c.safetensors")
    v.assign_add(1.0)
    with _full_disk(10_000), pytest.raises(CheckpointError, match="what was there before is whole"):
        tf.Checkpoint(v=v).save(path)
    assert os.listdir(tmp_path) == ["c.safetensors"]
    tf.Checkpoint(v=v).restore(path)
    assert v.numpy()[5] == 5.0


def test_a_file_that_does_not_reach_the_disk_replaces_nothing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v = tf.Variable(1.0)
    path = tf.Checkpoint(v=v).save(tmp_path / "c.safetensors")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    v.assign(2.0)
    with pytest.raises(CheckpointError, match="No space left on device"):
        tf.Checkpoint(v=v).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["c.safetensors"]


# ---- the manager

def test_the_manager_keeps_the_last_and_restores_the_newest(tmp_path: Path) -> None:
    v = tf.Variable(0)
    manager = tf.CheckpointManager(tf.Checkpoint(v=v), tmp_path, keep=2)
    for step in (5, 90, 1000):
        v.assign(step)
        manager.save(tf.Variable(step))
    v.assign(0)
    assert manager.steps() == [90, 1000]
    assert manager.restore_latest() == 1000 == int(v)


@pytest.mark.parametrize("keep", [1, 2, 5, 9])
def test_no_checkpoint_is_deleted_before_there_are_as_many_as_are_kept(
        tmp_path: Path, keep: int) -> None:
    manager = tf.CheckpointManager(tf.Checkpoint(v=tf.Variable(0)), tmp_path, keep=keep)
    for step in range(1, 9):
        os.utime(manager.save(step), (step, step))
        assert manager.steps() == [*range(1, step + 1)][-keep:]


def test_a_manager_keeps_what_it_has_just_saved_whatever_its_number(tmp_path: Path) -> None:
    manager = tf.CheckpointManager(tf.Checkpoint(v=tf.Variable(0)), tmp_path, keep=2)
    for written, step in enumerate((101, 100)):
        os.utime(manager.save(step), (written, written))
    assert manager.save(5).exists()
    assert manager.steps() == [5, 100]


def test_an_empty_folder_has_nothing_to_restore(tmp_path: Path) -> None:
    manager = tf.CheckpointManager(tf.Checkpoint(v=tf.Variable(0)), tmp_path / "new")
    assert manager.restore_latest() is None


@pytest.mark.parametrize("keep", [-5, 1, 0])
def test_the_newest_whole_checkpoint_is_restored_with_a_warning_that_names_the_damaged(
        tmp_path: Path, keep: int) -> None:
    v = tf.Variable(0)
    manager = tf.CheckpointManager(tf.Checkpoint(v=v), tmp_path)
    for step in (1, 2, 3, 4):
        path = manager.save(v.assign(step))
        if step > 2:
            path.write_bytes(path.read_bytes()[:keep])
    with pytest.warns(CheckpointWarning) as caught:
        assert manager.restore_latest() == 2
    assert int(v) == 2
    message = str(caught[0].message)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert all(str(manager.path(step)) in message for step in (3, 4)) and "number 2" in message


def test_where_no_checkpoint_is_whole_the_newest_is_named(tmp_path: Path) -> None:
    v = tf.Variable(7)
    manager = tf.CheckpointManager(tf.Checkpoint(v=v), tmp_path)
    for step in (1, 2):
        manager.save(step).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"no whole(.|\n)*checkpoint-00000002"):
        manager.restore_latest()
    assert int(v) == 7


def test_a_newest_checkpoint_that_does_not_fit_is_not_passed_over(tmp_path: Path) -> None:
    tf.CheckpointManager(tf.Checkpoint(v=tf.Variable(1)), tmp_path).save(1)
    tf.CheckpointManager(tf.Checkpoint(w=tf.Variable(1)), tmp_path).save(2)
    with pytest.raises(CheckpointError, match="names do not fit"):
        tf.CheckpointManager(tf.Checkpoint(v=tf.Variable(0)), tmp_path).restore_latest()


def test_a_manager_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="keep=0"):
        tf.CheckpointManager(tf.Checkpoint(), tmp_path, keep=0)


def test_saving_a_model_that_was_never_called_is_an_error(tmp_path: Path) -> None:
    checkpoint = tf.Checkpoint(model=tf.nn.Dense(3))
    with pytest.raises(CheckpointError, match=r"(?s)nothing to save.*first call"):
        checkpoint.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe with a name")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ArgumentError, match="is no file"):
            tf.Checkpoint(model=_model()).save(target)
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1
