#!/usr/bin/env bash
# Four channels in one picture, each with its own boxes and verdicts.
#
#   uridecodebin [! watchdog] ! videoconvert ! videoflip ! deepfakedetect [! deepfakelog] ! deepfakeoverlay
#       ! videoscale ! compositor.sink_0
#   uridecodebin ! … ! compositor.sink_1
#   uridecodebin ! … ! compositor.sink_2
#   uridecodebin ! … ! compositor.sink_3
#       compositor ! videoconvert ! autovideosink
#
# usage: mosaic.sh [OPTION]... A B C D
#
#   A B C D          four files or URIs (rtsp://…, https://….m3u8, srt://…); sound is left out
#   --size WxH       of one channel's picture in pixels (default 640x360)
#   --sink ELEMENTS  what to do with the picture, in the words of gst-launch-1.0 (default autovideosink)
#   --log PREFIX     also write the reports of the channels to PREFIX-1.jsonl … PREFIX-4.jsonl
#   --model NAME|DIR, --device auto|cpu|cuda|tensorrt|openvino   as deepfakedetect has them
#   --retry SECONDS  when a channel breaks, or all have ended and one of them is live, start again after this time
#   --timeout SECONDS  of a live channel: give up when nothing has come for so long (default 10; 0 = never)
#
# The overlay comes before the compositor, which drops metadata. The four share one copy of the
# model.
set -euo pipefail
# shellcheck source=pipelines/common.sh
. "$(dirname "$0")/common.sh"

channels=() size=640x360 sink=autovideosink
while [ $# -gt 0 ]; do
    case $1 in
    --size) size=$(value_of "$@"); shift 2 ;;
    --sink) sink=$(value_of "$@"); shift 2 ;;
    -?*) common_option "$@"; shift "$taken" ;;
    *) channels+=("$1"); shift ;;
    esac
done
[ ${#channels[@]} -eq 4 ] || die 'four files or URIs are needed; see --help'
[[ $size =~ ^([1-9][0-9]*)x([1-9][0-9]*)$ ]] || die "--size $size: not of the form 640x360"
width=${BASH_REMATCH[1]} height=${BASH_REMATCH[2]}
read -ra sink_elements <<<"$sink"
prefix=$log

find_plugin
need compositor

pipeline=(compositor name=mosaic background=black)
pipeline+=("sink_1::xpos=$width" "sink_2::ypos=$height" "sink_3::xpos=$width" "sink_3::ypos=$height")
pipeline+=(! videoconvert ! "${sink_elements[@]}")

for number in 0 1 2 3; do
    uri=$(uri_of "${channels[number]}")
    log=${prefix:+$prefix-$((number + 1)).jsonl}
    set_analysis mode=auto
    watchdog=()
    case $uri in
    rtsp*://* | srt://* | udp://* | rtmp*://*)
        live=yes
        need watchdog
        set_watchdog
        ;;
    esac
    # Scaled without change of shape, with black borders.
    pipeline+=(
        uridecodebin "uri=$(quoted "$uri")" "${watchdog[@]}" ! "${analysis[@]}"
        ! videoscale add-borders=true ! "video/x-raw,width=$width,height=$height,pixel-aspect-ratio=1/1"
        ! "mosaic.sink_$number"
    )
done

run "${pipeline[@]}"
exit "$status"
