"""The element's job as one would do it in Python, in two ways: with the same detector, model and clip.

    contestants.py original|careful|large|decode CLIP FRAMES MODEL_FOLDER DETECTOR

`original` works as the first CNN + LSTM projects do: it finds faces in every frame at full size, keeps the last 40 crops, and
sends all of them through the encoder again for each score. `careful` is what somebody writes who knows what costs: a small
picture for the detector, just large enough for the faces that the element finds, only frames on the model's grid of times, each crop
encoded once. `large` is `careful` with a picture of half that size, for those who know that all faces are large. `decode` reads the clip,
no more.

Prints a score for each scored frame as JSON, `{"index of the frame": P(fake)}`. Everything runs on one thread.
"""

import json
import math
import sys
import tomllib
from collections import deque
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

# Longer side of the picture that the detector sees, in which faces of 20 pixels are found.
DETECTION_SIZE = {"careful": 640, "large": 320}
THRESHOLD = 0.5


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class CenterFace:
    def __init__(self, path):
        self.session = session(path)
        self.input = self.session.get_inputs()[0].name

    def __call__(self, picture):
        """The largest face in an RGB picture as (x, y, width, height), or None."""
        height, width = picture.shape[:2]
        tensor = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        tensor[0, :, :height, :width] = picture.transpose(2, 0, 1)
        maps = self.session.run(["537", "538", "539"], {self.input: tensor})
        heat, size, offset = (array[0] for array in maps)
        rows, columns = np.nonzero(heat[0] > THRESHOLD / 4)
        if len(rows) == 0:
            return None
        confidence = heat[0, rows, columns]
        h, w = np.exp(size[:, rows, columns]) * 4
        y = (rows + offset[0, rows, columns] + 0.5) * 4 - h / 2
        x = (columns + offset[1, rows, columns] + 0.5) * 4 - w / 2
        boxes = np.stack([x, y, x + w, y + h], axis=1)
        best = None
        while confidence.max(initial=0) > THRESHOLD:
            overlap = iou(boxes[confidence.argmax()], boxes)
            # Cells that see the same face at the same place are averaged.
            same = overlap >= 0.6
            face = np.average(boxes[same], axis=0, weights=confidence[same] - THRESHOLD / 8)
            face = np.clip(face, 0, [width, height, width, height])
            if best is None or area(face) > area(best):
                best = face
            boxes, confidence = boxes[overlap < 0.3], confidence[overlap < 0.3]
        return None if best is None else (best[0], best[1], best[2] - best[0], best[3] - best[1])


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def iou(box, boxes):
    corner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    inner = np.clip(corner, 0, None).prod(axis=1)
    return inner / (area(box) + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - inner)


class Smoother:
    """One-Euro filters (Casiez et al., 2012) on the box's centre and its size's logarithm, in box sides."""

    def __init__(self):
        self.value = self.speed = None

    @staticmethod
    def weight(cutoff, dt):
        return dt / (dt + 1 / (2 * math.pi * cutoff))

    def __call__(self, box, dt):
        x, y, w, h = box
        measured = np.array([x + w / 2, y + h / 2, math.log(w), math.log(h)])
        if self.value is None:
            self.value, self.speed = measured, np.zeros(4)
        side = math.exp(self.value[2:].mean())
        unit = np.array([side, side, 1, 1])
        self.speed += self.weight(1, dt) * ((measured - self.value) / unit / dt - self.speed)
        cutoff = np.array([1.2, 1.2, 0.6, 0.6]) + np.array([3, 3, 2, 2]) * abs(self.speed)
        self.value = self.value + self.weight(cutoff, dt) * (measured - self.value)
        x, y, w, h = self.value[0], self.value[1], *np.exp(self.value[2:])
        return x - w / 2, y - h / 2, w, h


