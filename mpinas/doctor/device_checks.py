"""GPUs and processors of workers: who would run where, and what is in the way. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mpinas.dispatch.devices import MULTI_PROCESS_SERVICE
from mpinas.dispatch.placement import Place, place_all, processor_warnings
from mpinas.dispatch.settings import WorkerSettings
from mpinas.doctor.facts import Card, Facts
from mpinas.doctor.findings import Finding, Level, doubtful, fine, told, wrong
from mpinas.errors import LaunchFault
from mpinas.trial.visible_devices import VISIBLE

LARGEST_USE = 0.25
"""Share of a GPU's memory that others may hold before a trial has to be expected to run out."""


def places_of(
    facts: Mapping[int, Facts], settings: WorkerSettings
) -> tuple[dict[int, Place], list[Finding]]:
    """Where each worker would run its trials, and what is wrong with that.

    Args:
        facts: of the workers that answered, by rank.

    Returns:
        No place where devices do not suffice.
    """
    hellos = {rank: one.hello for rank, one in facts.items()}
    findings: list[Finding] = []
    places: dict[int, Place] = {}
    try:
        places = place_all(hellos, settings)
        findings.append(_devices_finding(places))
    except LaunchFault as error:
        findings += told("devices", Level.WRONG, error.faults)
    warnings = processor_warnings(hellos, settings.threads)
    findings += told("processors", Level.WARN, warnings)
    if not warnings:
        fewest = min((place.share.each for place in places.values()), default=0)
        enough = (
            f"processors: at least {fewest} for each worker, {settings.threads} threads a trial"
        )
        findings += [fine("processors", enough)] if places else []
    return places, findings


def _devices_finding(places: Mapping[int, Place]) -> Finding:
    devices = [place.binding.device for place in places.values()]
    on_gpus = sum(1 for device in devices if device != "cpu")
    if on_gpus == 0:
        return fine("devices", "devices: no GPU, trials run on processors")
    return fine("devices", f"devices: {on_gpus} of {len(devices)} workers on a GPU")


def gpu_findings(
    facts: Mapping[int, Facts], places: Mapping[int, Place], settings: WorkerSettings
) -> Iterator[Finding]:
    """On the cards themselves and who else uses them."""
    for rank, one in facts.items():
        if one.hello.local_rank == 0:
            yield from _node_findings(one, places.get(rank), settings)
            for card in one.cards:
                yield from _card_findings(one.hello.host, card, settings)


def _node_findings(one: Facts, place: Place | None, settings: WorkerSettings) -> Iterator[Finding]:
    hello = one.hello
    if one.service_there is False:
        yield wrong(
            "MPS",
            f"{hello.host} has no multi-process service where the environment says it is",
            f"{MULTI_PROCESS_SERVICE}={hello.environment.get(MULTI_PROCESS_SERVICE)}",
            cure="Start it on the node (nvidia-cuda-mps-control -d), or unset the variable",
        )
    elif one.service_there:
        what = f"MPS: {hello.host} shares its GPUs by the multi-process service"
        left_alone = place is not None and VISIBLE not in place.environment
        names = "is left as it is" if left_alone else "counts among the service's devices"
        yield fine("MPS", f"{what}, so {VISIBLE} {names}")
    hidden = place is not None and place.binding.device == "cpu" and settings.gpus != 0
    if hello.gpus_present and hidden:
        yield doubtful(
            "devices",
            f"{hello.host} has GPUs and its workers see none",
            f"GPUs={hello.gpus_present}, {VISIBLE}={hello.environment.get(VISIBLE, 'unset')!r}",
            cure="Ask the scheduler for them (sbatch --gpus-per-node, bsub -gpu), unset the "
            "variable, or say run.gpus=0 to mean it",
        )


def _card_findings(host: str, card: Card, settings: WorkerSettings) -> Iterator[Finding]:
    where = f"GPU {card.index} ({card.name}) on {host}"
    if card.compute_mode == "Prohibited":
        yield wrong(
            "devices",
            f"{where} admits no process",
            f"compute mode={card.compute_mode}",
            cure="Leave it out of CUDA_VISIBLE_DEVICES, or have its mode reset (nvidia-smi -c 0)",
        )
    if card.compute_mode.startswith("Exclusive") and settings.workers_per_gpu > 1:
        yield wrong(
            "devices",
            f"{where} admits one process at a time",
            f"compute mode={card.compute_mode}, workers_per_gpu={settings.workers_per_gpu}",
            cure="Set run.workers_per_gpu=1, ask for the shared mode (bsub -gpu mode=shared), or "
            "start the multi-process service",
        )
    if card.memory_mb > 0 and card.used_mb > LARGEST_USE * card.memory_mb:
        yield doubtful(
            "devices",
            f"others hold memory of {where}",
            f"used={card.used_mb:.0f} MB of {card.memory_mb:.0f} MB",
            cure="See who does (nvidia-smi) and end what is left of earlier jobs, or set "
            "run.workers_per_gpu so that each trial keeps to its part",
        )
