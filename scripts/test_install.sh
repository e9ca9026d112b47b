#!/usr/bin/env bash
# What `make install` installs works by itself: the debug build goes into a folder of its own and
# must find its model, face detector and ONNX Runtime there, with no help from the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
DESTDIR=$folder PREFIX=/usr PROFILE=debug scripts/install.sh

installed=$(ls "$folder/usr/share/gst-plugin-deepfake/models")
[ "$(wc -w <<<"$installed")" -eq 1 ] || { echo "install: more than the default model: $installed" >&2; exit 1; }
if MODELS=no-such-model DESTDIR=$folder/other PROFILE=debug scripts/install.sh 2>"$folder/error"; then
    echo "install: a model that does not exist was installed" >&2
    exit 1
fi
grep -q 'there is no model no-such-model' "$folder/error"

plugin=$(find "$folder" -name libgstdeepfake.so)
# Nothing of the caller's environment; as a user with an empty home.
clean() {
    env --ignore-environment PATH="$folder/usr/bin:/usr/bin:/bin" HOME="$folder" LANG=C.UTF-8 \
        GST_PLUGIN_PATH="$(dirname "$plugin")" GST_REGISTRY="$folder/registry.bin" "$@"
}

for element in deepfakedetect deepfakeoverlay deepfakelog; do
    # Not --exists: that also asks for GStreamer's own version number.
    clean gst-inspect-1.0 "$element" >/dev/null || { echo "install: $element is not found" >&2; exit 1; }
done
clean deepfake --version
clean gst-launch-1.0 -q videotestsrc num-buffers=3 ! video/x-raw,width=320,height=240 \
    ! deepfakedetect on-error=fail device=cpu mode=sync ! deepfakelog all-buffers=true location="$folder/log.jsonl" ! fakesink
[ "$(wc -l <"$folder/log.jsonl")" -eq 3 ] || { echo "install: the installed elements wrote no reports" >&2; exit 1; }

# A program in C builds with the header and the flags that were installed.
pkgconfig=$(dirname "$(find "$folder" -name deepfake-report.pc)")
sed -i "s|^prefix=/usr$|prefix=$folder/usr|" "$pkgconfig/deepfake-report.pc"
flags=$(PKG_CONFIG_PATH=$pkgconfig pkg-config --cflags --libs deepfake-report)
[[ $flags == *"-I$folder/usr/include"* ]] || { echo "install: deepfake-report.pc gives $flags" >&2; exit 1; }
# shellcheck disable=SC2086 # Flags are words.
cc -Wall -Wextra -Werror -o "$folder/monitor" pipelines/apps/monitor.c $flags
echo "the installed plugin, command and header work"
