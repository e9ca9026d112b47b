#!/usr/bin/env bash
# An RTSP camera in a window, with boxes and verdicts.
#
#   rtspsrc ! watchdog ! decodebin ! videoconvert ! videoflip ! deepfakedetect [! deepfakelog] ! deepfakeoverlay
#       ! videoconvert ! autovideosink
#
# usage: rtsp.sh [OPTION]... URL
#
#   URL              rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH
#   --latency MS     how long to wait for late packets (default 200)
#   --sink ELEMENTS  what to do with the picture, in the words of gst-launch-1.0 (default autovideosink)
#   --log FILE       also write the reports as JSON Lines (- for the standard output)
#   --model NAME|DIR, --device auto|cpu|cuda|tensorrt|openvino   as deepfakedetect has them
#   --retry SECONDS  when the connection breaks or the other side ends the stream, connect again after this time
#   --timeout SECONDS  give up when nothing has come for so long (default 10; 0 = never)
set -euo pipefail
# shellcheck source=pipelines/common.sh
. "$(dirname "$0")/common.sh"

url='' latency=200 sink=autovideosink
while [ $# -gt 0 ]; do
    case $1 in
    --latency) latency=$(value_of "$@"); shift 2 ;;
    --sink) sink=$(value_of "$@"); shift 2 ;;
    -?*) common_option "$@"; shift "$taken" ;;
    *) url=$1; shift ;;
    esac
done
[[ $url == rtsp*://* ]] || die "the URL of a camera (rtsp://…) is needed; see --help"
read -ra sink_elements <<<"$sink"

find_plugin
need rtspsrc watchdog
set_analysis mode=auto
set_watchdog
live=yes

# The filter leaves out the camera's sound.
run rtspsrc "location=$(quoted "$url")" "latency=$latency" ! application/x-rtp,media=video "${watchdog[@]}" \
    ! decodebin ! "${analysis[@]}" ! videoconvert ! "${sink_elements[@]}"
exit "$status"
