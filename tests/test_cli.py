"""The command line, as a user types it."""
from __future__ import annotations

import re
import socket
from importlib import metadata

import numpy as np
import pytest

import tapeflow as tf
from tapeflow import cli, doctor
from tapeflow.distributed import shared
from tapeflow.jit import cache, cache_command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of compiled code."""
    monkeypatch.setenv("TAPEFLOW_CACHE_DIR", str(tmp_path / "code"))
    return tmp_path / "code"


def said_by(capsys, *argv):
    """Exit code and output of `tapeflow` with these arguments."""
    try:
        code = cli.main(argv)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_help_lists_every_command_and_what_it_does(capsys):
    code, said = said_by(capsys, "--help")
    assert code == 0
    assert {"launch", "bench", "cache", "doctor", "demo"} <= set(cli.COMMANDS)
    for name, (_, summary) in cli.COMMANDS.items():
        assert re.search(rf"^ +{name} +{summary}$", said, re.MULTILINE)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(capsys, command):
    code, said = said_by(capsys, command, "--help")
    assert code == 0
    assert cli.COMMANDS[command][1] in said


@pytest.mark.parametrize(("argv", "why"), [
    (["tarin"], "invalid choice: 'tarin'"), ([], "required: COMMAND"),
    (["cache"], "required: action"), (["cache", "purge"], "invalid choice: 'purge'"),
    (["launch"], "required: program"),
    (["doctor", "--quick"], "tapeflow doctor: error: unrecognized arguments: --quick"),
    (["launch", "--gpus", "2", "no.py"], "usage: tapeflow launch"),
    (["launch", "no.py"], "no such file")])
def test_what_cannot_be_understood_is_an_error(capsys, argv, why):
    code, said = said_by(capsys, *argv)
    assert code == 2
    assert why in said


def test_the_version_is_the_packages(capsys):
    assert said_by(capsys, "--version") == (0, metadata.version("tapeflow") + "\n")


def test_cache_info_counts_what_clear_deletes(capsys, folder):
    for number in range(3):
        entry = folder / "ab" / f"{number}.o"
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_bytes(bytes(1000))
    assert said_by(capsys, "cache", "info") == (
        0, f"folder   {folder}\nentries  3\nbytes    3,000\n")
    assert said_by(capsys, "cache", "clear") == (
        0, f"deleted 3 entries, 3,000 bytes, in {folder}\n")
    assert said_by(capsys, "cache", "info")[1].endswith("entries  0\nbytes    0\n")


def test_an_entry_that_vanishes_is_not_counted(monkeypatch, folder):
    monkeypatch.setattr(cache, "entries", lambda: iter([folder / "ab" / "gone.o"]))
    assert cache_command.usage() == (0, 0)


def test_a_healthy_machine_passes_every_essential_check(capsys, folder):
    code, said = said_by(capsys, "doctor")
    assert code == 0, said
    assert said.endswith("all is well\n")
    for line in (rf"ok +numpy +{re.escape(np.__version__)}", r"ok +compiler +works",
                 rf"ok +cache +{folder}: [1-9]", r"ok +network", r"ok +CPU .* bits, \d+ threads"):
        assert re.search(line, said), said


def test_a_missing_dependency_is_wrong_and_a_missing_extra_is_not(capsys, folder, monkeypatch):
    version = metadata.version

    def without(name):
        if name in ("pyzmq", "matplotlib"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    code, said = said_by(capsys, "doctor")
    assert code == 1
    assert "wrong pyzmq" in said and "fix: pip install pyzmq\n" in said
    assert re.search(r"note +\[viz\] +not installed: .*matplotlib", said)
    assert "fix: pip install 'tapeflow[viz]'" in said
    assert said.endswith("1 of these must be mended\n")


def test_a_cache_that_cannot_be_written_is_only_noted(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAPEFLOW_CACHE_DIR", str(tmp_path / "file" / "code"))
    finding = doctor._code_cache()
    assert not finding.is_wrong
    assert re.match(r"note +cache .*Not a directory\n +fix: set TAPEFLOW_CACHE_DIR", str(finding))


def test_a_host_that_cannot_talk_to_itself_is_wrong(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "create_server", refuse)
    assert doctor._network().is_wrong
    assert "Operation not permitted" in doctor._network().said


def test_little_shared_memory_is_noted(monkeypatch):
    monkeypatch.setattr(shared, "block_bytes", lambda size: 1 << 60)
    assert "--shm-size" in str(doctor._shared_memory())


def test_a_compiler_that_fails_or_errs_is_wrong(monkeypatch):
    def broken(fn):
        raise RuntimeError("no target")

    monkeypatch.setattr(tf, "jit", broken)
    assert doctor._compiler().is_wrong
    monkeypatch.setattr(tf, "jit", lambda fn: lambda x: x)
    assert "not 1." in doctor._compiler().said
