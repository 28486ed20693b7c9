"""Starts a Slurm cluster of two nodes on this machine, on loopback, with all of its state in one folder.

To try things by hand, run `python tests/slurm/cluster.py`; Ctrl-C stops the cluster.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = {"slurm-wlm": ("slurmctld", "slurmd", "sbatch"), "munge": ("munged",)}
NODES, CPUS = 2, 4
GPUS = ("/dev/null", "/dev/zero")  # stand-ins for GPUs: Slurm allocates them in the same way
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "BOOT_FAIL")

CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=500000,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
PropagateResourceLimits=NONE
KillWait=60
MinJobAge=3600
RebootProgram=/bin/true
GresTypes=gpu
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=120 State=UP
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
"""


def why_not() -> str | None:
    """Why no cluster can start here, or None. Installs Slurm if only that is missing."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    missing = [package for package, names in PROGRAMS.items() if not all(map(shutil.which, names))]
    return _install(missing) if missing else None


def _install(packages: list[str]) -> str | None:
    if shutil.which("apt-get") is None:
        return f"{' and '.join(packages)} are not installed, and apt-get is not available"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # RUNLEVEL: start no daemons
    for call in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *call], env=environment, capture_output=True, text=True, check=False)
    return f"apt-get failed to install them: {done.stderr.strip()[-300:]}" if done.returncode else None


def wait_for(condition: Callable[[], bool], seconds: float, name: str) -> None:
    """Wait until `condition` is true.

    Raises:
        TimeoutError: it is still false after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name}: nothing after {seconds:.0f} s")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Cluster:
    """Two nodes, and the partitions `low` and `high`. Jobs in `high` preempt those in `low`, which are requeued."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "GLOO_SOCKET_IFNAME": "lo",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }
        self._daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        """Write the configuration, start the daemons and wait for the nodes."""
        self._configure()
        munge, key = self.folder / "munge", self.folder / "munge/key"
        munge.mkdir(mode=0o755)
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = [f"--{name}-file={munge}/{name}" for name in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={munge}/socket", *files)
        wait_for((munge / "socket").exists, 30, "munged")
        self._daemon("slurmctld", "-D")
        for number in range(NODES):
            self._daemon("slurmd", "-D", "-N", f"node{number}")
        wait_for(lambda: self.ask("sinfo", "-h", "-N", "-p", "low", "-o", "%t").split() == ["idle"] * NODES, 60,
                   f"nodes of {self.folder}")  # fmt: skip

    def _configure(self) -> None:
        host, ports = socket.gethostname().split(".")[0], free_ports(NODES + 1)
        nodes = [
            f"NodeName=node{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[number + 1]} CPUs={CPUS}"
            f" RealMemory=4000 Gres=gpu:{len(GPUS)} State=UNKNOWN"
            for number in range(NODES)
        ]
        conf = CONF.format(host=host, ports=ports, folder=self.folder, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in GPUS))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        (self.folder / "state").mkdir()

    def _daemon(self, *call: str) -> None:
        with (self.folder / f"{call[0]}-{len(self._daemons)}.log").open("w") as log:
            # The daemons must exit even if this process is killed.
            call = ("setpriv", "--pdeathsig", "TERM", "--", *call)
            self._daemons.append(
                subprocess.Popen(call, env=self.environment, stdout=log, stderr=log, start_new_session=True)
            )

    def stop(self) -> None:
        """Stop the jobs and the daemons of this cluster only."""
        if len(self._daemons) > 1:
            self.ask("scancel", "--me")
            self.ask("scancel", "--me", "--signal=KILL", "--full")
            with contextlib.suppress(TimeoutError):
                wait_for(lambda: not self.ask("squeue", "-h", "-o", "%i"), 20, "the end of all jobs")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for process in self._leftovers():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _leftovers(self) -> list[psutil.Process]:
        """Processes that the daemons started and did not stop; SLURM_CONF in their environment identifies them."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get("SLURM_CONF") == str(
                    self.folder / "slurm.conf"
                ):
                    found.append(process)
        return found

    def ask(self, *call: str, cwd: Path | None = None, check: bool = False, **environment: str) -> str:
        """Run a Slurm command and return its output."""
        done = subprocess.run(
            call, env={**self.environment, **environment}, cwd=cwd, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(call)}: {done.stderr}")
        return done.stdout.strip()

    def submit(self, cwd: Path, *call: str, **environment: str) -> str:
        """Submit a job and return its number."""
        return self.ask("sbatch", "--parsable", *call, cwd=cwd, check=True, **environment)

    def job_info(self, job: str) -> dict[str, str]:
        """The fields that `scontrol show job` prints."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.ask("scontrol", "show", "job", "-o", job)))

    def state(self, job: str) -> str:
        return self.job_info(job).get("JobState", "UNKNOWN")

    def ended(self, job: str, seconds: float = 240) -> str:
        """Wait until the job has ended and return its state. A requeued job starts at once, without Slurm's delay."""
        pending_since: float | None = None

        def is_over() -> bool:
            nonlocal pending_since
            state, now = self.state(job), time.monotonic()
            pending_since = (pending_since or now) if state == "PENDING" else None
            # Wait until Slurm has cleaned up the previous attempt, or it takes the end of that script for the new one.
            if pending_since and now - pending_since > 2:
                self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
                pending_since = None
            return state in ENDED

        wait_for(is_over, seconds, f"the end of job {job}")
        return self.state(job)


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Start a cluster in a temporary folder; both are removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munged requires that clients can reach its socket
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(reason)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running() as started, contextlib.suppress(KeyboardInterrupt):
        names = ("SLURM_CONF", "GLOO_SOCKET_IFNAME", "PYTHON")
        print("export", *(f"{name}={started.environment[name]}" for name in names), flush=True)
        signal.pause()
