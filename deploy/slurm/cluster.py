"""A night on workers that Slurm starts: a Dask cluster of jobs, and `wsiproc batch` on it.

::

    DASK_CONFIG=/srv/wsiproc/dask.yaml python deploy/slurm/cluster.py \\
        --jobs 8 --cores 8 --memory 32GB --time 04:00:00 -- \\
        /srv/slides --model unet --out /srv/wsiproc/out

What follows ``--`` goes to ``wsiproc batch``, whose exit code is this one's.  Certificates and all
other settings of Dask stand in the file that DASK_CONFIG names; see ``deploy/dask/README.md``.
Needs the extra ``cluster``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed.security import Security

PASSED_ON = ("DASK_CONFIG", "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "XDG_DATA_HOME")
"""What workers are told of this process' environment, where it is set."""


def settings(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=4, help="Slurm jobs, one worker each.")
    parser.add_argument("--cores", type=int, default=4, help="Cores of a job.")
    parser.add_argument("--memory", default="16GB", help="Memory of a job.")
    parser.add_argument("--time", default="04:00:00", help="Time limit of a job.")
    parser.add_argument("--queue", help="Partition.")
    parser.add_argument("--interface", help="Network interface of the cluster, say ib0.")
    parser.add_argument("--sbatch", action="append", default=[], help="One more #SBATCH option.")
    parser.add_argument("--logs", type=Path, help="Folder for the jobs' logs.")
    parser.add_argument("batch", nargs="+", help="After --: the words for `wsiproc batch`.")
    return parser.parse_args(words)


def cluster(asked: argparse.Namespace) -> SLURMCluster:
    """Ask Slurm for workers; they come when Slurm has room for them.

    One worker with one thread is one tile at a time; the network takes all cores of the job.
    """
    told = [name for name in PASSED_ON if name in os.environ]
    return SLURMCluster(
        protocol="tls",
        # The certificates that dask.yaml names; without them nothing is spoken in the clear.
        security=Security(require_encryption=True),
        interface=asked.interface,
        queue=asked.queue,
        cores=1,
        processes=1,
        job_cpu=asked.cores,
        memory=asked.memory,
        walltime=asked.time,
        log_directory=None if asked.logs is None else str(asked.logs),
        job_extra_directives=asked.sbatch,
        job_script_prologue=[f"export {name}={shlex.quote(os.environ[name])}" for name in told],
        worker_extra_args=["--memory-limit", "0", "--no-dashboard"],
        scheduler_options={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        local_directory=os.environ.get("TMPDIR", "/tmp"),  # noqa: S108 - a node's own scratch
    )


PASSED_ON = [
    name for name in ("DASK_CONFIG", "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME") if name in os.environ
]


def main(words: list[str] | None = None) -> int:
    asked = settings(words)
    wsiproc = Path(sys.executable).with_name("wsiproc")
    with cluster(asked) as workers:
        workers.scale(jobs=asked.jobs)
        night = subprocess.Popen(  # noqa: S603 - the words are the operator's own
            [wsiproc, "batch", *asked.batch, "--scheduler", workers.scheduler_address]
        )
        # Whoever stops this stops the night in good order: progress is saved.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(each, lambda _signal, _frame: night.terminate())
        return night.wait()


if __name__ == "__main__":
    sys.exit(main())
