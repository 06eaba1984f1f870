# The orchestrator with its embedded PostgreSQL, or with yours (ORCHESTRATOR_DATABASE_URL), and, as
# the target `demo`, the agents of the demo. tests/e2e/test_image.py carries these steps out.
#
# The base is pinned by its exact version. Who builds for production pins the digest as well.

FROM python:3.13.15-slim-trixie AS build
WORKDIR /src
# Without pip: what is installed cannot install more.
RUN python -m venv --without-pip /app
COPY pyproject.toml setup.py MANIFEST.in README.md ./
COPY sql sql
COPY config config
COPY orchestrator orchestrator
# Wheels only, for ourselves aside: an image never depends on a compiler that happens to be there.
RUN python -m pip --python /app/bin/python install --no-cache-dir --only-binary :all: .

FROM build AS build-demo
RUN python -m pip --python /app/bin/python install --no-cache-dir --only-binary :all: '.[demo]'

FROM python:3.13.15-slim-trixie AS runtime
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip \
    && groupadd --gid 10001 orchestrator \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /data \
        --shell /usr/sbin/nologin orchestrator \
    && install -d -o 10001 -g 10001 -m 0700 /data
# No port of a container is reachable until it is published: listening everywhere is safe here.
ENV ORCHESTRATOR_HOST=0.0.0.0 \
    ORCHESTRATOR_PORT=8000 \
    ORCHESTRATOR_DATA_DIR=/data \
    ORCHESTRATOR_LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
STOPSIGNAL SIGTERM

# -- the demo's agents: docker build --target demo ---------------------------------------------

FROM runtime AS demo
USER 0:0
RUN install -d -o 10001 -g 10001 -m 0700 /output
COPY --from=build-demo /app /app
USER 10001:10001
ENTRYPOINT ["/app/bin/python", "-m"]
CMD ["orchestrator.demo.agents", "reader", "--listen", "0.0.0.0:9000", "--url", "http://demo-reader:9000"]

# -- the orchestrator: what is built unless a target is named ----------------------------------

FROM runtime AS orchestrator
COPY --from=build /app /app
VOLUME /data
EXPOSE 8000
# Not urllib: it would ask a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["/app/bin/python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['ORCHESTRATOR_PORT']), timeout=2); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["/app/bin/python", "-m", "orchestrator"]
