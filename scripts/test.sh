#!/usr/bin/env bash
# Everything that must hold before a change is merged. `make test` runs it after scripts/deps.sh.
#
# Stops at the first thing that fails, the quick ones first.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
use_plugin debug

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

heading 'lints'
cargo clippy --locked --all-targets -- -D warnings

heading 'build'
# Tests that start gst-launch-1.0 or `deepfake` need the plugin and the command as files.
cargo build --locked --all-targets

heading 'generated documentation is current'
cargo run --quiet --locked --example document -- --check

heading 'installation'
scripts/test_install.sh

heading 'training'
scripts/train_smoke.sh

heading 'documentation examples'
cargo test --quiet --locked --doc

heading 'tests'
if command -v cargo-nextest >/dev/null; then
    cargo nextest run --locked --no-fail-fast
else
    cargo test --locked --no-fail-fast --all-targets
fi
