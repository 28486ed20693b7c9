#!/usr/bin/env bash
# Downloads what a recipe needs for nodes without network. Run it on a login node; all nodes must see FOLDER.
#
#     scripts/slurm/fetch.sh recipes/ner_bert.py fetched/ner-bert [settings]
#
# FOLDER gets its own recipe.json. Anything that a job would miss is reported here, before you submit it.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: scripts/slurm/fetch.sh RECIPE FOLDER [settings]" >&2; exit 2; }
recipe=$1 folder=$2
shift 2
# PYTHON may be several words.
if [ -z "${PYTHON:-}" ]; then PYTHON=python3; [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python; fi
# shellcheck disable=SC2086
$PYTHON -m pipeline fetch "$recipe" --to "$folder" "$@"
# The doctor loads data, tokenizer and model as a run does, and fills the cache of encoded data that the jobs use.
# shellcheck disable=SC2086
HF_HUB_OFFLINE=1 FINETUNE_CACHE=${FINETUNE_CACHE:-$PWD/.cache/finetune} $PYTHON -m pipeline doctor "$folder/recipe.json"
echo "submit it: HF_HUB_OFFLINE=1 sbatch --nodes 1 --gpus-per-node 1 $(dirname "$0")/train.sbatch $folder/recipe.json"
