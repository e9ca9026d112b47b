#!/usr/bin/env bash
# A video file in; out comes the same video with boxes and verdicts drawn on it, and its reports as
# JSON Lines.
#
#   filesrc ! decodebin ! videoconvert ! videoflip ! deepfakedetect ! deepfakelog ! deepfakeoverlay
#       ! videoconvert ! x264enc ! h264parse ! mp4mux ! filesink
#
# usage: file.sh [OPTION]... IN [OUT.mp4]
#
#   IN               any video that GStreamer can decode; sound is left out
#   OUT.mp4          default: IN-annotated.mp4 in the current folder
#   --log FILE       where the reports go (default: OUT with .jsonl for .mp4; - for the standard output)
#   --force          write over OUT.mp4 and the log if they exist
#   --bitrate KBIT   of the annotated video (default 4000)
#   --model NAME|DIR, --device auto|cpu|cuda|tensorrt|openvino   as deepfakedetect has them
#
# The video appears under its name when it is complete. A picture that is stored turned, as phones
# do, comes out upright. Each frame waits for its own analysis (mode=sync), so the same file gives
# the same lines every time.
set -euo pipefail
# shellcheck source=pipelines/common.sh
. "$(dirname "$0")/common.sh"

files=() bitrate=4000 force=''
while [ $# -gt 0 ]; do
    case $1 in
    --force) force=yes; shift ;;
    --bitrate) bitrate=$(value_of "$@"); shift 2 ;;
    -?*) common_option "$@"; shift "$taken" ;;
    *) files+=("$1"); shift ;;
    esac
done
[ ${#files[@]} -eq 1 ] || [ ${#files[@]} -eq 2 ] || die 'one file in, and at most one out; see --help'
in=${files[0]}
name=${in##*/}
out=${files[1]:-${name%.*}-annotated.mp4}
log=${log:-${out%.mp4}.jsonl}
[ -r "$in" ] || die "$in: no such file, or not readable"
for file in "$out" "$log"; do
    [ ! "$in" -ef "$file" ] || die "$file is the file that is to be read"
    # A FIFO or /dev/stdout is there to be written to.
    [ ! -f "$file" ] || [ -n "$force" ] || die "$file exists already; --force writes over it"
    [ ! -d "$file" ] || die "$file is a folder"
done

find_plugin
set_encoder "$bitrate"
# Written anew, as the video is.
log_properties=(append=false)
set_analysis mode=sync on-error=fail

part=$out.part
trap 'rm -f "$part"' EXIT
run filesrc "location=$(quoted "$in")" ! decodebin ! "${analysis[@]}" \
    ! videoconvert ! "${encoder[@]}" ! h264parse ! mp4mux ! filesink "location=$(quoted "$part")"

[ "$status" -ne 0 ] || mv -f "$part" "$out"
if [ "$status" -eq 0 ] && [ -f "$log" ] && ! grep -q '"track_id"' "$log"; then
    say "no face was seen in $in: nothing was judged, which does not mean that it is genuine"
fi
exit "$status"
