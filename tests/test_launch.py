"""The launcher: environments as a plan, then few launches of real processes."""
import linecache
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from tapeflow import cli
from tapeflow.distributed import environment
from tapeflow.distributed.call import launch
from tapeflow.distributed.launcher import Plan, environments, free_port
from tapeflow.distributed.supervise import last_traceback
from tapeflow.errors import ArgumentError, DistributedError


def test_ranks_get_torchruns_environment():
    plan = Plan(nproc=2, nnodes=3, node_rank=1, address="node0", port=7, token="secret")
    first, second = environments(plan, {"HOME": "/home"}, cores=8)
    want = {"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2",
            "GROUP_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "7", "HOME": "/home",
            "TAPEFLOW_JOB_TOKEN": "secret", "OMP_NUM_THREADS": "4", "NUMBA_NUM_THREADS": "4"}
    assert want.items() <= first.items()
    assert second == {**first, "RANK": "3", "LOCAL_RANK": "1"}


def test_threads_are_shared_out_unless_told():
    assert environments(Plan(4), {}, cores=2)[0]["NUMBA_NUM_THREADS"] == "1"
    told = environments(Plan(4), {"NUMBA_NUM_THREADS": "2"}, cores=2)[0]
    assert (told["NUMBA_NUM_THREADS"], told["OMP_NUM_THREADS"]) == ("2", "1")


@pytest.mark.parametrize(("environ", "place"), [
    ({}, (0, 1, 0)),
    ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, (3, 4, 1)),
    ({"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}, (5, 8, 1)),
    ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
      "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, (1, 2, 1)),
    ({"PMI_RANK": "1", "PMI_SIZE": "3"}, (1, 3, 0)),
])
def test_a_rank_finds_its_place_under_every_launcher(environ, place):
    found = environment.read(environ)
    assert (found.rank, found.size, found.local_rank) == place


def test_slurms_first_host_is_rank_0s():
    environ = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "node[07-09,12],a3"}
    assert environment.read(environ).address == "node07"


