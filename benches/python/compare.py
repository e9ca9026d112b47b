"""Sets the element beside what a user would write in Python, and beside GStreamer's own `facedetect`; run by `make bench`.

    compare.py [--model NAME]... [--core N] [--repeat N]

Prints processor time per frame and the ratios, and puts them into out/bench.md. The time is that of the whole process, user and
system, all threads, on one core. Each is run over a long and a short part of the same clip, and only the difference counts:
starting, importing and loading models is in neither.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / ".deps/clips/WolfgangLanger_Pexels.mp4"
DETECTOR = ROOT / ".deps/detectors/centerface.onnx"
CASCADE = Path("/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml")
RATE = 24000 / 1001  # of the clip
# Frames of the short part and of the long one. From the short one's end on every window is full.
USUAL, SLOW = (100, 460), (80, 104)
TITLE = "# Beside Python and facedetect"


def make_clip(folder):
    """The demo's clip at 1280×720, in the colours that OpenCV takes all video to have."""
    clip = folder / "clip.mp4"
    subprocess.run(
        ["gst-launch-1.0", "-q", "filesrc", f"location={CLIP}", "!", "decodebin", "!", "videoscale", "!", "videoconvert"]
        + ["!", "video/x-raw,format=I420,width=1280,height=720,colorimetry=bt601", "!", "x264enc", "speed-preset=veryfast"]
        + ["bitrate=3000", "!", "h264parse", "!", "mp4mux", "!", "filesink", f"location={clip}"],
        check=True,
    )
    return clip


def processor_seconds(command):
    """Runs a command; returns the processor time of its process."""
    before = os.times()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    after = os.times()
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    seconds = after.children_user - before.children_user + after.children_system - before.children_system
    return seconds, done.stdout


def launch(clip, frames, *elements):
    return processor_seconds(
        ["gst-launch-1.0", "-q", "filesrc", f"location={clip}", "!", "decodebin", "!", "identity", f"eos-after={frames + 1}"]
        + [part for element in elements for part in ["!", *element.split()]]
        + ["!", "fakesink", "sync=false"]
    )


class Contestant:
    """What is measured; `run(frames)` gives seconds and a score for each scored frame."""

    def __init__(self, name, run, parts=USUAL):
        self.name, self.run, self.parts = name, run, parts
        self.times, self.scores = [], {}

    def measure(self):
        short, short_scores = self.run(self.parts[0])
        long, self.scores = self.run(self.parts[1])
        self.times.append((long - short) / (self.parts[1] - self.parts[0]))
        self.scored = (len(self.scores) - len(short_scores)) / (self.parts[1] - self.parts[0])

    @property
    def frame(self):
        """Milliseconds per frame of the clip."""
        return 1000 * statistics.median(self.times)


def element(clip, model):
    def run(frames):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log.jsonl"
            detect = f"deepfakedetect mode=sync device=cpu threads=1 on-error=fail model={model} face-detector={DETECTOR}"
            seconds, _ = launch(clip, frames, detect, f"deepfakelog location={log}")
            reports = [json.loads(line) for line in log.read_text().splitlines()]
            # The clip's first frame is analysed, and need not be at 0.
            faces = {round((report["pts"] - reports[0]["pts"]) / 1e9 * RATE): report["faces"] for report in reports}
        # Buffers between two analyses carry the last report again.
        scores = {index: found[0]["score"] for index, found in faces.items() if found and found[0]["score"] is not None}
        return seconds, scores

    return run


def python(clip, way, model):
    def run(frames):
        command = [sys.executable, Path(__file__).with_name("contestants.py"), way, clip, frames, ROOT / "models" / model, DETECTOR]
        seconds, said = processor_seconds(list(map(str, command)))
        return seconds, {int(index): score for index, score in json.loads(said).items()}

    return run


def stock(clip, *elements):
    return lambda frames: (launch(clip, frames, *elements)[0], {})


def difference(a, b):
    """Mean and largest difference of the scores of two."""
    common = a.scores.keys() & b.scores.keys()
    apart = [abs(a.scores[index] - b.scores[index]) for index in common]
    return f"{statistics.mean(apart):.3f}, at most {max(apart):.3f} ({len(apart)} frames)" if apart else "no frame in common"


def verdict(ratio, bar):
    return f"**{ratio:.1f}×** (bar {bar}×: {'kept' if ratio >= bar else 'missed'})"


