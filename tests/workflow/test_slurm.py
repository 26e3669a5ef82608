"""The whole chain through a real SLURM of two nodes, one of which dies: the bytes stay the same."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.workflow_helpers import CONFIG, ROOT, copy_project, run

pytestmark = pytest.mark.soak
SHARDED = {**CONFIG, "run": {**CONFIG["run"], "shards": 2}}
LIMIT = 1800  # seconds of the run: most of it is waiting for SLURM


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """Folder of a controller and two nodes on this machine."""
    for program in ("munged", "slurmctld", "slurmd", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt-get install slurm-wlm munge")
    if find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no SLURM plugin: pip install -c constraints.txt -e '.[cluster]'")
    if os.getuid() != 0:
        pytest.skip("only root can make nodes that die whole")
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # a socket's path must be short
    environment = {**os.environ, "PORT": "17400"}
    try:
        subprocess.run([ROOT / "benchmarks/slurm_up.sh", folder], env=environment, check=True)
        yield folder
    finally:
        subprocess.run([ROOT / "benchmarks/slurm_down.sh", folder], check=True)
        shutil.rmtree(folder)


def ask(cluster: Path, *command: str) -> str:
    """What a command of SLURM prints."""
    environment = {**os.environ, "SLURM_CONF": str(cluster / "slurm.conf")}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def node_of(cluster: Path, rule: str, seconds: float) -> str:
    """The node on which a rule's job has begun to work, once it has."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        jobs = ask(cluster, "squeue", "--noheader", "--states=R", "--format=%N %k %M")
        for node, comment, lasted in map(str.split, jobs.splitlines()):
            if comment.startswith(f"rule_{rule}") and lasted >= "0:05":
                return node
        time.sleep(0.5)
    raise AssertionError(f"no job of {rule} ran within {seconds} s")


def artefacts(project: Path) -> dict[str, bytes]:
    """All results but what tells of a run's time and place."""
    told = re.compile(
        r"logs/|benchmarks/|tensorboard/|report|jobs\.dot|provenance|\.snakemake_timestamp"
    )
    files = (path for path in (project / "results").rglob("*") if path.is_file())
    named = {str(path.relative_to(project / "results")): path for path in files}
    return {name: path.read_bytes() for name, path in named.items() if not told.match(name)}


def test_a_dead_node_costs_no_byte(cluster, tmp_path):
    local = run(copy_project(tmp_path / "local", SHARDED))
    project = copy_project(tmp_path / "slurm", SHARDED)
    call = [sys.executable, "-m", "snakemake", "--workflow-profile", "slurm", "--max-threads", "2"]
    environment = {**os.environ, "SLURM_CONF": str(cluster / "slurm.conf")}
    began = time.monotonic()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            call, cwd=project, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            node = node_of(cluster, "train", LIMIT)
            os.kill(int((cluster / f"{node}.pid").read_text()), signal.SIGKILL)
            status = process.wait(LIMIT)
        finally:
            process.kill()
    text = (tmp_path / "log").read_text()
    assert status == 0, text
    assert re.search(f"{node}.*down", ask(cluster, "sinfo", "--noheader", "--Node"))
    requeued = len(re.findall("Requeuing JobId", (cluster / "log/slurmctld.log").read_text()))
    expected, found = artefacts(local), artefacts(project)
    differing = [name for name in expected if found.get(name) != expected[name]]
    print(
        f"SLURM: {text.count('has been submitted')} jobs, 1 of 2 nodes killed, {requeued} requeued,"
        f" {len(expected)} artefacts compared, {len(differing)} differing,"
        f" {time.monotonic() - began:.0f} s"
    )
    assert requeued and found.keys() == expected.keys() and not differing
