#!/usr/bin/env bash
# Copies what `make build` built to where an installed GStreamer program finds it:
#
#   PREFIX/lib/TRIPLET/gstreamer-1.0/libgstdeepfake.so   the plugin
#   PREFIX/lib/gst-plugin-deepfake/                      ONNX Runtime, for this plugin alone
#   PREFIX/bin/deepfake                                  the command
#   PREFIX/share/gst-plugin-deepfake/                    model packages, the face detector, JSON Schemas
#   PREFIX/include/deepfake.h                            reads reports in C, with
#   PREFIX/lib/TRIPLET/pkgconfig/deepfake-report.pc      its flags
#   PREFIX/share/doc/gst-plugin-deepfake/                licences and notices
#
# PREFIX (/usr/local) and DESTDIR come from the environment, and PROFILE (release) for tests. MODELS
# names the packages to install, separated by spaces, or `all`; unset, it is the plugin's default. Builds
# nothing: it may run as root, the build need not.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

PREFIX=${PREFIX:-/usr/local}
root=${DESTDIR:-}$PREFIX
built=$TARGET_DIR/${PROFILE:-release}
library=$built/libgstdeepfake.so

for needed in "$library" "$built/deepfake" .deps/onnxruntime .deps/detectors/centerface.onnx; do
    if [ ! -e "$needed" ]; then
        echo "install: $needed is missing; run \`make build\` first (not as root)" >&2
        exit 1
    fi
done

models=${MODELS:-$(sed -n 's/^pub const DEFAULT_MODEL: &str = "\(.*\)";/\1/p' src/elements/detect/settings.rs)}
if [ "$models" = all ]; then
    models=$(for package in models/*/model.toml; do basename "$(dirname "$package")"; done)
fi
[ -n "$models" ] || { echo "install: no default model was found in the code; name one in MODELS" >&2; exit 1; }
for model in $models; do
    [ -f "models/$model/model.toml" ] || {
        echo "install: there is no model $model; models/ has: $(cd models && echo */model.toml | sed 's|/model.toml||g')" >&2
        exit 1
    }
done

# GStreamer's own layout on this system: lib/x86_64-linux-gnu on Debian, lib64 or lib elsewhere.
libdir=$(pkg-config --variable=libdir gstreamer-1.0)
libraries=${libdir#"$(pkg-config --variable=prefix gstreamer-1.0)/"}
plugins=$libraries/gstreamer-1.0
version=$(sed -n '/^\[workspace.package\]/,/^$/ s/^version = "\(.*\)"/\1/p' Cargo.toml)

install -D --mode=644 --target-directory "$root/$plugins" "$library"
install -D --mode=755 --target-directory "$root/bin" "$built/deepfake"
install -D --mode=644 --target-directory "$root/lib/gst-plugin-deepfake" .deps/onnxruntime/*.so*
install -D --mode=644 --target-directory "$root/share/gst-plugin-deepfake/detectors" .deps/detectors/centerface.onnx
for model in $models; do
    find "models/$model" -maxdepth 1 -type f -exec \
        install -D --mode=644 --target-directory "$root/share/gst-plugin-deepfake/models/$model" {} +
done
install -D --mode=644 --target-directory "$root/include" include/deepfake.h
install -D --mode=644 --target-directory "$root/share/gst-plugin-deepfake/schema" crates/report/schema/*.json
install -d "$root/$libraries/pkgconfig"
sed "s|@PREFIX@|$PREFIX|; s|@VERSION@|$version|" include/deepfake-report.pc.in >"$root/$libraries/pkgconfig/deepfake-report.pc"
chmod 644 "$root/$libraries/pkgconfig/deepfake-report.pc"
install -D --mode=644 --target-directory "$root/share/doc/gst-plugin-deepfake" LICENSE-MIT LICENSE-APACHE NOTICE CHANGELOG.md \
    .deps/onnxruntime/ThirdPartyNotices.txt .deps/detectors/centerface.LICENSE

echo "installed under $root"
if [ -z "${DESTDIR:-}" ] && [ "$PREFIX/$plugins" != "$(pkg-config --variable=pluginsdir gstreamer-1.0)" ]; then
    echo "GStreamer does not look there by itself; tell it, for example in ~/.profile:"
    echo "  export GST_PLUGIN_PATH=$PREFIX/$plugins"
fi