def against_python(clip, model, repeat):
    ours = Contestant(f"deepfakedetect, {model}", element(clip, model))
    careful = Contestant("careful Python", python(clip, "careful", model))
    large = Contestant("careful Python, large faces only", python(clip, "large", model))
    original = Contestant("Python, the original's way", python(clip, "original", model), SLOW)
    reading = Contestant("decoding alone, GStreamer", stock(clip))
    reading_cv = Contestant("decoding alone, OpenCV", python(clip, "decode", model))
    for _ in range(repeat):
        for contestant in (ours, careful, large, reading, reading_cv):
            contestant.measure()
    original.measure()

    rows = []
    for contestant, decoding in ((ours, reading), (careful, reading_cv), (large, reading_cv), (original, reading_cv)):
        whole, without = (time / contestant.scored for time in (contestant.frame, contestant.frame - decoding.frame))
        rows.append((contestant, whole, without))
    table = [
        f"## {model}",
        "",
        "| | ms per scored frame | without decoding | ratio | without decoding | scores differ by |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for contestant, whole, without in rows:
        ratios = f"{whole / rows[0][1]:.2f} | {without / rows[0][2]:.2f}"
        differ = "" if contestant is ours else difference(ours, contestant)
        table.append(f"| {contestant.name} | {whole:.2f} | {without:.2f} | {ratios} | {differ} |")
    than_careful, than_large, than_original = (without / rows[0][2] for _, _, without in rows[1:])
    table += [
        "",
        f"Without decoding: {verdict(than_original, 30)} better than the original's way, {verdict(than_careful, 2)} better than careful Python, "
        f"{than_large:.1f}× better than one that does not look for small faces.",
        "",
    ]
    return table


def against_facedetect(clip, repeat):
    if shutil.which("gst-inspect-1.0") is None or subprocess.run(["gst-inspect-1.0", "facedetect"], capture_output=True).returncode:
        print("SKIPPED: GStreamer's facedetect is not there; apt-get install gstreamer1.0-opencv opencv-data")
        return []
    if not CASCADE.is_file():
        print(f"SKIPPED: facedetect has no {CASCADE}; apt-get install opencv-data")
        return []
    # No face is large enough to be judged: faces are found, followed and cropped, and that is all.
    finding = f"deepfakedetect mode=sync device=cpu threads=1 on-error=fail min-face-size=4096 face-detector={DETECTOR}"
    ours = Contestant("deepfakedetect", stock(clip, finding))
    theirs = Contestant("facedetect", stock(clip, "videoconvert", f"facedetect display=false profile={CASCADE}"))
    reading = Contestant("decoding", stock(clip))
    for _ in range(repeat):
        for contestant in (ours, theirs, reading):
            contestant.measure()
    grid = 15 / RATE
    each = [(ours.frame - reading.frame) / grid, theirs.frame - reading.frame]
    if min(each) <= 0:
        return ["## Finding faces alone", "", "Not measured: reading the clip alone took longer than finding faces in it. Repeat on a calm machine.", ""]
    return [
        "## Finding faces alone",
        "",
        "| | ms per looked-at frame | ms per second of video |",
        "|---|---:|---:|",
        f"| deepfakedetect (CenterFace and tracker, 15 Hz) | {each[0]:.2f} | {each[0] * 15:.0f} |",
        f"| facedetect (Haar cascade, every frame, no tracker) | {each[1]:.2f} | {each[1] * RATE:.0f} |",
        "",
        f"{verdict(each[1] / each[0], 5)} better by looked-at frame, {each[1] * RATE / each[0] / 15:.1f}× by second of video.",
        "",
    ]


def put(lines):
    """Replaces our part of out/bench.md, which begins with its title and ends with the next one."""
    page = ROOT / "out/bench.md"
    page.parent.mkdir(exist_ok=True)
    kept, ours = [], False
    for line in page.read_text().splitlines() if page.exists() else []:
        ours = line == TITLE or (ours and not line.startswith("# "))
        if not ours:
            kept.append(line)
    page.write_text("\n".join([*kept, *([""] if kept and kept[-1] else []), *lines]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="model packages of this repository (l40 and cnn-lstm)")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)), help="the core that all run on")
    parser.add_argument("--repeat", type=int, default=3, help="how often the quick ones are measured; the median counts")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})

    lines = [
        TITLE,
        "",
        "Milliseconds of processor time, user and system, of the whole process on one core; the demo's clip at 1280×720, 24 frames",
        "a second, of which the grid takes 15. Printed by `benches/python/compare.py`, which starts each contestant with a short and",
        "a long part of the clip and takes the difference. The contestants are in `benches/python/contestants.py`: the same detector,",
        "model, ONNX Runtime and grid. A careful user's program runs the same graphs as often as the element, its detector on a picture",
        "of the whole frame that is as large as the one in which the element looks for new faces now and then. In between the element",
        "looks only where the face is expected, for a large one in a smaller picture. A program for large faces only does with half",
        "the size.",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
        for model in options.model or ["l40", "cnn-lstm"]:
            lines += against_python(clip, model, options.repeat)
        lines += against_facedetect(clip, options.repeat)
    print("\n".join(lines))
    put(lines)
    print("added to out/bench.md")


if __name__ == "__main__":
    main()
