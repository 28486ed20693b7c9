# An image with the pinned environment and the recipes, for machines with or without GPUs:
#
#     docker build --tag finetune .
#     docker run --gpus all --shm-size 8g --volume "$PWD/runs:/work/runs" finetune run recipes/sentiment_bert.py
#
# torch's wheels include CUDA; the host needs the NVIDIA driver and the NVIDIA Container Toolkit.
FROM python:3.11-slim-bookworm

# torch.compile needs a C compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/finetune
# Install the dependencies first, so that a change to the code does not reinstall torch.
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt hatchling setuptools torch transformers datasets accelerate
COPY pyproject.toml README.md LICENSE ./
COPY pipeline ./pipeline
RUN pip install --no-cache-dir --constraint constraints.txt --no-build-isolation --use-pep517 '.[samples,lora,tensorboard]'

# Runs, logs and caches are written to /work, where a volume can hold them.
WORKDIR /work
COPY recipes ./recipes
COPY scripts ./scripts
RUN chmod 1777 /work
ENV HF_HOME=/work/.cache/huggingface FINETUNE_CACHE=/work/.cache/finetune PYTHONUNBUFFERED=1
ENTRYPOINT ["finetune"]
CMD ["--help"]
