"""Batch scripts: what stands in them, and what is refused before one is printed."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from searching import config_of

from mpinas.errors import UserMustChange
from mpinas.jobs.request import JobRequest
from mpinas.jobs.script import job_script
from mpinas.jobs.template import fill, read_template, schedulers

CHECKOUT = Path(__file__).parents[2]
GOLDEN = CHECKOUT / "tests/golden/jobs"
HOME = Path("/home/ada/search")
REQUEST = JobRequest(
    config=HOME / "cifar10.yaml",
    directory=HOME,
    out=HOME / "runs/cifar10",
    environment=Path("/home/ada/venv"),
)
GPUS = replace(REQUEST, nodes=2, gpus_per_node=4, cpus_per_worker=8, walltime="8:00:00")

SCRIPTS: dict[str, tuple[str, JobRequest]] = {
    "slurm-srun-gpus": (
        "slurm",
        replace(
            GPUS,
            memory_mb=16_000,
            queue="gpu",
            account="phys-42",
            modules=("gcc/13", "cuda/12.4"),
            directives=("--qos=high", "--mail-type=END"),
            overrides=("tuner.generations=12", "trial.precision=mixed_float16"),
        ),
    ),
    "slurm-mpiexec-gpus": ("slurm", replace(GPUS, nodes=3, launcher="mpirun --with-ft ulfm")),
    "slurm-pmix": (
        "slurm",
        replace(REQUEST, nodes=2, workers=3, launcher="srun --mpi=pmix", walltime="2-0"),
    ),
    "slurm-bare": (
        "slurm",
        replace(REQUEST, workers=4, without=("cpus", "requeue", "time", "warning"), walltime="90"),
    ),
    "slurm-none": ("slurm", replace(REQUEST, workers=3, launcher="none", environment=None)),
    "lsf-polus": ("lsf", replace(GPUS, gpus_per_node=2, cpus_per_worker=4, queue="normal")),
    "lsf-compatible": (
        "lsf",
        replace(REQUEST, workers=4, walltime="30", without=("gpu", "requeue", "warning")),
    ),
    "lsf-jsrun": (
        "lsf-jsrun",
        replace(GPUS, gpus_per_node=6, cpus_per_worker=7, account="ABC123"),
    ),
    "local-mpiexec": ("local", replace(REQUEST, workers=2, walltime="45")),
    "local-none": ("local", replace(REQUEST, workers=2, launcher="none")),
}

BSUB_OPTIONS = {
    *("-a", "-alloc_flags", "-app", "-ar", "-B", "-b", "-C", "-c", "-clusters", "-cn_cu"),
    *("-cn_mem", "-core_isolation", "-csm", "-cwd", "-D", "-data", "-datachk", "-datagrp", "-E"),
    *("-Ep", "-e", "-env", "-eo", "-eptl", "-ext", "-F", "-f", "-freq", "-G", "-g", "-gpu", "-H"),
    *("-hl", "-hostfile", "-I", "-Ip", "-IS", "-ISp", "-ISs", "-Is", "-IX", "-i", "-is", "-J"),
    *("-Jd", "-jobaff", "-jsdl", "-jsdl_strict", "-jsm", "-K", "-k", "-L", "-Lp", "-ln_mem"),
    *("-ln_slots", "-M", "-m", "-mig", "-N", "-Ne", "-n", "-nnodes", "-network", "-notify", "-o"),
    *("-oo", "-outdir", "-P", "-p", "-pack", "-ptl", "-Q", "-q", "-R", "-r", "-rcacct", "-rn"),
    *("-rnc", "-S", "-s", "-sla", "-smt", "-sp", "-stage", "-step_cgroup", "-T", "-t", "-ti"),
    *("-tty", "-U", "-u", "-ul", "-v", "-W", "-We", "-w", "-wa", "-wt", "-x", "-XF", "-Zs"),
}
"""Of bsub in the command reference of IBM Spectrum LSF 10.1."""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return config_of(tmp_path_factory.mktemp("config"), "name=cifar10")


def script(name: str, config) -> str:
    scheduler, request = SCRIPTS[name]
    return job_script(scheduler, request, config)


@pytest.mark.parametrize("name", SCRIPTS)
def test_golden(golden, config, name: str) -> None:
    golden(GOLDEN / f"{name}.sh", script(name, config))


def test_every_golden_file_is_of_a_script() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(SCRIPTS)
    assert {scheduler for scheduler, _ in SCRIPTS.values()} == set(schedulers())


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shell_can_read_it(config, name: str) -> None:
    text = script(name, config)
    read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")
    assert "{{" not in text


def directives(text: str, mark: str) -> list[list[str]]:
    """The words of each directive; those behind the first command do not count."""
    found = []
    for line in text.splitlines():
        if line.startswith(f"#{mark} "):
            found.append(shlex.split(line.removeprefix(f"#{mark} ")))
        elif line and not line.startswith("#"):
            break
    assert len(found) == text.count(f"#{mark} "), "a scheduler stops reading at the first command"
    return found


@pytest.mark.parametrize("name", [name for name, (kind, _) in SCRIPTS.items() if "lsf" in kind])
def test_directives_of_lsf_are_in_the_reference(config, name: str) -> None:
    for words in directives(script(name, config), "BSUB"):
        assert BSUB_OPTIONS.issuperset(word for word in words if word.startswith("-")), words


def test_a_compatible_scheduler_gets_what_it_knows(config) -> None:
    first = {words[0] for words in directives(script("lsf-compatible", config), "BSUB")}
    assert first == {"-J", "-o", "-n", "-R", "-W", "-r"}


@pytest.mark.parametrize("name", [name for name, (kind, _) in SCRIPTS.items() if kind == "slurm"])
def test_directives_of_slurm_name_each_option_once(config, name: str) -> None:
    options = [words[0].partition("=")[0] for words in directives(script(name, config), "SBATCH")]
    assert len(set(options)) == len(options)
    assert all(option.startswith("--") for option in options)


@pytest.mark.parametrize(
    ("launcher", "directive"),
    [("srun --mpi=pmix", "--signal=USR1@120"), ("mpiexec", "--signal=B:USR1@120")],
)
def test_slurm_signals_whoever_the_ranks_get_it_from(config, launcher: str, directive: str) -> None:
    text = job_script("slurm", replace(GPUS, launcher=launcher), config)
    assert [directive] in directives(text, "SBATCH")


@pytest.mark.parametrize(
    ("walltime", "overrides", "signal_s", "warning"),
    [
        ("8:00:00", (), 120, "2"),
        ("8:00:00", ("run.grace_s=300.0",), 390, "7"),
        ("2:00", (), 60, "1"),
        ("1", (), 30, None),
        (None, (), 120, "2"),
    ],
)
def test_the_warning_leaves_time_to_save_and_time_to_work(
    tmp_path: Path, walltime, overrides, signal_s: int, warning: str | None
) -> None:
    config = config_of(tmp_path, *overrides)
    request = replace(REQUEST, workers=2, walltime=walltime)
    assert f"#SBATCH --signal=USR1@{signal_s}\n" in job_script("slurm", request, config)
    found = re.findall("-wt '(.*)'", job_script("lsf", request, config))
    assert found == ([] if warning is None else [warning])


def test_walltime_in_the_words_of_each(config) -> None:
    request = replace(REQUEST, workers=2, walltime="1-2:03:04")
    assert "#SBATCH --time=1-02:03:04\n" in job_script("slurm", request, config)
    lsf = job_script("lsf", request, config)
    assert f"#BSUB -W {26 * 60 + 4}\n" in lsf
    assert "program+=(--walltime 1-02:03:04)\n" in lsf
    assert "program+=(--walltime 1-02:03:04)\n" in job_script("slurm", request, config)
    none = replace(REQUEST, workers=2)
    assert "--walltime" not in job_script("slurm", none, config)


def test_a_launcher_is_known_by_its_name_wherever_it_stands(config) -> None:
    request = replace(REQUEST, nodes=2, workers=4, launcher="/opt/slurm/bin/srun --mpi=pmi2")
    script = job_script("slurm", request, config)
    assert "#SBATCH --signal=USR1@" in script
    assert "--bind-to" not in script
    bound = replace(REQUEST, workers=4, launcher="mpirun --bind-to=core")
    assert "launch=(mpirun --bind-to=core)\n" in job_script("slurm", bound, config)


def test_walltime_of_the_configuration_counts(tmp_path: Path) -> None:
    config = config_of(tmp_path, "run.walltime=3:00:00")
    assert "#SBATCH --time=03:00:00\n" in job_script("slurm", REQUEST, config)


@pytest.mark.parametrize(
    ("nodes", "gpus", "workers", "per_gpu", "ranks"),
    [
        (3, 4, None, 1, [5, 4, 4]),
        (2, 2, None, 2, [5, 4]),
        (3, 0, 7, 1, [4, 2, 2]),
        (2, 0, 2, 1, [2, 1]),
    ],
)
def test_one_rank_more_than_workers_on_the_first_node(
    tmp_path: Path, nodes: int, gpus: int, workers: int | None, per_gpu: int, ranks: list[int]
) -> None:
    config = config_of(tmp_path, f"run.workers_per_gpu={per_gpu}")
    request = replace(REQUEST, nodes=nodes, gpus_per_node=gpus, workers=workers, launcher="mpiexec")
    text = job_script("slurm", request, config)
    assert f"ranks=({' '.join(map(str, ranks))})\n" in text
    assert f"all_ranks={sum(ranks)}\n" in text
    assert [f"--ntasks-per-node={ranks[0]}"] in directives(text, "SBATCH")
    lsf = job_script("lsf", replace(request, cpus_per_worker=3), config)
    cores = (ranks[0] - 1) * 3 + 1
    assert ["-n", str(nodes * cores)] in directives(lsf, "BSUB")
    assert ["-R", f"span[ptile={cores}]"] in directives(lsf, "BSUB")


def test_no_rank_of_slurm_takes_a_gpu_for_itself(config) -> None:
    text = job_script("slurm", GPUS, config)
    assert ["--gres=gpu:4"] in directives(text, "SBATCH")
    assert "per-task" not in text.replace("cpus-per-task", "")


def test_resource_file_of_jsrun_gives_each_worker_a_gpu_and_its_cores(config) -> None:
    lines = re.findall(r"^rank: .*", script("lsf-jsrun", config), re.MULTILINE)
    assert len(lines) == 13
    assert "gpu" not in lines[0]
    taken = set()
    for rank, line in enumerate(lines[1:], start=1):
        match = re.fullmatch(
            rf"rank: {rank}: {{ host: (\d); cpu: {{(\d+)-(\d+)}}; gpu: {{(\d)}} }}", line
        )
        assert match, line
        host, first, last, gpu = map(int, match.groups())
        assert last - first + 1 == 7 * 4
        taken |= {(host, "gpu", gpu), *((host, "thread", cpu) for cpu in range(first, last + 1))}
    assert len(taken) == 12 * (1 + 28)


HOSTILE = ("a b", "it's", 'say "hi"', "$(touch pwned)", "`touch pwned`", "a;b", "#c", "{{nodes}}")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_user_writes_stays_one_word(tmp_path: Path, config, text: str) -> None:
    """The script is run with a Python that writes down its arguments."""
    folder = tmp_path / text
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/activate").write_text("")
    python = folder / "python"
    python.write_text('#!/bin/bash\nprintf "%s\\n" "$@" >"$RECORD"\n')
    python.chmod(0o755)
    request = JobRequest(
        config=folder / "search.yaml",
        directory=folder,
        out=folder / "out",
        overrides=(f"name={text}",),
        workers=1,
        launcher="none",
        python=str(python),
    )
    environment = {"PATH": "/usr/bin:/bin", "RECORD": str(tmp_path / "record")}
    for asked in (request, replace(request, environment=folder)):
        # With an environment, `python` is the first on the PATH.
        path = f"{folder}:{environment['PATH']}" if asked.environment else environment["PATH"]
        subprocess.run(
            ["bash"],
            input=job_script("local", asked, config),
            env={**environment, "PATH": path},
            cwd=tmp_path,
            text=True,
            check=True,
        )
        given = (tmp_path / "record").read_text().splitlines()
        assert given == [
            *("-m", "mpinas", "run", str(folder / "search.yaml"), "--out", str(folder / "out")),
            *("--set", f"name={text}", "--workers", "1"),
        ]
        (tmp_path / "record").unlink()
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("field", ["config", "directory", "out", "environment"])
@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\u2028", "\x1b"])
def test_control_characters_are_refused_in_paths(config, field: str, character: str) -> None:
    request = replace(REQUEST, **{field: Path(f"/home/a{character}b")})
    with pytest.raises(UserMustChange, match="characters that no script can hold"):
        job_script("slurm", request, config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"queue": "a\n#SBATCH --x"}, "--queue: has characters"),
        ({"queue": "it's"}, "--queue: not a value for a directive"),
        ({"account": ""}, "--account: not a value"),
        ({"job_name": "-x"}, "--job-name: not a value"),
        ({"job_name": "a # b"}, "--job-name: not a value"),
        ({"modules": ("a\nb",)}, "--module: has characters"),
        ({"overrides": ("a=1\nrm -r .",)}, "--set: has characters"),
        ({"directives": ("qos=high",)}, "--directive: a directive begins with a dash"),
        ({"directives": ("--x\n",)}, "--directive: has characters"),
        ({"walltime": "soon"}, "--walltime: walltime is minutes"),
        ({"workers": 3, "gpus_per_node": 1}, "--workers: with GPUs each GPU has its workers"),
        ({"workers": 3, "nodes": 4}, "--workers: fewer workers than nodes"),
        ({"launcher": "jsrun"}, "--launcher: not a launcher for slurm. Received: 'jsrun'. Allowed"),
        ({"launcher": ""}, "--launcher: not a launcher"),
        ({"launcher": "mpiexec 'x"}, "--launcher: not a launcher"),
        ({"launcher": "none", "nodes": 2}, "--nodes: --launcher none is for one node"),
        ({"without": ("memry",)}, "unknown part of slurm 'memry'. Did you mean 'memory'?"),
    ],
)
def test_refused_in_one_line(config, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserMustChange) as refused:
        job_script("slurm", replace(REQUEST, **changes), config)
    assert words in str(refused.value)
    assert all("\n" not in line for line in refused.value.faults)


def test_all_faults_at_once(config) -> None:
    with pytest.raises(UserMustChange) as refused:
        job_script("slurm", replace(REQUEST, queue="", account="", walltime="x"), config)
    assert len(refused.value.faults) == 3


@pytest.mark.parametrize(
    ("scheduler", "changes", "words"),
    [
        ("lsf", {"memory_mb": 100}, "--memory-mb: has no place in a script for lsf"),
        ("local", {"queue": "q"}, "--queue: has no place"),
        ("local", {"nodes": 2}, "--nodes: local is for one node"),
        ("lsf-jsrun", {"launcher": "mpiexec"}, "not a launcher for lsf-jsrun"),
        ("slrum", {}, "unknown scheduler 'slrum'. Did you mean 'slurm'?"),
    ],
)
def test_what_a_scheduler_has_no_place_for(
    config, scheduler: str, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UserMustChange, match=re.escape(words)):
        job_script(scheduler, replace(REQUEST, **changes), config)


def test_more_gpus_than_the_configuration_uses(tmp_path: Path) -> None:
    with pytest.raises(UserMustChange, match=r"gpus_per_node=4, run\.gpus=2"):
        job_script("slurm", GPUS, config_of(tmp_path, "run.gpus=2"))


def template(folder: Path, text: str):
    (folder / "parts").mkdir()
    (folder / "parts/tail.sh").write_text("tail {{b}}\n")
    (folder / "parts/loop.sh").write_text("{{include loop}}\n")
    (folder / "parts/bad.sh").write_text("fine\n{{c}}\n")
    (folder / "mine.sh").write_text(f"{text}#: launchers: none\n")
    return read_template("mine", folder)


VALUES = {"a": 1, "b": "x", "no": None, "many": ("p", "q"), "none": ()}


def test_lines_come_and_go(tmp_path: Path) -> None:
    mine = template(
        tmp_path,
        "#: submit: push\n#: without: gpu\n"
        "{{a}} {{b}}\nno {{no}}\n{{gpu?}}gpu\n{{gpu!}}cpu\n{{no!}}without no\n"
        "{{a?}}{{gpu?}}both\n-m {{many}}\n-m {{none}}\n"
        "{{a?}}{{include tail}}\n{{no?}}{{include tail}}\n",
    )
    assert mine.settings == {"submit": ("push",), "without": ("gpu",), "launchers": ("none",)}
    text = "1 x\ngpu\nwithout no\nboth\n-m p\n-m q\ntail x\n"
    assert fill(mine, VALUES, ()) == text
    assert fill(mine, VALUES, ("gpu",)) == text.replace("gpu\n", "cpu\n").replace("both\n", "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{{c}}", "mine.sh, line 1: unknown blank 'c'"),
        ("{{no}} {{c}}", "unknown blank 'c'"),
        ("{{a!}}{{c}}", "unknown blank 'c'"),
        ("{{ a }}", "not a blank"),
        ("{{a}", "not a blank"),
        ("a}} {{a}}", "not a blank"),
        ("text {{a?}}", "not a blank"),
        ("{{include tail}} and", "not a blank"),
        ("{{include nosuch}}", "mine.sh, line 1: unknown part 'nosuch'. Known: bad, loop, tail."),
        ("{{a?}}{{include tial}}", "Did you mean 'tail'?"),
        ("{{include loop}}", "parts/loop.sh, line 1: a part includes itself"),
        ("{{include bad}}", "parts/bad.sh, line 2: unknown blank 'c'"),
        ("{{gqu?}}x", "mine.sh, line 1: unknown condition 'gqu'"),
        ("{{maney!}}x", "Did you mean 'many'?"),
        ("#: without: gpu", "mine.sh: no line has the condition of what may be left out"),
        ("#: without: a\n{{a?}}x", "mine.sh: a blank is no part to leave out"),
        ("#: wihtout: gpu\n{{gpu?}}x", "mine.sh, line 1: unknown setting 'wihtout'"),
    ],
)
def test_a_blank_that_is_unknown_or_left_over(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(UserMustChange, match=re.escape(words)):
        fill(template(tmp_path, f"{line}\n"), VALUES, ())


def test_a_template_without_a_launcher(tmp_path: Path) -> None:
    (tmp_path / "mine.sh").write_text("#: submit: push\n")
    with pytest.raises(UserMustChange, match=r"mine\.sh: a template names the launchers that fit"):
        read_template("mine", tmp_path)


@pytest.mark.parametrize("scheduler", schedulers())
def test_only_what_is_there_for_users_can_be_left_out(config, scheduler: str) -> None:
    """Not what a template has for itself, as whether srun starts the ranks."""
    template = read_template(scheduler)
    inner = template.conditions().difference(template.optional())
    assert "by_srun" in inner
    for name in (*sorted(inner), "workers"):
        with pytest.raises(UserMustChange, match=f"unknown part of {scheduler} '{name}'"):
            job_script(scheduler, replace(REQUEST, workers=2, without=(name,)), config)


def all_scripts(config) -> Iterator[tuple[str, str]]:
    """Each template with each launcher, with and without GPUs, whole and without each part."""
    for scheduler in schedulers():
        template = read_template(scheduler)
        for launcher, gpus in itertools.product(template.settings["launchers"], (0, 2)):
            one_node = launcher == "none" or "nodes" in template.settings
            request = replace(
                REQUEST,
                **({"gpus_per_node": gpus} if gpus else {"workers": 3}),
                nodes=1 if one_node else 2,
                launcher=launcher,
                walltime="90",
                modules=("gcc",),
            )
            for left_out in ((), template.optional(), *((one,) for one in template.optional())):
                text = job_script(scheduler, replace(request, without=left_out), config)
                yield f"{scheduler} {launcher} {gpus} {left_out}", text


def test_the_shell_can_read_whatever_is_left_out(config, tmp_path: Path) -> None:
    for number, (name, text) in enumerate(all_scripts(config)):
        (tmp_path / f"{number}.sh").write_text(text)
        assert "{{" not in text, name
        assert ("launch+=(-n " in text) == (" none " not in name and "jsrun" not in name), name
    assert number > 50
    reader = "for file in *.sh; do bash -n $file || exit 1; done"
    subprocess.run(["bash", "-c", reader], cwd=tmp_path, check=True)


@pytest.mark.parametrize(("per_gpu", "shared"), [(1, False), (2, True)])
def test_jsrun_is_told_where_workers_share_gpus(tmp_path: Path, per_gpu: int, shared: bool) -> None:
    """A GPU in two resource sets is an error unless the file allows it."""
    config = config_of(tmp_path, f"run.workers_per_gpu={per_gpu}")
    text = job_script("lsf-jsrun", replace(GPUS, gpus_per_node=6), config)
    of_gpus = re.findall(r"^rank: .* host: (\d);.*; gpu: \{(\d)\}", text, re.MULTILINE)
    assert Counter(Counter(of_gpus).values()) == {per_gpu: 12}
    assert ("oversubscribe_gpu: allow\n" in text) == shared