@pytest.mark.parametrize("environ", [
    {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"},
    {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "http"}])
def test_a_senseless_environment_is_an_error(environ):
    with pytest.raises(ArgumentError, match=r"RANK|MASTER_PORT"):
        environment.read(environ)


@pytest.mark.parametrize("options", [
    ["--nproc-per-node", "0"], ["--nproc-per-node", "many"], ["--nnodes", "2"],
    ["--nnodes", "2", "--node-rank", "2"], ["--rdzv-endpoint", "node0"]])
def test_senseless_options_are_an_error(options, capsys):
    assert cli.main(["launch", *options, "script.py"]) == 2
    assert options[-2] in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--master-port", "70000"], ["--rdzv-endpoint", "a:65536"]])
def test_a_port_that_no_host_has_is_an_error(options, capsys):
    assert cli.main(["launch", "--nproc-per-node", "1", *options, __file__]) == 2
    assert "ports go from 1 to 65535" in capsys.readouterr().err


def test_the_last_traceback_is_found():
    first = ["Traceback (most recent call last):", "  one", "ValueError: 1"]
    assert last_traceback(["warning", *first, *first, "end"]) == [*first, "end"]
    assert last_traceback(["killed"]) == ["killed"]


def start(tmp_path, program, *options, arguments=()):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(program))
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from tapeflow.cli import main; sys.exit(main())",
         "launch", *options, str(script), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_launchers_of_two_hosts_make_one_job(tmp_path):
    endpoint = f"127.0.0.1:{free_port()}"
    jobs = [start(tmp_path, """
        import numpy as np
        import tapeflow.distributed as D
        D.init()
        print(D.all_gather(np.array([D.rank()])).numpy().tolist(), D.local_rank())
        """, "--nnodes", "2", "--node-rank", node, "--nproc-per-node", "2",
        "--rdzv-endpoint", endpoint) for node in "01"]
    said = [job.communicate(timeout=60) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert sorted(said[1][0].splitlines()) == ["[rank 2] [0, 1, 2, 3] 0", "[rank 3] [0, 1, 2, 3] 1"]


def test_output_is_prefixed_and_arguments_arrive(tmp_path):
    job = start(tmp_path, """
        import os, sys
        print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], sys.argv[1:])
        sys.stdout.write("no newline")
        """, "--nproc-per-node", "2", arguments=["--steps", "3"])
    out, _ = job.communicate(timeout=30)
    assert job.returncode == 0
    assert sorted(out.splitlines()) == [
        "[rank 0] no newline", "[rank 0] rank 0 of 2 ['--steps', '3']",
        "[rank 1] no newline", "[rank 1] rank 1 of 2 ['--steps', '3']"]


def test_the_first_failure_is_shown_last_and_its_code_returned(tmp_path):
    job = start(tmp_path, """
        import os, sys, time
        sys.excepthook = lambda *e: (sys.__excepthook__(*e), os._exit(7))
        if os.environ["RANK"] == "1":
            raise ValueError("the first")
        time.sleep(60)
        """, "--nproc-per-node", "3")
    _, err = job.communicate(timeout=30)
    assert job.returncode == 7
    assert "rank 1 failed with exit code 7" in err
    assert err.splitlines()[-1] == "[rank 1] ValueError: the first"


@pytest.mark.parametrize(("end", "code", "said"), [
    ("sys.exit(3)", 3, "rank 1 failed with exit code 3; it wrote no error"),
    ("os.kill(os.getpid(), signal.SIGKILL)", 137, "rank 1 was killed by SIGKILL, as the system")])
def test_a_rank_that_ends_without_a_word_is_named(tmp_path, end, code, said):
    job = start(tmp_path, f"""
        import os, signal, sys, time
        if os.environ["RANK"] == "1":
            {end}
        time.sleep(60)
        """, "--nproc-per-node", "2")
    _, err = job.communicate(timeout=30)
    assert job.returncode == code
    assert err.splitlines()[-1].startswith(f"tapeflow launch: {said}")


def ended(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("number", "temper"), [(signal.SIGINT, "stubborn"),
                                                (signal.SIGTERM, "obedient")])
def test_an_interrupted_launcher_leaves_no_process(tmp_path, number, temper):
    job = start(tmp_path, """
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print("started", flush=True)
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                if sys.argv[1] == "obedient":
                    raise
        """, "--nproc-per-node", "2", arguments=[temper])
    for _ in range(2):
        assert "started" in job.stdout.readline()
    family = psutil.Process(job.pid).children(recursive=True)
    assert len(family) == 4
    job.send_signal(number)
    job.communicate(timeout=30)
    assert job.returncode == 130
    assert all(ended(process) for process in family)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process does not hear of it")
def test_ranks_end_with_a_launcher_that_is_killed(tmp_path):
    job = start(tmp_path, """
        import time
        print("started", flush=True)
        time.sleep(60)
        """, "--nproc-per-node", "2")
    for _ in range(2):
        assert "started" in job.stdout.readline()
    ranks = psutil.Process(job.pid).children()
    job.kill()
    job.communicate(timeout=30)
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert len(ranks) == 2 and not alive


def double(x):
    return [x * 2, int(os.environ["RANK"])]


def fail():
    raise ValueError("no")


def test_a_function_is_launched_as_ranks(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    assert launch(double, nproc=2, args=[21]) == [[42, 0], [42, 1]]


def test_a_function_of_a_notebook_cell_is_launched():
    text = "def cell(n):\n    import os\n    return n + int(os.environ['RANK'])\n"
    linecache.cache["<cell 1>"] = (len(text), None, text.splitlines(True), "<cell 1>")
    scope = {"__name__": "__main__"}
    exec(compile(text, "<cell 1>", "exec"), scope)
    assert launch(scope["cell"], nproc=2, args=[5]) == [5, 6]


def test_a_function_that_fails_is_an_error(monkeypatch, capsys):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    with pytest.raises(DistributedError, match="exit code 1"):
        launch(fail, nproc=1)
    assert capsys.readouterr().err.rstrip().endswith("ValueError: no")


@pytest.mark.parametrize(("fn", "args"), [(lambda: None, []), (double, [object()])])
def test_what_cannot_travel_is_an_error(fn, args):
    with pytest.raises(ArgumentError):
        launch(fn, args=args)
