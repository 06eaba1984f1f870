# The orchestrator with its embedded PostgreSQL, or with yours (ORCHESTRATOR_DATABASE_URL).
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /app
COPY . .
RUN /app/bin/pip install --no-cache-dir .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data orchestrator \
    && install -d -o orchestrator -g orchestrator -m 0700 /data
COPY --from=build /app /app
# No port of a container is reachable until it is published: listening everywhere is safe here.
ENV ORCHESTRATOR_HOST=0.0.0.0 \
    ORCHESTRATOR_DATA_DIR=/data \
    ORCHESTRATOR_LOG_FORMAT=json
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["/app/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/bin/python", "-m", "orchestrator"]
