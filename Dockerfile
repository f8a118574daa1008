# One image for the master's processes, and one for runners:
#
#   docker build --target master -t datarun-master .
#   docker build --target runner -t datarun-runner .
#
# BASE is any image with Python 3.11 or newer (and its venv module) on Debian or Ubuntu.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY datarun datarun
COPY runapp runapp
RUN python3 -m venv /build && /build/bin/pip wheel -q --no-deps -w /wheels .

FROM ${BASE} AS master
COPY requirements.txt manage.py gunicorn.conf.py /app/
COPY --from=build /wheels /wheels
RUN python3 -m venv /venv \
    && /venv/bin/pip install -q --no-cache-dir -c /app/requirements.txt "$(echo /wheels/*.whl)[master]" \
    && useradd --system --uid 10001 --no-create-home datarun \
    && install -d -o datarun -g datarun -m 700 /data
ENV PATH=/venv/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 DIR_DATA=/data
WORKDIR /app
USER datarun
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "datarun.wsgi"]

FROM ${BASE} AS runner
RUN apt-get -q update \
    && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends libseccomp2 \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt script_install/requirements-runner.txt /app/
COPY --from=build /wheels /wheels
RUN python3 -m venv /venv \
    && /venv/bin/pip install -q --no-cache-dir -c /app/requirements.txt -r /app/requirements-runner.txt \
        "$(echo /wheels/*.whl)[runner]" \
    && useradd --system --uid 10001 --no-create-home datarun \
    && install -d -o datarun -g datarun -m 700 /data /data/cache /data/jobs
ENV PATH=/venv/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 DIR_DATA=/data/cache DIR_SUBMISSION=/data/jobs
WORKDIR /data
USER datarun
VOLUME /data
# Its name is the container's host name: give each one its own.
CMD ["celery", "-A", "datarun", "worker", "--loglevel", "info"]
