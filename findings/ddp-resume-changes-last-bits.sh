#!/usr/bin/env bash
# Version: torch 2.13.0, gloo, CPU.
# Behaviour: DistributedDataParallel lays out gradients in the order of registration for the first update, and from the
#   second update on in the order in which they became ready. With three or more processes, the position of a gradient
#   in its bucket determines the order in which gloo adds it up. A resumed run wraps its model anew, so its first update
#   is summed in the initial layout, while the uninterrupted run sums the same update in the later one.
# Expected: the same model, optimizer state and batches give the same weights, as they do if nothing is resumed. There
#   is nothing else to restore: the layout is not part of any state_dict.
# Observed:
#   2 processes, default: repeated run equal, resumed run equal
#   2 processes, find_unused_parameters=True: repeated run equal, resumed run equal
#   3 processes, default: repeated run equal, resumed run differs
#   3 processes, find_unused_parameters=True: repeated run equal, resumed run equal
#   With find_unused_parameters=True the initial layout is kept, so a run can be resumed exactly.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6

cat > "$folder/train.py" <<'PYTHON'
import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

torch.set_num_threads(1)
dist.init_process_group("gloo")


def wrapped(saved=None, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    return DistributedDataParallel(model, **options), optimizer


def train(model, optimizer, updates):
    for update in updates:
        generator = torch.Generator().manual_seed(100 * update + dist.get_rank())
        inputs = torch.randn(8, 16, generator=generator)
        loss = nn.functional.mse_loss(model(inputs), inputs.sum(dim=1, keepdim=True).sin())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


def equal(one, other):
    return "equal" if torch.equal(one, other) else "differs"


for name, options in {"default": {}, "find_unused_parameters=True": {"find_unused_parameters": True}}.items():
    whole, repeated = (train(*wrapped(**options), range(6)) for _ in range(2))
    model, optimizer = wrapped(**options)
    train(model, optimizer, range(3))
    saved = copy.deepcopy({"model": model.module.state_dict(), "optimizer": optimizer.state_dict()})
    resumed = train(*wrapped(saved, **options), range(3, 6))
    if dist.get_rank() == 0:
        print(
            f"{dist.get_world_size()} processes, {name}: repeated run {equal(whole, repeated)},"
            f" resumed run {equal(whole, resumed)}",
            flush=True,
        )
dist.destroy_process_group()
PYTHON

export CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 TORCH_CPP_LOG_LEVEL=ERROR
for processes in 2 3; do
    "$folder/venv/bin/torchrun" --standalone --nproc-per-node "$processes" "$folder/train.py"
done | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
2 processes, default: repeated run equal, resumed run equal
2 processes, find_unused_parameters=True: repeated run equal, resumed run equal
3 processes, default: repeated run equal, resumed run differs
3 processes, find_unused_parameters=True: repeated run equal, resumed run equal
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
