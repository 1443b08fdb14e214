"""Checkpoint: variables in one safetensors file, which is there whole or not at all."""
from __future__ import annotations

import os
import re
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tapeflow import arguments, dtypes
from tapeflow.errors import ArgumentError, CheckpointError
from tapeflow.optim.optimizer import Optimizer
from tapeflow.tensor import Array, Spec, Tensor
from tapeflow.variable import Variable

PathLike: TypeAlias = str | os.PathLike[str]

_DTYPES = {short.upper(): dtype for short, dtype in dtypes.OF_SHORT.items()}


class CheckpointWarning(UserWarning):
    """A checkpoint cannot be read, and an earlier one is restored instead."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is not whole, or cannot be read."""


class Checkpoint:
    """Saves and restores the variables of all that it is given.

    Args:
        parts: modules, optimizers, variables, anything with `named_variables()`, or lists and dicts
            of them. The keyword begins the names: `model/hidden1/kernel`.

    >>> import tempfile, tapeflow as tf
    >>> weights = tf.Variable([1.0, 2.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = tf.Checkpoint(weights=weights).save(f"{folder}/weights.safetensors")
    ...     _ = weights.assign([0.0, 0.0])
    ...     restored = tf.Checkpoint(weights=weights).restore(path)
    >>> weights.numpy().tolist(), restored
    ([1.0, 2.0], ['weights'])
    """

    def __init__(self, **parts: Any) -> None:
        self.parts = {key: _unwrapped(part) for key, part in parts.items()}
        self.named_variables()   # a part that cannot be saved is an error now

    def named_variables(self) -> dict[str, Variable]:
        """All variables by name; the slots of optimizers below the names of what they train:
        `optimizer/model/hidden1/kernel/m`."""
        named = dict(self._trained())
        names = {variable: name for name, variable in named.items()}
        for key, optimizer in self._optimizers().items():
            named.update(_below(key, optimizer.named_variables(names)))
        return named

    def _optimizers(self) -> dict[str, Optimizer]:
        return {key: part for key, part in self.parts.items() if isinstance(part, Optimizer)}

    def _trained(self) -> Iterator[tuple[str, Variable]]:
        for key, part in self.parts.items():
            if not isinstance(part, Optimizer):
                yield from _named(key, part)

    def save(self, path: PathLike) -> Path:
        """Write one file, which replaces an earlier one only when it is whole; gives its path.

        Raises: CheckpointError if it cannot be written, with the earlier one untouched, or there
            are no variables, or one of a dtype that the format has not; ArgumentError if the path
            is that of a folder or device.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save

        target = _file(path)
        arrays = {name: v.numpy() for name, v in self.named_variables().items()}
        if not arrays:
            raise CheckpointError("save", got=f"no variables in {list(self.parts)}",
                                  why="there is nothing to save", fix="call the model once before: "
                                  "layers make their variables at the first call")
        try:
            data = save(arrays)
        except SafetensorError as error:   # of complex128
            raise CheckpointError("save", got=", ".join(f"{k} {_spec(a)}" for k, a in
                                                        arrays.items() if a.dtype.kind == "c"),
                                  why=str(error).partition(". ")[0],
                                  fix="keep the real and the imaginary part in variables of their "
                                  "own, or use complex64") from error
        try:
            _write(target, data)
        except OSError as error:
            raise CheckpointError("save", got=str(target), why=f"it could not be written: {error}",
                                  fix="make room, or save elsewhere; what was there before is whole"
                                  ) from error
        return target

    def restore(self, path: PathLike, match: str | None = None,
                rename: Mapping[str, str] | None = None, strict: bool = True) -> list[str]:
        """Give the variables their values in the file, or none of them if anything is wrong.

        Args:
            path: a file of save(), or any safetensors file.
            match: a regular expression; only names in which it is found take part, anywhere in
                them: "model/" finds `optimizer/model/...` too, "^model/" does not.
            rename: what parts of names in the file are called here: `{"old": "hidden1"}` takes
                `model/old/kernel` for `model/hidden1/kernel`, and the optimizer's slots likewise.
            strict: whether all names in the file must be known here, and the other way round.

        Returns: the names that were restored.
        Raises: CheckpointError that lists every name that is unknown, missing, or of another type;
            or if the file is not whole, or has nothing to rename; ArgumentError if `match` is no
            regular expression.
        """
        named = arguments.mapping("restore", "rename", {} if rename is None else rename)
        _check_pattern(match)
        arrays = _renamed(path, _read(arguments.path("restore", "path", path)), named)
        arrays = {name: a for name, a in arrays.items() if match is None or re.search(match, name)}
        self._build_slots(arrays)
        own = {name: v for name, v in self.named_variables().items()
               if match is None or re.search(match, name)}
        common = [name for name in own if name in arrays]
        types: dict[str, list[str]] = {}
        for name in common:
            if _spec(arrays[name]) != own[name].spec:
                said = f"in the file {_spec(arrays[name])}, here {own[name].spec}"
                types.setdefault(said, []).append(name)
        names = {"unknown here": sorted(arrays.keys() - own.keys()),
                 "missing in the file": sorted(own.keys() - arrays.keys())}
        if types or not common or (strict and any(names.values())):
            raise _misfit(path, types, names if strict or not common else {}, strict)
        for name in common:
            own[name].assign(Tensor(arrays[name]))
        return common

    def _build_slots(self, arrays: Mapping[str, Array]) -> None:
        """Let the optimizers have the slots that the file has."""
        for key, optimizer in self._optimizers().items():
            optimizer.build([v for name, v in self._trained()
                             if any(saved.startswith(f"{key}/{name}/") for saved in arrays)])


class CheckpointManager:
    """The `keep` checkpoints that were written last, in one folder.

    Raises: ArgumentError if `keep` is less than 1, or an argument is of a wrong type.
    """

    def __init__(self, checkpoint: Checkpoint, folder: PathLike, keep: int = 5) -> None:
        op = "CheckpointManager"
        if not isinstance(checkpoint, Checkpoint):
            raise arguments.wrong(op, "checkpoint", checkpoint, "a tf.Checkpoint")
        if arguments.integer(op, "keep", keep) < 1:
            raise ArgumentError(op, got=f"keep={keep}",
                                why="the newest checkpoint is always kept", fix="give 1 or more")
        self.checkpoint, self.keep = checkpoint, int(keep)
        self.folder = arguments.path(op, "folder", folder)

    def save(self, step: Any) -> Path:
        """Save as number `step`, then delete all but the last `keep` that were written.

        Raises: ArgumentError unless `step` is a whole number of at least 0, CheckpointError if it
            cannot be written.
        """
        number = arguments.integer("save", "step", step)
        if number < 0:
            raise ArgumentError("save", got=f"step={number}",
                                why="checkpoints are numbered from 0 on", fix="give 0 or more")
        path = self.checkpoint.save(self.path(number))
        others = [p for p in map(self.path, self.steps()) if p != path]
        # clocks are coarse, so this one may be no later than another; equal times go by number
        others.sort(key=lambda other: other.stat().st_mtime_ns)
        for old in others[:max(len(others) + 1 - self.keep, 0)]:
            old.unlink(missing_ok=True)
        return path

    def restore_latest(self) -> int | None:
        """Restore the checkpoint with the highest number; gives it, or None if there is none.

        One that is damaged, as files written whole become only by a fault of the disk, is passed
        over with a CheckpointWarning.

        Raises: CheckpointError if none is whole, or as Checkpoint.restore() where names or types do
            not fit.
        """
        damaged: list[DamagedCheckpointError] = []
        for step in reversed(self.steps()):
            try:
                self.checkpoint.restore(self.path(step))
            except DamagedCheckpointError as error:
                damaged.append(error)
                continue
            if damaged:
                _warn_of(damaged, step)
            return step
        if damaged:
            raise damaged[0]
        return None

    def steps(self) -> list[int]:
        """The numbers of the checkpoints in the folder, in order."""
        found = (re.fullmatch(r"checkpoint-(\d+)\.safetensors", path.name)
                 for path in self.folder.glob("checkpoint-*"))
        return sorted(int(matched[1]) for matched in found if matched)

    def path(self, step: int) -> Path:
        """Where checkpoint number `step` lies."""
        return self.folder / f"checkpoint-{step:08d}.safetensors"


def _warn_of(damaged: Sequence[DamagedCheckpointError], step: int) -> None:
    files = "; ".join(f"{error.got}: {error.why}" for error in damaged)
    warnings.warn(f"damaged checkpoints are passed over ({files}), and number {step} is restored "
                  "instead: look after the disk, and delete them", CheckpointWarning, stacklevel=3)


def _named(name: str, part: Any) -> Iterator[tuple[str, Variable]]:
    if isinstance(part, Variable):
        yield name, part
    elif hasattr(part, "named_variables"):
        yield from _below(name, part.named_variables()).items()
    elif isinstance(part, list | tuple | dict):
        for key, item in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _named(f"{name}/{key}", item)
    else:
        raise ArgumentError("Checkpoint", got=f"{name}: {type(part).__name__}",
                            why="it has no variables to save",
                            fix="give modules, optimizers and variables, e.g. tf.Variable(0)")


def _unwrapped(part: Any) -> Any:
    """DataParallel has no variables of its own: what it wraps is saved."""
    return part if hasattr(part, "named_variables") else getattr(part, "optimizer", part)


def _below(key: str, named: Mapping[str, Variable]) -> dict[str, Variable]:
    return {f"{key}/{name}": variable for name, variable in named.items()}


def _check_pattern(match: str | None) -> None:
    if match is None:
        return
    try:
        re.compile(arguments.text("restore", "match", match))
    except re.error as error:
        raise ArgumentError("restore", got=f"match={match!r}", why=str(error),
                            fix="give a regular expression, e.g. 'hidden1'") from None


def _spec(array: Array) -> Spec:
    return Spec(array.shape, array.dtype)


def _renamed(path: PathLike, arrays: Mapping[str, Array], rename: Mapping[str, str],
             ) -> dict[str, Array]:
    for old in rename:
        if not any(f"/{old}/" in f"/{name}/" for name in arrays):
            raise CheckpointError("restore", got=f"{path}, rename={dict(rename)}",
                                  why=f"no name in the file has the part {old!r}",
                                  fix="use one of the file's: " + ", ".join(sorted(arrays)))
    renamed: dict[str, Array] = {}
    for name, array in arrays.items():
        new = f"/{name}/"
        for old, own in rename.items():
            new = new.replace(f"/{old}/", f"/{own}/")
        if new[1:-1] in renamed:
            raise CheckpointError("restore", got=f"{path}, rename={dict(rename)}",
                                  why=f"two names in the file become {new[1:-1]!r}",
                                  fix="rename the other one too")
        renamed[new[1:-1]] = array
    return renamed


def _misfit(path: PathLike, types: Mapping[str, list[str]], names: Mapping[str, list[str]],
            strict: bool) -> CheckpointError:
    """The error for names of other types, and those without counterpart, with what helps."""
    lines = [f"\n    {what}: {', '.join(listed)}"
             for what, listed in (*types.items(), *names.items()) if listed]
    fix = ["choose names with match=, which is found anywhere in them unless ^ begins it"]
    if types:
        fix.append("give what has another shape or dtype those of the file")
    if any(names.values()):
        fix.append("give new names with rename=")
        fix += ["leave out what has no counterpart with strict=False"] if strict else []
        fix.append("call the model once before: a layer has its variables after its first call")
    return CheckpointError(
        "restore", got=str(path), fix="; or ".join(fix),
        why=f"names do not fit:{''.join(lines)}" if lines else "no name is matched")


def _read(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(path.read_bytes())   # type: ignore[no-untyped-call]
        return {name: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
                for name, entry in found}
    except FileNotFoundError as error:
        raise CheckpointError("restore", got=str(path), why="there is no such file",
                              fix="check the path") from error
    except (SafetensorError, KeyError, OSError) as error:
        raise DamagedCheckpointError("restore", got=str(path),
                                     why=f"this is no whole checkpoint: {error}",
                                     fix="restore an earlier one") from error


def _file(path: PathLike) -> Path:
    """Where to save: writing replaces what is there, which must not be a device."""
    target = arguments.path("save", "path", path)
    if target.exists() and not target.is_file():
        raise ArgumentError("save", got=str(target), why="this is there, and is no file",
                            fix="add the name of a file, e.g. model.safetensors")
    return target


def _write(target: Path, data: bytes) -> None:
    """Write `data` beside `target`, let it reach the disk, then put it in the place of `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    if os.name == "posix":   # elsewhere a folder cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
