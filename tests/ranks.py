"""All ranks of a job, in threads of this process or as real ones, for tests of what they do."""
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from tapeflow.distributed import shared
from tapeflow.distributed.environment import Place
from tapeflow.distributed.group import Group


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def nothing_left_behind():
    """Fails on threads, or files in memory, of tapeflow's own; other jobs' files lie elsewhere."""
    with tempfile.TemporaryDirectory(dir=shared.folder()) as own:
        with mock.patch.object(shared, "folder", lambda: Path(own)):
            yield
        assert not list(Path(own).iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name == "tapeflow transport"]


def run_ranks(hosts, work, *, token=lambda rank: "token", timeout=5.0, size=None):
    """[work(group) of each rank], an exception in its place where it raised one.

    Args:
        hosts: one letter a rank; ranks of the same letter share memory.
        token: the job token of a rank.
        size: of how many ranks they are told; as many as there are, unless given.
    """
    port = free_port()

    def rank(index):
        place = Place(index, size or len(hosts), 0, "127.0.0.1", port, hosts[index])
        try:
            with Group(place, token=token(index), timeout=timeout) as group:
                return work(group)
        except Exception as error:
            return error

    with nothing_left_behind(), ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(rank, range(len(hosts))))


def run_job(tmp_path, program, size=2, timeout="10"):
    """[(exit code, stdout, stderr) of each rank], of real processes."""
    script, port = tmp_path / "rank.py", free_port()
    script.write_text(textwrap.dedent(program))
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    ranks = [subprocess.Popen(
        [sys.executable, str(script)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "RANK": str(rank), "WORLD_SIZE": str(size),
             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TAPEFLOW_TIMEOUT": timeout,
             "NUMBA_NUM_THREADS": "1"}) for rank in range(size)]
    said = [rank.communicate(timeout=60) for rank in ranks]
    return [(rank.returncode, *words) for rank, words in zip(ranks, said, strict=True)]


def check_job(tmp_path, program, size=2):
    """run_job(), of ranks that all end well."""
    ends = run_job(tmp_path, program, size)
    assert all(code == 0 for code, *_ in ends), ends
    return ends
