# Two images from one file: the gateway (the default) and, with --target operator, the operator.
# Neither needs to write anywhere but in /data, so both run with a read-only root file system.

ARG BASE=python:3.13-slim

# The project's own wheel, the same for both.
FROM ${BASE} AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements requirements
RUN pip install --require-hashes --no-deps --only-binary :all: -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY gateway gateway
COPY operator operator
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

# One environment each: what its lock pins, the wheel, bytecode compiled ahead, and no pip.
FROM wheel AS gateway-environment
RUN python -m venv --without-pip /opt/pannier \
 && pip --python /opt/pannier/bin/python install --require-hashes --no-deps --only-binary :all: \
        -r requirements/gateway.lock \
 && pip --python /opt/pannier/bin/python install --no-deps --no-index /wheels/*.whl

FROM wheel AS operator-environment
RUN python -m venv --without-pip /opt/pannier \
 && pip --python /opt/pannier/bin/python install --require-hashes --no-deps --only-binary :all: \
        -r requirements/operator.lock \
 && pip --python /opt/pannier/bin/python install --no-deps --no-index /wheels/*.whl

# What both images are: the base, an unprivileged user, nothing that builds.
FROM ${BASE} AS runtime
ENV PATH=/opt/pannier/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN install --directory --owner=65532 --group=65532 --mode=0750 /data
WORKDIR /data
USER 65532:65532

FROM runtime AS operator
COPY --from=operator-environment /opt/pannier /opt/pannier
ENTRYPOINT ["python", "-m", "pannier_operator"]

FROM runtime AS gateway
COPY --from=gateway-environment /opt/pannier /opt/pannier
ENV PANNIER_DATA_DIR=/data
VOLUME /data
EXPOSE 8650 8651
ENTRYPOINT ["pannier-gateway"]
