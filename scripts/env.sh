# Sourced by the other scripts, from the project's root: one place for paths and GStreamer's settings.
# shellcheck shell=bash

# Least Rust, as Cargo.toml says it.
RUST_NEEDED=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# rustup's folder comes first, as rustup's own set-up has it: a distribution's older cargo may lie
# in /usr/bin.
if [ -d "${CARGO_HOME:-$HOME/.cargo}/bin" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    export PATH
fi

rust_is_new_enough() {
    local version
    version=$(rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$version" ] && printf '%s\n%s\n' "$RUST_NEEDED" "${version%%-*}" | sort --check=quiet --version-sort
}

# A default toolchain that is too old is left as it is; the stable one is used beside it.
if ! rust_is_new_enough && command -v rustup >/dev/null; then
    export RUSTUP_TOOLCHAIN=stable
fi

TARGET_DIR=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")

# Models and .deps are found from where the library lies; a target folder outside of the project
# hides them.
[[ $TARGET_DIR == "$PWD"/* ]] || export DEEPFAKE_PATH="$PWD${DEEPFAKE_PATH:+:$DEEPFAKE_PATH}"

# use_plugin PROFILE: GStreamer finds the plugin built with that profile, and only that one. It gets
# a folder of its own, since GStreamer opens every library below the folder that it is given, and
# cargo keeps dozens there. The registry is our own too, so that neither an older version nor a
# cached "plugin could not be loaded" is taken for this build.
use_plugin() {
    mkdir -p "$TARGET_DIR/$1/gstreamer-1.0"
    ln -sfn ../libgstdeepfake.so "$TARGET_DIR/$1/gstreamer-1.0/libgstdeepfake.so"
    export GST_PLUGIN_PATH="$TARGET_DIR/$1/gstreamer-1.0"
    export GST_REGISTRY="$TARGET_DIR/gst-registry-$1.bin"
}

# Headings that stand out on a terminal and stay plain in a log file.
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$(printf '\033[1m') RESET=$(printf '\033[0m')
else
    BOLD='' RESET=''
fi
heading() { printf '\n%s== %s%s\n' "$BOLD" "$1" "$RESET"; }
