# The service and its models: no PyTorch, no compiler, no pip among its packages, not root.
# Pin the base by digest where builds must repeat: docker build --build-arg PYTHON_IMAGE=python:3.13-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
# EXTRAS=[telemetry] adds what sends traces.
ARG EXTRAS=
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN python -m pip install --no-cache-dir --constraint constraints.txt pip \
 && python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install --no-cache-dir \
      --constraint constraints.txt --build-constraint constraints.txt --only-deps ".${EXTRAS}"

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="LatentServe" \
      org.opencontainers.image.description="The latent space of VAEs and GANs over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LATENTSERVE_HOST=0.0.0.0
WORKDIR /srv/latentserve
COPY --from=builder /opt/venv /opt/venv
COPY LICENSE ./
COPY app ./app
COPY models ./models
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Raises, and so fails, on anything but a 2xx: /readyz is 503 while no model is served and while draining.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('LATENTSERVE_PORT', '8000')}/readyz\", timeout=4)"]
CMD ["python", "-m", "app"]
