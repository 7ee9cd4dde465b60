# Images of the operator, of the runtime pods, and of the simulator (with its receiver) for demos and tests:
#
#   docker build --target runtime -t ghcr.io/discord-gateway/discord-gateway-runtime:0.1.0 .
#
# needs a network for the wheels of requirements.lock. Without one, put the wheels (the project's own too) into wheels/
# beforehand; e2e/images.sh does that with pip on the host, and sets BASE_IMAGE where no registry can be reached.
# An image holds only what its extra in pyproject.toml asks for: no Kubernetes client in the runtime.
#
# The same sources make the same files: the base is pinned, wheels by hash, and compiled modules carry the hash of their
# source instead of a time. For the same layers too, build with times rewritten:
#   docker buildx build --build-arg SOURCE_DATE_EPOCH=1767225600 --output type=image,rewrite-timestamp=true …
ARG BASE_IMAGE=docker.io/library/python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# What all images stand on: nothing in it lets a process become another user, and only /tmp is open to everybody.
FROM ${BASE_IMAGE} AS base
RUN find / -xdev \( -perm /6000 -o -perm -0002 \) ! -type l ! -path /tmp -exec chmod ug-s,o-w {} +

FROM ${BASE_IMAGE} AS wheels
ARG SOURCE_DATE_EPOCH=1767225600
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python -m venv /opt/pip
COPY requirements.lock wheels* wheels/
RUN ls wheels/*.whl >/dev/null 2>&1 \
    || /opt/pip/bin/pip download --no-deps --require-hashes --only-binary :all: -r wheels/requirements.lock -d wheels
COPY pyproject.toml .
COPY scripts/image/sbom.py .
# an environment for each extra, and the project in a folder beside them: when only the project changes, so does only
# that small layer of an image
RUN mkdir /opt/sbom && version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1) \
    && for extra in operator runtime simulator; do \
      python -c "import sys, tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies'][sys.argv[1]], sep='\n')" $extra >$extra.txt \
      && python -m venv --without-pip /opt/$extra \
      && /opt/pip/bin/pip --python /opt/$extra/bin/python install --no-compile --no-cache-dir --no-index --find-links wheels -r $extra.txt \
      && site=$(echo /opt/$extra/lib/python3.*/site-packages) \
      && echo /opt/project >$site/project.pth \
      && python -m compileall -q --invalidation-mode unchecked-hash $site \
      && python sbom.py --name discord-gateway-$extra --version "$version" --site $site --dpkg /var/lib/dpkg/status >/opt/sbom/$extra.cdx.json || exit 1; \
    done
COPY . .
RUN ls project/*.whl >/dev/null 2>&1 || /opt/pip/bin/pip wheel --no-deps -w project . \
    && /opt/pip/bin/pip install --no-compile --no-cache-dir --no-index --no-deps --target /opt/project project/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/project

# The control plane.
FROM base AS operator
COPY --from=wheels /opt/operator /opt/operator
COPY --from=wheels /opt/sbom/operator.cdx.json /usr/share/sbom/
COPY --from=wheels /opt/project /opt/project
ENV PATH=/opt/operator/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python", "-m", "gateway_operator"]

# Discord for tests and demos; its receiver is `python -m discord_simulator.receiver`.
FROM base AS simulator
COPY --from=wheels /opt/simulator /opt/simulator
COPY --from=wheels /opt/sbom/simulator.cdx.json /usr/share/sbom/
COPY --from=wheels /opt/project /opt/project
ENV PATH=/opt/simulator/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python", "-m", "discord_simulator"]

# One pod of a generation. Last, so it is what a build without a target makes.
FROM base AS runtime
COPY --from=wheels /opt/runtime /opt/runtime
COPY --from=wheels /opt/sbom/runtime.cdx.json /usr/share/sbom/
COPY --from=wheels /opt/project /opt/project
RUN install -d -o 65532 -g 65532 /var/lib/discord-gateway
ENV PATH=/opt/runtime/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python", "-m", "shard_runtime"]
