#!/usr/bin/env bash
# Everything that must hold before a change is merged. `make test` runs it after scripts/deps.sh.
#
# Stops at the first thing that fails, the quick ones first.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
use_plugin debug

# 1.NEWEST_RUST_TRIED is the newest whose lints all pass.
NEWEST_RUST_TRIED=99

# Tests must not wait for someone to type, nor find a display.
exec </dev/null
unset DISPLAY WAYLAND_DISPLAY

heading 'format'
cargo fmt --check

if command -v shellcheck >/dev/null; then
    heading 'shell scripts'
    mapfile -t shell_files < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
    shellcheck --external-sources "${shell_files[@]}"
fi

heading 'links between pages'
scripts/check_links.py

heading 'readers of reports'
scripts/test_python.sh

# A newer Rust may bring lints that nobody here has seen: they are told, but do not keep a newcomer
# from the tests.
# Types that are written out once say more in place than a name would.
lints=(-D warnings -A clippy::type_complexity)
if [ "$(rustc --version | cut -d. -f2)" -gt $NEWEST_RUST_TRIED ]; then
    lints=()
fi
workspace=(--workspace)

heading 'lints'
cargo clippy --locked "${workspace[@]}" --all-targets -- "${lints[@]}"

heading 'build'
# Tests that start gst-launch-1.0 or `deepfake` need the plugin and the command as files.
cargo build --locked "${workspace[@]}" --all-targets

heading 'generated documentation is current'
cargo run --quiet --locked --package xtask -- document --check

heading 'installation'
scripts/test_install.sh

heading 'training'
scripts/train_smoke.sh

heading 'documentation examples'
cargo test --quiet --locked "${workspace[@]}" --doc

# A critical of GLib or GStreamer is a fault, whoever made it.
export G_DEBUG=fatal-criticals
heading 'tests'
if command -v cargo-nextest >/dev/null; then
    cargo nextest run --locked "${workspace[@]}" --no-fail-fast
else
    cargo test --locked "${workspace[@]}" --no-fail-fast --all-targets
fi

# Last, since these build the plugin anew in the same place. What does not touch that metadata was
# tested above.
for feature in v1_26 v1_24; do
    if pkg-config --atleast-version="1.${feature#v1_}" gstreamer-analytics-1.0; then
        heading "GstAnalytics metadata ($feature)"
        cargo clippy --locked "${workspace[@]}" --all-targets --features "$feature" -- "${lints[@]}"
        cargo test --locked --package gst-plugin-deepfake --package deepfake-report --features "$feature" \
            --lib --test analytics --test detect --test metadata_survival
        exit
    fi
done
echo "SKIPPED: tests of GstAnalytics metadata, which GStreamer has since 1.24 (here: $(pkg-config --modversion gstreamer-1.0))"
