#!/usr/bin/env bash
# What `cargo cinstall` installs: the plugin where GStreamer looks for it, a .pc file, and elements
# that are found. Builds all dependencies once more, in a folder of cargo-c's own, so it is run by
# hand: after a change of Cargo.toml. Nothing is optimised.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

command -v cargo-cinstall >/dev/null || {
    echo "cargo-c is not installed: apt-get install cargo-c (Debian 13 and later), or cargo install cargo-c --locked" >&2
    exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo cinstall --locked --debug --package gst-plugin-deepfake --prefix="$folder" --libdir="$folder/lib" \
    --config profile.dev.opt-level=0 --config 'profile.dev.package."*".opt-level=0'

plugin=$folder/lib/gstreamer-1.0/libgstdeepfake.so
[ -f "$plugin" ] || { echo "cinstall: there is no $plugin, but:" >&2; find "$folder" -type f >&2; exit 1; }
# The library's folder is said in the .pc file, which asks for GStreamer's.
flags=$(PKG_CONFIG_PATH=$(dirname "$(find "$folder" -name gstdeepfake.pc)") pkg-config --libs gstdeepfake)
[[ $flags == *"-L$folder/lib/gstreamer-1.0"* ]] || { echo "cinstall: gstdeepfake.pc gives $flags" >&2; exit 1; }
for element in deepfakedetect deepfakeoverlay deepfakelog; do
    GST_PLUGIN_PATH=$(dirname "$plugin") GST_REGISTRY=$folder/registry.bin gst-inspect-1.0 "$element" >/dev/null ||
        { echo "cinstall: $element is not found" >&2; exit 1; }
done
echo "cargo cinstall works"
