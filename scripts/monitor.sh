#!/usr/bin/env bash
# deepfake-monitor on two sample feeds: the demo's clips in a loop, over SRT on loopback.
#
# Everything is kept in out/monitor. Ctrl-C ends it all.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

source=.deps/clips/WolfgangLanger_Pexels.mp4
clips=out/demo/input
out=out/monitor
port=${MONITOR_FEED_PORT:-7001}

heading 'Building (the first time takes some minutes)'
cargo build --release --locked --package deepfake-monitor --package xtask

heading 'Two sample feeds'
mkdir -p "$clips" "$out"
make_clip() {
    local file=$clips/$1.mp4
    shift
    [ ! -f "$file" ] || return 0
    "$TARGET_DIR/release/xtask" manipulate "$@" "$source" "$file.part"
    mv "$file.part" "$file"
}
make_clip real as-is
make_clip manipulated swap

cat >"$out/monitor.toml" <<END
[server]
listen = "127.0.0.1:${MONITOR_PORT:-8480}"
time-zone = "$(cat /etc/timezone 2>/dev/null || echo UTC)"

# Far below the model's own, which spares real people and misses these samples: here something is to
# happen. Never watch a real feed with it.
[defaults]
fake-threshold = 0.4
post-roll = "5s"
longest-clip = "1m"

[channel.real]
title = "Real"
source = "srt://127.0.0.1:$port?mode=caller"
labels = { feed = "sample" }

[channel.manipulated]
title = "Manipulated"
source = "srt://127.0.0.1:$((port + 1))?mode=caller"
labels = { feed = "sample" }
END

"$TARGET_DIR/release/deepfake-monitor" sample-feeds --port "$port" "$clips/real.mp4" "$clips/manipulated.mp4" >"$out/feeds.log" &
feeds=$!
trap 'kill $feeds 2>/dev/null || true' EXIT

heading 'Watching (Ctrl-C ends it)'
"$TARGET_DIR/release/deepfake-monitor" run --login-link --config "$out/monitor.toml"
