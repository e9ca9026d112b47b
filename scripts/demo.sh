#!/usr/bin/env bash
# The main job, on a real person's video and on three manipulated versions of it:
#
#   filesrc ! decodebin ! deepfakedetect ! deepfakelog ! deepfakeoverlay ! x264enc ! mp4mux ! filesink
#
# Writes out/demo/NAME.mp4 (annotated) and out/demo/NAME.jsonl (every report), then prints a table
# of verdicts. MODEL=NAME|FOLDER picks another model package, DEVICE another device.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
use_plugin release

source=.deps/clips/WolfgangLanger_Pexels.mp4
out=out/demo
# A demo without verdicts would be none: whatever is missing is an error.
detect=(deepfakedetect mode=sync on-error=fail ${MODEL:+"model=$MODEL"} ${DEVICE:+"device=$DEVICE"})

heading 'Building (the first time takes some minutes)'
cargo build --release --locked --package gst-plugin-deepfake --lib --package xtask --bin xtask

mkdir -p "$out/input"
# Files appear under their name when they are complete: a run that was stopped leaves no half clip.
trap 'rm -f "$out"/*.part "$out"/input/*.part' EXIT
trap 'exit 130' INT TERM

heading 'Four clips that differ in the face only'
echo 'All go through the same decoder and encoder, so that the verdict cannot come from those.'
make_clip() {
    local file=$out/input/$1.mp4
    shift
    if [ "$file" -nt "$TARGET_DIR/release/xtask" ]; then
        echo "  $file is there already"
        return
    fi
    "$TARGET_DIR/release/xtask" manipulate "$@" "$source" "$file.part"
    mv "$file.part" "$file"
    echo "  $file"
}
clips=(real swap mouth generated)
make_clip real as-is
for kind in "${clips[@]:1}"; do
    make_clip "$kind" "$kind"
done
echo 'The manipulations are made for this demo, from the same face: what a swap leaves behind (colour, resolution, seam), a mouth'
echo 'that moves by itself, and a head redrawn as a generator draws. No model was trained on them.'

# Turns progressreport's lines into one that counts up on a terminal, and into a line per quarter in
# a log.
show_progress() {
    local name=$1 line percent last=-1
    while IFS= read -r line; do
        case $line in
            *progressreport*"%)"*)
                percent=${line##*\(}
                percent=${percent%%[.,%]*}
                percent=${percent// /}
                if [ -t 1 ]; then
                    printf '\r  %-12s %3d %%' "$name" "$percent"
                elif [ $((percent / 25)) -gt "$last" ]; then
                    last=$((percent / 25))
                    printf '  %-12s %3d %%\n' "$name" "$percent"
                fi
                ;;
            # gst-launch is quiet unless something is wrong.
            ?*) printf '%s\n' "$line" >&2 ;;
        esac
    done
    [ ! -t 1 ] || printf '\r  %-12s 100 %%\n' "$name"
}

analyse() {
    local name=$1
    rm -f "$out/$name.jsonl"
    gst-launch-1.0 -q -e \
        filesrc location="$out/input/$name.mp4" ! decodebin ! videoconvert \
        ! progressreport update-freq=1 \
        ! "${detect[@]}" ! deepfakelog location="$out/$name.jsonl" \
        ! deepfakeoverlay ! videoconvert ! video/x-raw,format=I420 \
        ! x264enc speed-preset=fast pass=quant quantizer=22 ! h264parse ! mp4mux faststart=true \
        ! filesink location="$out/$name.mp4.part" </dev/null 2>&1 | show_progress "$name"
    mv "$out/$name.mp4.part" "$out/$name.mp4"
}

heading 'Watching them'
for clip in "${clips[@]}"; do
    analyse "$clip"
done

heading 'Verdicts'
reports=("${clips[@]/#/$out/}")
table=$(python3 scripts/verdicts.py "${reports[@]/%/.jsonl}")
printf '%s\n' "$table"
caught=$(grep -cE '^ *(swap|mouth|generated) .* fake$' <<<"$table" || true)
echo
echo "$caught of the 3 manipulations were called fake. Models miss some; how often this one does is in its README.md in models/."
if grep -q '^ *real .* fake$' <<<"$table"; then
    echo 'The real clip was called fake: a false alarm.'
fi
cat <<END

Files, each as real, swap, mouth and generated:
  $out/NAME.mp4          annotated, to watch
  $out/NAME.jsonl        one report per frame

A score is evidence, not proof: see "How far to trust it" in README.md.
END
