#!/usr/bin/env bash
# The Python package in python/: its tests, with each Python that can run them, and that it can be
# installed. The distribution's Python sees GStreamer; one of your own need not.
set -euo pipefail
cd "$(dirname "$0")/.."

export PYTHONDONTWRITEBYTECODE=1 PIP_ROOT_USER_ACTION=ignore
tried=0
for python in python3 /usr/bin/python3; do
    "$python" -c 'import pytest' 2>/dev/null || continue
    tried=$((tried + 1))
    "$python" -m pytest --quiet -rs -p no:cacheprovider --rootdir python python
    [ "$(command -v python3)" != /usr/bin/python3 ] || break
done
if [ $tried -eq 0 ]; then
    echo "SKIPPED: the Python package's tests; scripts/deps.sh test installs pytest"
    [ -z "${DEEPFAKE_REQUIRE_ALL:-}" ] || exit 1
fi

# As a wheel without network: setuptools may be missing, which is no fault of the package.
if /usr/bin/python3 -c 'import setuptools, wheel, pip' 2>/dev/null; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    # A copy: setuptools leaves its work beside the sources.
    cp -r python "$folder/source"
    /usr/bin/python3 -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --no-index \
        --target "$folder/installed" "$folder/source"
    line='{"schema":1,"pts":5,"faces":[]}'
    (cd "$folder/installed" && /usr/bin/python3 -c "import deepfake_report; assert deepfake_report.parse_line('$line').pts == 5")
    echo "pip install ./python works"
fi
