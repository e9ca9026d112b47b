#!/usr/bin/env bash
# Runs the tests of the training code (models/train) where its Python packages are installed, and
# says so where they are not: a user of the plugin needs none of them. TRAIN_PYTHON names a Python
# that has them.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${TRAIN_PYTHON:-python3}
if ! found=$("$python" -c 'import av, cv2, efficientnet_lite_pytorch, numpy, onnx, onnxruntime, pytest, sklearn, torch, tqdm' 2>&1); then
    echo "SKIPPED: the training code's tests (${found##*$'\n'}; see models/train/README.md)"
    exit 0
fi
make --no-print-directory -C models/train train-smoke PYTHON="$python"
