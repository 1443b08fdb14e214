"""All ranks of a job in threads of this process, for tests of what they say to each other."""
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from tapeflow.distributed.environment import Place
from tapeflow.distributed.group import Group
from tapeflow.distributed.shared import folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def nothing_left_behind():
    """Fails on threads, or files in memory, of tapeflow's own."""
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "tapeflow transport"]
    assert not list(folder().glob("tapeflow-*"))


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