class Model:
    """A model package: encoder, head and calibration."""

    def __init__(self, folder):
        self.toml = tomllib.loads((folder / "model.toml").read_text())
        self.encoder = session(folder / self.toml["encoder"]["file"])
        self.head = session(folder / self.toml["head"]["file"])
        self.side = self.toml["input"]["width"]
        self.margin = self.toml["input"]["margin"]
        self.frames = self.toml["window"]["frames"]
        self.least = self.toml["window"]["least_frames"]
        self.rate = self.toml["window"]["rate_hz"]

    def crop(self, frame, box):
        """The face as the encoder takes it, [3, side, side], 0..255, from a BGR frame."""
        x, y, w, h = box
        side = max(2, round(max(w, h) * self.margin / 2) * 2)
        left, top = (round((middle - side / 2) / 2) * 2 for middle in (x + w / 2, y + h / 2))
        rows, columns = frame.shape[:2]
        part = frame[max(top, 0) : min(top + side, rows), max(left, 0) : min(left + side, columns)]
        borders = [max(-top, 0), max(top + side - rows, 0), max(-left, 0), max(left + side - columns, 0)]
        if any(borders):
            part = cv2.copyMakeBorder(part, *borders, cv2.BORDER_REPLICATE)
        how = cv2.INTER_AREA if side > self.side else cv2.INTER_LINEAR
        crop = cv2.cvtColor(cv2.resize(part, (self.side, self.side), interpolation=how), cv2.COLOR_BGR2RGB)
        return crop.transpose(2, 0, 1).astype(np.float32)

    def encode(self, crops):
        """[N, 3, side, side] to [N, features]"""
        encoder = self.toml["encoder"]
        return self.encoder.run([encoder["output"]], {encoder["input"]: crops})[0]

    def score(self, features):
        """P(fake) of a window [T, features]."""
        head, calibration = self.toml["head"], self.toml["calibration"]
        real, fake = self.head.run([head["output"]], {head["input"]: features[None]})[0][0]
        return 1 / (1 + math.exp(-(calibration["slope"] * (fake - real) + calibration["bias"])))


def frames(clip, count):
    """(index, seconds, BGR picture) of the first frames."""
    capture = cv2.VideoCapture(str(clip))
    rate = capture.get(cv2.CAP_PROP_FPS)
    for index in range(count):
        ok, frame = capture.read()
        if not ok:
            return
        yield index, index / rate, frame


def on_grid(rate):
    """Tells which frames begin a new slot of the grid of times."""
    last = -1

    def due(seconds):
        nonlocal last
        slot = int((seconds + 5e-7) * rate)
        is_due, last = slot > last, max(slot, last)
        return is_due

    return due


def original(clip, count, model, detector):
    scores, crops, due = {}, deque(maxlen=model.frames), on_grid(model.rate)
    for index, seconds, frame in frames(clip, count):
        box = detector(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        # Only these are scored: the model knows the pace at which it was trained.
        if box is None or not due(seconds):
            continue
        crops.append(model.crop(frame, box))
        if len(crops) >= model.least:
            scores[index] = model.score(model.encode(np.stack(crops)))
    return scores


def careful(clip, count, model, detector, detection_size):
    scores, features, due = {}, deque(maxlen=model.frames), on_grid(model.rate)
    smooth, before = Smoother(), None
    for index, seconds, frame in frames(clip, count):
        if not due(seconds):
            continue
        height, width = frame.shape[:2]
        scale = min(1, detection_size / max(height, width))
        size = (round(width * scale), round(height * scale))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        box = detector(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
        if box is None:
            continue
        box = smooth([value / scale for value in box], seconds - before if before is not None else 1 / model.rate)
        before = seconds
        features.append(model.encode(model.crop(frame, box)[None])[0])
        if len(features) >= model.least:
            scores[index] = model.score(np.stack(features))
    return scores


def main():
    way, clip, count, folder, detector = sys.argv[1:]
    cv2.setNumThreads(1)
    if way == "decode":
        for _ in frames(clip, int(count)):
            pass
        scores = {}
    else:
        job = clip, int(count), Model(Path(folder)), CenterFace(detector)
        scores = original(*job) if way == "original" else careful(*job, DETECTION_SIZE[way])
    json.dump(scores, sys.stdout)


if __name__ == "__main__":
    main()
