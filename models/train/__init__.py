"""Makes the model packages that `deepfakedetect` runs. The way from clips to a package, one file a step:

    deepfake extract   face crops, by the very code that runs live       (the Rust command, not here)
    data               reads its crops; which real is shown beside which fake
    synth              pseudo-fakes: a clip blended with a changed copy of itself
    augment            what cameras, codecs and networks do to a clip; drawn once per clip
    nets/              the networks, one file a family, its recipe (sizes, steps, rates) beside it
    train              encoder on single crops -> features of whole windows -> head over the windows
    metrics            AUC with an interval over source groups, error rates, calibration error
    calibrate          logit -> probability, and the thresholds, on dev clips only
    export             ONNX files, and the proof that they compute what PyTorch computed
    package            model.toml, checksums and the model card

`python -m train --help` (from the folder `models`) runs any step or all of them.
"""
