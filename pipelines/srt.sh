#!/usr/bin/env bash
# An SRT stream in, the same with boxes and verdicts out as another SRT stream (MPEG-TS, H.264).
#
#   srtsrc [! watchdog] ! decodebin ! videoconvert ! videoflip ! deepfakedetect [! deepfakelog] ! deepfakeoverlay
#       ! videoconvert ! x264enc ! h264parse ! mpegtsmux ! srtsink
#
# usage: srt.sh [OPTION]... [IN [OUT]]
#
#   IN               default srt://:9000?mode=listener, that is: wait for somebody to send; sound is left out
#   OUT              default srt://:9001?mode=listener, that is: whoever calls there sees the picture
#   --bitrate KBIT   of the stream out (default 4000)
#   --latency MS     of SRT, on both sides: how long to wait for lost packets sent again (default 125)
#   --log FILE       also write the reports as JSON Lines (- for the standard output)
#   --model NAME|DIR, --device auto|cpu|cuda|tensorrt|openvino   as deepfakedetect has them
#   --retry SECONDS  when the connection breaks or the sender ends the stream, start again after this time
#   --timeout SECONDS  of a sender that is called: give up when nothing has come for so long (default 10; 0 = never).
#                    Whoever calls here may come when it likes; SRT itself notices after 5 s that it is gone
#
# Try it:  ffmpeg -re -i talk.mp4 -c copy -f mpegts srt://127.0.0.1:9000
#          ffplay srt://127.0.0.1:9001
set -euo pipefail
# shellcheck source=pipelines/common.sh
. "$(dirname "$0")/common.sh"

uris=() bitrate=4000 latency=125
while [ $# -gt 0 ]; do
    case $1 in
    --bitrate) bitrate=$(value_of "$@"); shift 2 ;;
    --latency) latency=$(value_of "$@"); shift 2 ;;
    -?*) common_option "$@"; shift "$taken" ;;
    *) uris+=("$1"); shift ;;
    esac
done
[ ${#uris[@]} -le 2 ] || die 'one stream in and one out; see --help'
in=${uris[0]:-srt://:9000?mode=listener}
out=${uris[1]:-srt://:9001?mode=listener}

find_plugin
need srtsrc srtsink tsdemux mpegtsmux watchdog
set_encoder "$bitrate"
set_analysis mode=auto
set_watchdog
[[ $in != *mode=listener* ]] || watchdog=()
live=yes

# Sound is not decoded, wherever in the stream it stands. Viewers come and go: the stream out waits
# for nobody. Seven TS packets fill one packet of SRT.
run srtsrc "uri=$(quoted "$in")" "latency=$latency" "${watchdog[@]}" \
    ! decodebin 'caps=video/x-raw(ANY)' expose-all-streams=false ! "${analysis[@]}" \
    ! videoconvert ! "${encoder[@]}" ! h264parse config-interval=-1 ! mpegtsmux alignment=7 \
    ! srtsink "uri=$(quoted "$out")" "latency=$latency" wait-for-connection=false
exit "$status"
