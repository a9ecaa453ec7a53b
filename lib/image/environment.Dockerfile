# Packages come from the wheels beside requirements.txt, or from the package index if there are none.
# pip itself stays in this stage. The same packages give the same bytes: file times are 0, and compiled files hold none.
FROM ${BASE} AS packages
COPY packages/ /wheels/
RUN python3 -m pip install --quiet --no-cache-dir --no-compile --no-deps --root-user-action ignore \
        --disable-pip-version-check --target /image/packages --requirement /wheels/requirements.txt \
        $(ls /wheels/*.whl >/dev/null 2>&1 && echo --no-index --find-links /wheels) \
    && rm -rf /image/packages/bin \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /image/packages \
    && find /image -exec touch --no-dereference --date=@0 {} +
ARG WORKSPACE=
LABEL invoke-release.workspace=${WORKSPACE}

# The base of the scoring images, see Dockerfile.
FROM ${BASE}
COPY --from=packages /image/ /image/
WORKDIR /image
ENV PYTHONPATH=/image/packages PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp SCORING_KEYS=/run/secrets/scoring
# A number: Kubernetes cannot check that a user given by name is not root.
USER 10001:10001
EXPOSE 5001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5001/', timeout=5)"]
# Needs two keys: files PRIMARY and SECONDARY in the folder SCORING_KEYS, or SCORING_KEY_PRIMARY and SCORING_KEY_SECONDARY.
CMD ["python3", "serve.py", "--bind", "0.0.0.0:5001"]
