# Sourced by the scripts beside it: what they all do. Each script's head comment draws its pipeline and is its --help.
# shellcheck shell=bash
# Some variables are for those scripts only.
# shellcheck disable=SC2034

model='' device='' log='' retry=''
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

# Takes one of the options that all scripts have, with its value, off the front of the arguments; `taken` says how many.
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
    -h | --help)
        usage
        exit
        ;;
    *) die "no option $1; see --help" ;;
    esac
}

# A text as a value that gst-launch-1.0 takes letter by letter, whatever spaces and quotes are in it.
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

# The plugin built in this checkout, if there is one and GST_PLUGIN_PATH names no other; else the installed one.
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

# set_analysis PROPERTY=VALUE...: sets the array `analysis` to the elements that every script has in its middle,
# deepfakedetect with these properties, deepfakelog if wanted, and deepfakeoverlay.
set_analysis() {
    # The queues give decoder, analysis, and encoder or sink a thread each.
    analysis=(videoconvert '!' queue '!' deepfakedetect "$@")
    [ -z "$model" ] || analysis+=("model=$(quoted "$model")")
    [ -z "$device" ] || analysis+=("device=$device")
    [ -z "$log" ] || analysis+=('!' deepfakelog "location=$(quoted "$log")" "${log_properties[@]}")
    analysis+=('!' deepfakeoverlay '!' queue)
}

# set_encoder KILOBITS: sets the array `encoder` to the H.264 encoder that is there, for live pictures.
set_encoder() {
    if gst-inspect-1.0 --exists x264enc; then
        encoder=(x264enc "bitrate=$1" tune=zerolatency speed-preset=veryfast key-int-max=50)
    elif gst-inspect-1.0 --exists openh264enc; then
        encoder=(openh264enc "bitrate=${1}000" gop-size=50)
    else
        need x264enc
    fi
}

# Runs the pipeline; Ctrl-C ends the stream properly, so that files can be played. With --retry, a pipeline that
# fails (server gone, network down) is started again.
run() {
    local options=(--eos-on-shutdown)
    # Then the standard output is for lines alone.
    case $log in - | stdout) options+=(--quiet) ;; esac
    [ -n "$retry" ] || exec gst-launch-1.0 "${options[@]}" "$@"
    until gst-launch-1.0 "${options[@]}" "$@"; do
        printf '%s: starting again in %s s\n' "${0##*/}" "$retry" >&2
        sleep "$retry"
    done
}
