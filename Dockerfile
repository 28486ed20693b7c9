# The pinned environment with the recipes in it, on GPUs or without:
#
#     docker build --tag finetune .
#     docker run --gpus all --shm-size 8g --volume "$PWD/runs:/work/runs" finetune run recipes/sentiment_bert.py
#
# torch's wheels bring CUDA along; the host needs the driver and NVIDIA's container toolkit.
FROM python:3.11-slim-bookworm

# Compiles what torch.compile generates; nothing else here needs it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/finetune
# What changes seldom comes first, so that a change of the code does not install torch again.
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt torch transformers datasets accelerate
COPY pyproject.toml README.md LICENSE ./
COPY pipeline ./pipeline
RUN pip install --no-cache-dir --constraint constraints.txt '.[samples,lora,tensorboard]'

# Runs, logs and caches are written to where the container is started, not into it.
WORKDIR /work
COPY recipes ./recipes
COPY scripts ./scripts
RUN chmod 1777 /work
ENV HF_HOME=/work/.cache/huggingface FINETUNE_CACHE=/work/.cache/finetune PYTHONUNBUFFERED=1
ENTRYPOINT ["finetune"]
CMD ["--help"]
