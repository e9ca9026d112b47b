#!/usr/bin/env bash
# Sets the element beside what a user would write in Python (benches/python). Its packages go into
# .deps/bench, for this alone; where they cannot be had it says so, and that is all.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
use_plugin release

pins=benches/python/requirements.txt
python=${PYTHON:-python3}
if ! "$python" -c 'import tomllib' 2>/dev/null; then
    echo "SKIPPED: the comparison with Python needs Python 3.11 or newer (PYTHON=… names one)"
    exit 0
fi
folder=.deps/bench
if ! cmp --silent $pins $folder/requirements.txt; then
    echo "installing $(grep --count '==' $pins) Python packages into $folder"
    rm -rf $folder
    if ! "$python" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: \
        --requirement $pins --target $folder; then
        echo "SKIPPED: the comparison with Python; its packages could not be installed"
        exit 0
    fi
    cp $pins $folder/requirements.txt
fi
cargo build --release --locked --lib
PYTHONPATH=$PWD/$folder exec "$python" benches/python/compare.py "$@"
