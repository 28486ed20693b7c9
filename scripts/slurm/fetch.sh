#!/usr/bin/env bash
# For nodes without network: gathers on a login node all that a recipe names, into a folder that the nodes see.
#
#     scripts/slurm/fetch.sh recipes/ner_bert.py fetched/ner-bert [settings]
#
# The folder holds its own recipe.json; what a job of it would miss is told here, not in the queue.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: scripts/slurm/fetch.sh RECIPE FOLDER [settings]" >&2; exit 2; }
recipe=$1 folder=$2
shift 2
# PYTHON may be several words.
if [ -z "${PYTHON:-}" ]; then PYTHON=python3; [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python; fi
# shellcheck disable=SC2086
$PYTHON -m pipeline fetch "$recipe" --to "$folder" "$@"
# The doctor reads data, tokenizer and model as a run does, and leaves the encoded data in the cache that jobs look into.
# shellcheck disable=SC2086
HF_HUB_OFFLINE=1 FINETUNE_CACHE=${FINETUNE_CACHE:-$PWD/.cache/finetune} $PYTHON -m pipeline doctor "$folder/recipe.json"
echo "now: HF_HUB_OFFLINE=1 sbatch --nodes 1 --gpus-per-node 1 $(dirname "$0")/train.sbatch $folder/recipe.json"
