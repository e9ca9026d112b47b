#!/usr/bin/env bash
# A short pipeline with all three elements under valgrind's memcheck: no invalid access, no
# uninitialised value that decides anything, nothing lost. A picture with a face goes through the
# debug build until there is a score, of the tests' tiny model: it is our code that is looked at,
# and ONNX Runtime takes a thousand times as long as usual.
#
# Takes minutes. What is suppressed, and why, stands in scripts/valgrind.supp; GLib brings its own
# list.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

command -v valgrind >/dev/null || {
    echo "valgrind is not installed; on Debian and Ubuntu: apt-get install valgrind" >&2
    exit 1
}
cargo build --quiet --locked --lib
use_plugin debug
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Outside of valgrind: the registry is written by a helper process, which would take longer than all
# the rest.
gst-inspect-1.0 deepfakedetect >/dev/null
suppressions=(--suppressions=scripts/valgrind.supp)
glib=$(pkg-config --variable=prefix glib-2.0)/share/glib-2.0/valgrind/glib.supp
[ ! -e "$glib" ] || suppressions+=("--suppressions=$glib")

# Mean colour as feature; windows of 4 crops, scored from the second crop on.
sha256() { sha256sum "tests/data/$1" | cut -d' ' -f1; }
cp tests/data/encoder.onnx tests/data/head.onnx "$folder"
cat >"$folder/model.toml" <<END
[model]
name = "tiny"
version = "1.0"
kind = "sequence"
[input]
width = 16
height = 16
margin = 1.3
[window]
frames = 4
rate_hz = 15.0
least_frames = 2
[encoder]
file = "encoder.onnx"
sha256 = "$(sha256 encoder.onnx)"
input = "crops"
output = "features"
feature_length = 3
[head]
file = "head.onnx"
sha256 = "$(sha256 head.onnx)"
input = "windows"
output = "scores"
[output]
fake_index = 1
END

frames=6
G_SLICE=always-malloc G_DEBUG=gc-friendly GST_REGISTRY_UPDATE=no \
    valgrind --error-exitcode=9 --num-callers=30 --gen-suppressions=all \
    --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite "${suppressions[@]}" \
    gst-launch-1.0 -q filesrc location=docs/screenshot.png ! pngdec ! videoconvert ! videoscale \
    ! video/x-raw,format=I420,width=160,height=90 ! imagefreeze num-buffers="$frames" ! video/x-raw,framerate=15/1 \
    ! deepfakedetect model="$folder" min-face-size=0 device=cpu mode=sync threads=1 on-error=fail ! deepfakeoverlay \
    ! deepfakelog location="$folder/log.jsonl" ! fakesink

# It has to have done something.
lines=$(wc -l <"$folder/log.jsonl")
faces=$(grep -c '"track_id"' "$folder/log.jsonl" || true)
if [ "$lines" -ne $frames ] || [ "$faces" -ne $frames ] || tail -n 1 "$folder/log.jsonl" | grep -q '"score":null'; then
    echo "valgrind: $frames frames gave $lines reports, $faces of them with a face; the last is:" >&2
    tail -n 1 "$folder/log.jsonl" >&2
    exit 1
fi
echo "memcheck has nothing to complain of: $frames frames with a face"
