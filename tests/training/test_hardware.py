"""Memory: the peak of a process, and the limits that apply to it."""

from __future__ import annotations

import mmap

import torch

from pipeline.training import hardware

GIB = 2**30


def test_the_peak_is_the_most_memory_used_since_it_was_reset():
    device = torch.device("cpu")
    before = hardware.used_memory(device)
    with mmap.mmap(-1, 64 * 2**20) as taken:  # what an allocator gives may be memory that it held before
        taken.write(b"x" * len(taken))
    assert hardware.peak_memory(device) >= before + 60 * 2**20
    hardware.reset_peak_memory(device)
    assert hardware.peak_memory(device) < before + 60 * 2**20


def test_the_limits_of_control_groups_of_both_versions_are_found(tmp_path, monkeypatch):
    for name, values in {
        "memory.max": 7 * GIB, "memory.current": 3 * GIB,
        "job/memory.max": "max", "job/memory.current": 2 * GIB,
        "memory/step/memory.limit_in_bytes": 5 * GIB, "memory/step/memory.usage_in_bytes": 4 * GIB,
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{values}\n")
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path)
    read = hardware.Path.read_text
    groups = "0::/job\n4:cpu,memory:/step\n5:devices:/\n"
    monkeypatch.setattr(
        hardware.Path, "read_text", lambda path: groups if str(path) == "/proc/self/cgroup" else read(path)
    )
    assert sorted(hardware._left_in_groups()) == [1 * GIB, 4 * GIB]
