# One image for the gateway and the workers; docker-compose.yml says which part a container plays.
FROM python:3.11-slim

# An index of CPU-only wheels of torch; the usual one brings several GB of CUDA libraries along.
ARG TORCH_INDEX=""

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    TOCSIN_DATA_DIRECTORY=/var/lib/tocsin TOCSIN_CACHE_DIRECTORY=/var/cache/tocsin

# Named volumes take their owner from these directories.
RUN useradd --uid 10001 --create-home tocsin \
    && install -d -o tocsin -g tocsin /var/lib/tocsin /var/lib/tocsin/reports /var/cache/tocsin

WORKDIR /app
COPY constraints.txt ./
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0

# Editable, so that weights, migrations and templates are read where they lie, as in a checkout.
COPY . .
RUN pip install --constraint constraints.txt --editable ./sdk --editable .

USER tocsin
EXPOSE 8321
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8321/healthz', timeout=3)"]
CMD ["tocsin", "gateway"]
