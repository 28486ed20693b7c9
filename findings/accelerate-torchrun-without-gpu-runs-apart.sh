#!/usr/bin/env bash
# Version: accelerate 1.15.0, torch 2.13.0.
# Behaviour: if no GPU is visible, the processes that torchrun starts do not form a group. Each Accelerator() believes
#   that it is the only process and the main one, and trains on all of the data, without a warning. `accelerate launch
#   --multi_gpu` does the same. Only Accelerator(cpu=True) or ACCELERATE_USE_CPU=true makes them connect, through gloo;
#   but `accelerate launch --cpu --num_processes 2` sets that variable and then starts a single process.
# Expected: two processes that share the data, or an error. As it is, a node whose driver has failed trains independent
#   copies that overwrite each other's files.
# Observed:
#   torchrun: 2 started; world sizes 1 1; main processes 2; rows read 8 8
#   accelerate launch --multi_gpu: 2 started; world sizes 1 1; main processes 2; rows read 8 8
#   torchrun, ACCELERATE_USE_CPU=true: 2 started; world sizes 2 2; main processes 1; rows read 4 4
#   accelerate launch --cpu: 1 started; world sizes 1; main processes 1; rows read 8
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check accelerate==1.15.0 torch==2.13.0 numpy==2.4.6

cat > "$folder/train.py" <<'PYTHON'
import os
import pathlib
import sys

from accelerate import Accelerator
from torch.utils.data import DataLoader

accelerator = Accelerator()
loader = accelerator.prepare(DataLoader(range(8), batch_size=2))
rows = sum(len(batch) for batch in loader)
said = f"{accelerator.num_processes} {int(accelerator.is_main_process)} {rows}\n"
pathlib.Path(sys.argv[1], str(os.getpid())).write_text(said)
accelerator.end_training()
PYTHON

export CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1
unset ACCELERATE_USE_CPU
calls=0

# look NAME COMMAND...: run the command, and summarise what the processes that it starts report.
look() {
    local name=$1 said=$folder/said.$((++calls))
    shift
    mkdir "$said"
    "$@" "$folder/train.py" "$said"
    cat "$said"/* | awk -v name="$name" '
        { worlds = worlds " " $1; mains += $2; rows = rows " " $3 }
        END { print name ": " NR " started; world sizes" worlds "; main processes " mains "; rows read" rows }
    ' >> "$folder/seen"
}

torchrun=("$folder/venv/bin/torchrun" --standalone --nproc-per-node 2)
launch=("$folder/venv/bin/accelerate" launch --num_processes 2 --num_machines 1)
launch+=(--mixed_precision no --dynamo_backend no)
look "torchrun" "${torchrun[@]}"
look "accelerate launch --multi_gpu" "${launch[@]}" --multi_gpu --main_process_port 0
look "torchrun, ACCELERATE_USE_CPU=true" env ACCELERATE_USE_CPU=true "${torchrun[@]}"
look "accelerate launch --cpu" "${launch[@]}" --cpu
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
torchrun: 2 started; world sizes 1 1; main processes 2; rows read 8 8
accelerate launch --multi_gpu: 2 started; world sizes 1 1; main processes 2; rows read 8 8
torchrun, ACCELERATE_USE_CPU=true: 2 started; world sizes 2 2; main processes 1; rows read 4 4
accelerate launch --cpu: 1 started; world sizes 1; main processes 1; rows read 8
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
