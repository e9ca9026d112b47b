#!/usr/bin/env bash
# The camera in a window, with boxes and verdicts.
#
#   v4l2src ! decodebin ! videoconvert ! videoflip ! deepfakedetect [! deepfakelog] ! deepfakeoverlay
#       ! videoconvert ! autovideosink
#
# usage: webcam.sh [OPTION]...
#
#   --camera DEVICE  default /dev/video0
#   --source ELEMENT another source, in the words of gst-launch-1.0: 'videotestsrc is-live=true', ximagesrc, …
#   --sink ELEMENTS  what to do with the picture, in the words of gst-launch-1.0 (default autovideosink)
#   --log FILE       also write the reports as JSON Lines (- for the standard output)
#   --model NAME|DIR, --device auto|cpu|cuda|tensorrt|openvino   as deepfakedetect has them
set -euo pipefail
# shellcheck source=pipelines/common.sh
. "$(dirname "$0")/common.sh"

camera=/dev/video0 source='' sink=autovideosink
while [ $# -gt 0 ]; do
    case $1 in
    --camera) camera=$(value_of "$@"); shift 2 ;;
    --source) source=$(value_of "$@"); shift 2 ;;
    --sink) sink=$(value_of "$@"); shift 2 ;;
    *) common_option "$@"; shift "$taken" ;;
    esac
done
if [ -n "$source" ]; then
    read -ra source_elements <<<"$source"
else
    [ -e "$camera" ] || die "there is no $camera; is the camera plugged in? ls /dev/video* shows what there is"
    source_elements=(v4l2src "device=$(quoted "$camera")")
fi
read -ra sink_elements <<<"$sink"

find_plugin
set_analysis mode=auto

run "${source_elements[@]}" ! decodebin ! "${analysis[@]}" ! videoconvert ! "${sink_elements[@]}"
exit "$status"
