"""What many GPUs would cost: calculated, not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.common import RowsOfTable


@dataclass(frozen=True)
class Cluster:
    """What is assumed about the machines: the data sheet of a DGX H100, with the share of each peak that is reached.

    Attributes:
        flops: bf16 FLOP/s that a GPU reaches (40 % of 989e12). memory: bytes of a GPU.
        inside: bytes/s between GPUs of a node, each way (NVLink 4, 450e9, half reached).
        outside: bytes/s of a GPU's share of the network (400 Gbit/s InfiniBand, 50e9, 80 % reached).
        hop: seconds of latency of a step of a ring between nodes. per_node: GPUs in a node.
        overlap: share of the computation that can hide communication.
    """

    flops: float = 0.4 * 989e12
    memory: float = 80e9
    inside: float = 225e9
    outside: float = 40e9
    hop: float = 10e-6
    per_node: int = 8
    overlap: float = 0.8


@dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        units: blocks that FSDP gathers in turn.
        tokens: of an update, on each GPU.
        activations: bytes per token; without recomputation 34 bytes x hidden size x layers (Korthikanti et al. 2022,
            section 4.1, less the attention scores that fused kernels never store).
    """

    name: str
    parameters: float
    units: int
    tokens: int
    activations: float


JOBS = (
    Job("MiniLM, 32 x 128 tokens a GPU", 22.7e6, 6, 32 * 128, 34 * 384 * 6),
    Job("BERT-base, 32 x 128", 110e6, 12, 32 * 128, 34 * 768 * 12),
    Job("GPT-2 XL, 8 x 1,024", 1.56e9, 48, 8 * 1024, 34 * 1600 * 48),
    Job("7 billion, 2 x 2,048", 7e9, 32, 2 * 2048, 34 * 4096 * 32),
)
WORLDS = (1, 8, 64, 256, 1024)
# Bytes per parameter, replicated on each GPU and sharded over all. All are float32, as bf16 is autocast here. With
# ZeRO-2, gradients stay full until the update ends, and each GPU has the weights and gradients of its part twice.
WEIGHTS, GRADIENTS, MOMENTS = 4, 4, 8
STATE = {
    "ddp": (WEIGHTS + GRADIENTS + MOMENTS, 0),
    "zero2": (WEIGHTS + GRADIENTS, WEIGHTS + GRADIENTS + MOMENTS),
    "fsdp": (0, WEIGHTS + GRADIENTS + MOMENTS),
}
# Bytes per parameter of autocast's bf16 copies, which the backward pass needs again: full on each GPU, sharded or not.
COPIES = 2


def cluster(pairs: int) -> RowsOfTable:
    """Calculated time of an update (DDP, FSDP) and memory of a GPU (ZeRO-2 as well); `pairs` is not used."""
    return [_modelled(job, world, Cluster()) for job in JOBS for world in WORLDS]


def assumptions() -> str:
    """The assumptions behind the results of `cluster`."""
    m = Cluster()
    return (
        f"Assumed, not measured: a GPU of {m.memory / 1e9:.0f} GB reaches {m.flops / 1e12:.0f} TFLOP/s in bf16; links"
        f" of {m.inside / 1e9:.0f} GB/s between the {m.per_node} GPUs of a node and {m.outside / 1e9:.0f} GB/s for each"
        f" between nodes; {1e6 * m.hop:.0f} us a hop; {m.overlap:.0%} of computing hides exchanges; float32 weights,"
        f" gradients and moments ({sum(STATE['ddp'])} bytes a parameter) and autocast's copies in bf16 ({COPIES}); no"
        " recomputed activations, and no logits over a vocabulary; the rows of a GPU stay the same, so an update grows"
        " with the GPUs; rings: NCCL's trees need fewer hops on many nodes."
    )


def _modelled(job: Job, world: int, machines: Cluster) -> dict[str, Any]:
    seconds = {kind: update_seconds(job, world, kind, machines) for kind in ("ddp", "fsdp")}
    alone = compute_seconds(job, machines)
    memory = {kind: gpu_bytes(job, world, kind) for kind in STATE}
    return {
        "model": job.name,
        "GPUs": world,
        **{f"{kind} ms": 1e3 * value for kind, value in seconds.items()},
        **{f"{kind} efficiency": alone / value for kind, value in seconds.items()},
        **{f"{kind} GB": value / 1e9 for kind, value in memory.items()},
        "breaks first": breaks_first(job, world, machines),
    }


def compute_seconds(job: Job, machines: Cluster) -> float:
    """6 FLOPs per parameter and token (Kaplan et al. 2020, section 2.1): a third forward, two thirds backward."""
    return 6 * job.parameters * job.tokens / machines.flops


def ring_seconds(size: float, world: int, machines: Cluster) -> float:
    """Time of a reduce-scatter or an all-gather of `size` bytes (Thakur et al. 2005, section 4.1).

    A ring in each node comes first, then, for each GPU's part, a ring across nodes, whose pieces take nodes - 1 hops.
    """
    local = min(world, machines.per_node)
    nodes = world // local
    inside = size * (local - 1) / local / machines.inside
    return inside + size / local * (nodes - 1) / nodes / machines.outside + (nodes - 1) * machines.hop


def update_seconds(job: Job, world: int, kind: str, machines: Cluster) -> float:
    """Time of an update, where communication hides behind `overlap` of the computation that runs at the same time.

    DDP reduces gradients once (reduce-scatter and all-gather) during the backward pass. FSDP gathers the weights in the
    forward and in the backward pass and scatters the gradients, unit by unit, so hops count for each unit.
    """
    compute = compute_seconds(job, machines)
    if world == 1:
        return compute
    size = 4 * job.parameters
    if kind == "ddp":
        return compute + max(0.0, 2 * ring_seconds(size, world, machines) - machines.overlap * compute * 2 / 3)
    exchange = 3 * job.units * ring_seconds(size / job.units, world, machines)
    return compute + max(0.0, exchange - machines.overlap * compute)


def gpu_bytes(job: Job, world: int, kind: str) -> float:
    """Peak memory of an update of several micro-batches: all gradients, and the activations of the last one.

    FSDP holds two gathered units, the current and the next, and the full gradients of one.
    """
    whole, shared = STATE[kind if world > 1 else "ddp"]
    gathered = (2 * WEIGHTS + GRADIENTS) / job.units if kind == "fsdp" and world > 1 else 0
    return job.parameters * (whole + shared / world + gathered + COPIES) + job.tokens * job.activations


def breaks_first(job: Job, world: int, machines: Cluster) -> str:
    """What keeps the faster of DDP and FSDP below 90 % efficiency on `world` GPUs."""
    fits = [kind for kind in ("ddp", "fsdp") if gpu_bytes(job, world, kind) < 0.9 * machines.memory]
    if not fits:
        return "memory: recompute activations, fewer rows"
    best = min(fits, key=lambda kind: update_seconds(job, world, kind, machines))
    if compute_seconds(job, machines) / update_seconds(job, world, best, machines) >= 0.9:
        return "nothing" if len(fits) == 2 else "memory of ddp: fsdp"
    nodes = world / machines.per_node
    hops = (2 if best == "ddp" else 3 * job.units) * max(0.0, nodes - 1) * machines.hop
    exposed = update_seconds(job, world, best, machines) - compute_seconds(job, machines)
    return "hops of the ring: larger updates" if hops > exposed / 2 else "the link: more tokens a GPU, accumulation"
