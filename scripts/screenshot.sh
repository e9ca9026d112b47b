#!/usr/bin/env bash
# Writes docs/screenshot.png: one frame of the demo's real clip, as the elements themselves draw it.
#
#   filesrc ! decodebin ! deepfakedetect ! videoscale ! deepfakeoverlay ! videorate ! pngenc ! multifilesink
#
# The overlay stands behind the scaler, so its lines and letters are sharp at the picture's size. PROFILE=debug takes
# that build instead of the release one, MODEL=NAME|FOLDER another model package, SECOND another moment of the clip.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
use_plugin "${PROFILE:-release}"

clip=.deps/clips/WolfgangLanger_Pexels.mp4
picture=docs/screenshot.png
[ -e "$clip" ] || { echo "$clip is missing: run \`make deps\`" >&2; exit 1; }

frames=$(mktemp --directory)
trap 'rm -rf "$frames"' EXIT

# A picture per second of the clip, of which one is kept.
gst-launch-1.0 -q \
    filesrc location="$clip" ! decodebin ! videoconvert \
    ! deepfakedetect mode=sync on-error=fail ${MODEL:+"model=$MODEL"} \
    ! videoscale ! video/x-raw,width=768,height=432,pixel-aspect-ratio=1/1 \
    ! deepfakeoverlay scale=1.4 \
    ! videorate drop-only=true ! video/x-raw,framerate=1/1 ! videoconvert ! video/x-raw,format=RGB \
    ! pngenc compression-level=9 ! multifilesink location="$frames/%d.png"
cp "$frames/${SECOND:-13}.png" "$picture"
echo "$picture: $(stat --format=%s "$picture") bytes"
