#!/usr/bin/env bash
# Writes docs/scan-index.png and docs/scan-page.png: what `deepfake scan --report` writes of the demo's clip, of a
# manipulated version of it and of files that cannot be judged, as Chromium shows it. PROFILE=debug takes that build
# instead of the release one, MODEL=NAME|FOLDER another model package, DARK=1 shows dark colours, and OUT another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
profile=${PROFILE:-release}
use_plugin "$profile"

clips=$PWD/.deps/clips
out=$(realpath "${OUT:-docs}")
bin=$TARGET_DIR/$profile
[ -e "$clips/WolfgangLanger_Pexels.mp4" ] || { echo "$clips is empty: run \`make deps\`" >&2; exit 1; }
for tool in chromium pngquant; do
    command -v $tool >/dev/null || { echo "$tool is missing: apt-get install $tool" >&2; exit 1; }
done
[ -x "$bin/xtask" ] || { echo "$bin/xtask is missing: run cargo build --workspace" >&2; exit 1; }

folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/incoming"
"$bin/xtask" manipulate --as-is "$clips/WolfgangLanger_Pexels.mp4" "$folder/incoming/interview.mp4" >/dev/null
"$bin/xtask" manipulate "$clips/WolfgangLanger_Pexels.mp4" "$folder/incoming/interview-as-received.mp4" >/dev/null
cp "$clips/no_face.mp4" "$folder/incoming/street.mp4"
head --bytes=3000 "$clips/no_face.mp4" >"$folder/incoming/broken-off.mp4"
cd "$folder/incoming"
# Exit codes 1 and 2 say what was found.
"$bin/deepfake" scan . --report ../report --compare interview.mp4 ${MODEL:+--model "$MODEL"} || [ $? -le 2 ]

# shoot PAGE PICTURE WIDTH HEIGHT
shoot() {
    local colours=()
    [ -z "${DARK:-}" ] || colours=(--blink-settings=preferredColorScheme=0)
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --hide-scrollbars --user-data-dir="$folder/profile" --window-size="$3,$4" "${colours[@]}" \
        --screenshot="$folder/shot.png" "file://$1" 2>/dev/null
    # Few colours make a small file.
    pngquant --force --speed 1 --strip --output "$2" 64 "$folder/shot.png"
    echo "$2: $(stat --format=%s "$2") bytes"
}
shoot "$folder/report/index.html" "$out/scan-index.png" 900 560
shoot "$folder"/report/interview-as-received-*.html "$out/scan-page.png" 900 960
