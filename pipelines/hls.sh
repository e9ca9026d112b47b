#!/usr/bin/env bash
# An HLS stream, live or recorded, in a window, with boxes and verdicts.
#
#   uridecodebin3 ! watchdog ! videoconvert ! videoflip ! deepfakedetect [! deepfakelog] ! deepfakeoverlay
#       ! videoconvert ! autovideosink
#
# usage: hls.sh [OPTION]... URL
#
#   URL              of the playlist: https://HOST/PATH.m3u8; sound is left out
#   --sink ELEMENTS  what to do with the picture, in the words of gst-launch-1.0 (default autovideosink)
#   --log FILE       also write the reports as JSON Lines (- for the standard output)
#   --model NAME|DIR, --device auto|cpu|cuda|tensorrt|openvino   as deepfakedetect has them
#   --retry SECONDS  when the connection breaks, connect again after this time
#   --timeout SECONDS  give up when nothing has come for so long (default 10; 0 = never)
set -euo pipefail
# shellcheck source=pipelines/common.sh
. "$(dirname "$0")/common.sh"

url='' sink=autovideosink
while [ $# -gt 0 ]; do
    case $1 in
    --sink) sink=$(value_of "$@"); shift 2 ;;
    -?*) common_option "$@"; shift "$taken" ;;
    *) url=$1; shift ;;
    esac
done
[[ $url == http*://* ]] || die "the URL of a playlist (https://….m3u8) is needed; see --help"
read -ra sink_elements <<<"$sink"

find_plugin
need uridecodebin3 souphttpsrc watchdog
set_analysis mode=auto
set_watchdog

run uridecodebin3 "uri=$(quoted "$url")" "${watchdog[@]}" ! "${analysis[@]}" ! videoconvert ! "${sink_elements[@]}"
exit "$status"
