# Sourced by the scripts beside it: what they all do. Each script's head comment draws its pipeline and is its --help.
# shellcheck shell=bash
# Some variables are for those scripts only.
# shellcheck disable=SC2034

model='' device='' log='' retry='' timeout=10
# Whether the end of the stream is a disconnect: yes for sources that have none of their own.
live=''
# More properties of deepfakelog.
log_properties=()

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The script's head comment.
usage() {
    sed -n '2,/^[^#]/ { s/^# \{0,1\}//p }' "$0"
}

# value_of OPTION VALUE...: the option's value, which must be there.
value_of() {
    [ $# -ge 2 ] || die "$1 needs a value; see --help"
    printf '%s' "$2"
}

# Takes one of the options that all scripts have, with its value, off the front of the arguments;
# `taken` says how many.
common_option() {
    taken=2
    case $1 in
    --model) model=$(value_of "$@") ;;
    --device) device=$(value_of "$@") ;;
    --log) log=$(value_of "$@") ;;
    --retry)
        retry=$(value_of "$@")
        [[ $retry =~ ^[0-9]+$ ]] || die "--retry $retry: not a number of seconds"
        ;;
    --timeout)
        timeout=$(value_of "$@")
        [[ $timeout =~ ^[0-9]+$ ]] || die "--timeout $timeout: not a number of seconds"
        ;;
    -h | --help)
        usage
        exit
        ;;
    *) die "no option $1; see --help" ;;
    esac
}

# A text as a value that gst-launch-1.0 takes verbatim, whatever spaces and quotes are in it.
quoted() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# A URI as it is, a path as a file:// URI.
uri_of() {
    local LC_ALL=C path rest char
    if [[ $1 == *://* ]]; then
        printf '%s' "$1"
        return
    fi
    [ -r "$1" ] || die "$1: no such file, or not readable"
    path=$(realpath -- "$1")
    printf 'file://'
    rest=$path
    while [ -n "$rest" ]; do
        char=${rest:0:1} rest=${rest:1}
        case $char in
        [a-zA-Z0-9/._~-]) printf '%s' "$char" ;;
        *) printf '%%%02X' "'$char" ;;
        esac
    done
}

# The plugin built in this checkout, if there is one and GST_PLUGIN_PATH names no other; else the
# installed one.
find_plugin() {
    local built
    built=$(realpath -m -- "$(dirname "${BASH_SOURCE[0]}")/../target/release")
    if [ -z "${GST_PLUGIN_PATH:-}" ] && [ -f "$built/libgstdeepfake.so" ]; then
        export GST_PLUGIN_PATH=$built
        # Of its own, so that what GStreamer noted of an older build does not count.
        export GST_REGISTRY=${GST_REGISTRY:-$built/../gst-registry-release.bin}
    fi
    command -v gst-launch-1.0 >/dev/null || die 'gst-launch-1.0 is missing; install gstreamer1.0-tools'
    # Not --exists, for which our version is too low: it compares with GStreamer's own.
    gst-inspect-1.0 deepfakedetect >/dev/null 2>&1 ||
        die 'GStreamer finds no deepfakedetect; run "make build" in the checkout, or set GST_PLUGIN_PATH to its folder'
}

# need ELEMENT...: all of these must be installed.
need() {
    local element
    for element in "$@"; do
        gst-inspect-1.0 --exists "$element" ||
            die "GStreamer has no element $element; on Debian and Ubuntu: apt-get install" \
                "gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav"
    done
}

# set_watchdog: sets the array `watchdog` to an element that ends the pipeline when nothing has come
# for --timeout seconds.
set_watchdog() {
    watchdog=()
    [ "$timeout" -eq 0 ] || watchdog=('!' watchdog name=stalled "timeout=${timeout}000")
}

# set_analysis PROPERTY=VALUE...: sets the array `analysis` to the elements that every script has in
# its middle, deepfakedetect with these properties, deepfakelog if wanted, and deepfakeoverlay.
set_analysis() {
    # Pictures that are stored turned, as phones do, are put upright, so that what is drawn on them is
    # upright too. The tag that says so stays: the analysis is told not to turn them once more. The
    # queues give decoder, analysis, and encoder or sink a thread each.
    analysis=(videoconvert '!' videoflip video-direction=auto '!' queue '!'
        deepfakedetect video-direction=identity "$@")
    [ -z "$model" ] || analysis+=("model=$(quoted "$model")")
    [ -z "$device" ] || analysis+=("device=$device")
    [ -z "$log" ] || analysis+=('!' deepfakelog "location=$(quoted "$log")" "${log_properties[@]}")
    analysis+=('!' deepfakeoverlay '!' queue)
}

# set_encoder KILOBITS: sets the array `encoder` to the H.264 encoder that is there, for live
# pictures.
set_encoder() {
    if gst-inspect-1.0 --exists x264enc; then
        encoder=(x264enc "bitrate=$1" tune=zerolatency speed-preset=veryfast key-int-max=50)
    elif gst-inspect-1.0 --exists openh264enc; then
        encoder=(openh264enc "bitrate=${1}000" gop-size=50)
    else
        need x264enc
    fi
}

# Runs the pipeline and returns its exit status in `status`. Ctrl-C and SIGTERM end the stream
# properly, so that files can be played; then `stopped` is set. With --retry, a pipeline that fails
# (server gone, network down) is started again, and one of a live source also when the other side
# ends the stream.
run() {
    local options=(--eos-on-shutdown)
    # Then the standard output is for lines alone.
    case $log in - | stdout) options+=(--quiet) ;; esac
    stopped='' child=''
    trap stop INT TERM HUP
    while [ -z "$stopped" ]; do
        # In a session of its own, so that Ctrl-C reaches it once, from here. A shell's background
        # process would ignore it until it has set a handler.
        env --default-signal=INT,QUIT setsid gst-launch-1.0 "${options[@]}" "$@" 2> >(explain) &
        child=$!
        await
        if [ -n "$stopped" ] || [ -z "$retry" ]; then break; fi
        [ "$status" -ne 0 ] || [ -n "$live" ] || break
        [ "$status" -ne 0 ] || say 'the other side has ended the stream'
        say "starting again in $retry s"
        env --default-signal=INT sleep "$retry" &
        child=$!
        await
    done
    # Stopped before there was anything to end properly.
    [ -z "$stopped" ] || [ "$status" -eq 0 ] || status=130
}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Waits for `child`. A trapped signal makes `wait` return early: then once more.
await() {
    local waited
    status=0
    while :; do
        interrupted='' waited=0
        wait "$child" || waited=$?
        # 127: it was waited for already.
        [ "$waited" -eq 127 ] || status=$waited
        [ -n "$interrupted" ] || return 0
    done
}

# Ends `child`: properly, or after ten seconds by force.
stop() {
    # `timeout` and others send the same signal once more, to the whole group.
    trap '' INT TERM HUP
    stopped=yes interrupted=yes
    [ -n "$child" ] || exit 130
    kill -INT "$child" 2>/dev/null || true
    timeout 10 tail --pid="$child" --sleep-interval=0.1 --follow /dev/null || kill -KILL "$child" 2>/dev/null || true
}

# Passes on what gst-launch-1.0 complains of, with the cause where its own words do not tell.
explain() {
    local line
    while IFS= read -r line; do
        printf '%s\n' "$line" >&2
        case $line in
        *'GstWatchdog:stalled: Watchdog triggered') say "nothing has come from the other side for $timeout s (see --timeout)" ;;
        *'reason not-linked'*) say 'there is no video in it, or none that can be decoded' ;;
        esac
    done
}
