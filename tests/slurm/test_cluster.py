"""The cluster of the tests itself: it ends what it started, and stands beside another one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cluster import Cluster

DEAF = """#!/bin/bash
#SBATCH --nodes=2 --ntasks=2 --time=5
trap '' TERM
echo started > started
srun bash -c "trap '' TERM; sleep 300"
"""


def test_two_clusters_stand_beside_each_other_and_leave_nothing(cluster: Cluster) -> None:
    with tempfile.TemporaryDirectory(prefix="mpinas-slurm-") as folder:
        script = Path(folder) / "deaf.sh"
        script.write_text(DEAF)
        other = Cluster(Path(folder))
        with other:
            job_id = other.submit(script, {})
            other.wait_for(job_id, lambda job: (Path(folder) / "started").exists(), 60)
            assert other.leftovers()
            assert cluster.command("squeue", "--noheader") == ""
        assert other.leftovers() == []
    assert cluster.command("sinfo", "--noheader", "--format=%T") == "idle\n"
