#!/usr/bin/env python3
"""What `deepfake scan` costs, beside what is promised of it: scripts/bench_scan.py [--clips N] [--profile release|debug]

Time and memory for a clip of 30 s at 1280x720 with one face, the use of all cores by many clips, and
whether scores are those of deepfakedetect in a pipeline. Prints a table, and puts it into out/bench.md.
Needs `cargo build --release`, and the clips that `make deps` fetches.
"""

import argparse
import json
import math
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / ".deps/clips/WolfgangLanger_Pexels.mp4"
SHORT = ROOT / ".deps/clips/single_face.mp4"
FRAMES = 720  # 30 s
TITLE = "# Files: `deepfake scan`"


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    return done


def make_clip(path):
    """30 s of the demo's clip, at 1280x720."""
    branch = f'filesrc location="{SOURCE}" ! decodebin ! joined.'
    description = (
        "concat name=joined ! videoconvert ! videoscale ! video/x-raw,width=1280,height=720 ! "
        f"identity eos-after={FRAMES + 1} ! x264enc speed-preset=veryfast bitrate=3000 ! h264parse ! mp4mux ! "
        f'filesink location="{path}" {branch} {branch}'
    )
    done = run(["gst-launch-1.0", "-q", *re.findall(r'"[^"]*"|[^\s"]+(?:"[^"]*")?', description)])
    if not path.exists() or path.stat().st_size < 100_000:
        sys.exit(f"the clip could not be made: {done.stderr}")


def kilobytes(pid):
    """Memory that the process holds for itself, and its share of what it has in common with others."""
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
    return int(found[1]) if found else 0


def family(pid):
    children = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += task.read_text().split()
        except OSError:
            pass
    return [pid] + [member for child in children for member in family(int(child))]


def idle_seconds():
    """Seconds that the cores this process may use have had nothing to do."""
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = (line.split() for line in pathlib.Path("/proc/stat").read_text().splitlines())
    ticks = sum(int(line[4]) + int(line[5]) for line in lines if line[0] in cores)
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(command):
    """The command's output, wall and processor seconds, idle seconds of the cores meanwhile, and most megabytes."""
    before, idle, start = resource.getrusage(resource.RUSAGE_CHILDREN), idle_seconds(), time.monotonic()
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    most, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.1):
            try:
                most[0] = max(most[0], sum(kilobytes(pid) for pid in family(process.pid)))
            except (OSError, ValueError):
                pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    ended.set()
    watcher.join()
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return output, wall, busy, idle_seconds() - idle, most[0] / 1024


def scores_of_a_pipeline(clip):
    """Of each face: the calibrated mean of its windows' logits, as the element says them in a pipeline."""
    lines = run(
        ["gst-launch-1.0", "-q", "filesrc", f"location={clip}", "!", "decodebin", "!", "videoconvert", "!",
         "deepfakedetect", "mode=sync", "threads=1", "device=cpu", "on-error=fail", "!",
         "deepfakelog", "location=-", "!", "fakesink", "sync=false"]
    ).stdout  # fmt: skip
    logits = {}
    for report in map(json.loads, lines.splitlines()):
        for face in report["faces"]:
            if face["state"] not in ("warming", "rejected") and face.get("score") is not None:
                score = face["score"]
                logits.setdefault(face["track_id"], {})[face["window_end"]] = math.log(score / (1 - score))
    means = {}
    for track, windows in logits.items():
        ordered = [windows[end] for end in sorted(windows)]
        total = 0.0
        for logit in ordered:  # in this order and no other, as sums of floating-point numbers depend on it
            total += logit
        means[track] = 1 / (1 + math.exp(-total / len(ordered)))
    return means


def put(part):
    """Puts a part of out/bench.md in the place of what it said before."""
    page = ROOT / "out/bench.md"
    page.parent.mkdir(exist_ok=True)
    text = page.read_text() if page.exists() else ""
    parts = [old for old in re.split(r"(?m)^(?=# )", text) if old.strip() and not old.startswith(TITLE)]
    page.write_text("\n\n".join(old.strip() for old in [*parts, part]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100, help="how many clips use all cores [100]")
    parser.add_argument("--profile", default="release", choices=["release", "debug"])
    arguments = parser.parse_args()
    built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / arguments.profile
    program = built / "deepfake"
    for needed in (program, built / "libgstdeepfake.so", SOURCE, SHORT):
        if not needed.exists():
            sys.exit(f"{needed} is missing: run `make build` and `make deps`")
    # A folder for the plugin alone: GStreamer opens every library below the one that it is given.
    alone = built / "gstreamer-1.0"
    alone.mkdir(exist_ok=True)
    if not (alone / "libgstdeepfake.so").exists():
        (alone / "libgstdeepfake.so").symlink_to("../libgstdeepfake.so")
    os.environ["GST_PLUGIN_PATH"] = str(alone)
    os.environ["GST_REGISTRY"] = str(built.parent / f"gst-registry-{arguments.profile}.bin")
    cores = len(os.sched_getaffinity(0))

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        clip, copy = folder / "clip.mp4", folder / "copy.mp4"
        make_clip(clip)
        copy.symlink_to(clip)

        output, wall, busy, _, _ = measured([program, "scan", "--json", "--report", folder / "one", clip])
        finding = json.loads(output)
        seconds, faces = finding["media"]["seconds"], finding["faces"]
        rows.append(
            ("a clip of 30 s at 1280x720 with one face, its row and its page", "at most 6 s on two cores",
             f"{wall:.1f} s; {busy:.1f} s of processors' time, {seconds / busy:.1f} times real time a core")
        )  # fmt: skip

        expected = scores_of_a_pipeline(clip)
        same = {face["track_id"]: face["score"] for face in faces if face["score"] is not None}
        rows.append(
            ("its scores beside those of deepfakedetect mode=sync threads=1", "the same bits",
             "the same bits" if same == expected and same else f"NOT the same: {same} and {expected}")
        )  # fmt: skip

        *_, memory = measured([program, "scan", "--jobs", "2", "--report", folder / "two", clip, copy])
        rows.append(("two such clips at once (`--jobs 2`), all processes", "at most 600 MB", f"{memory:.0f} MB"))

        many = folder / "many"
        many.mkdir()
        for index in range(arguments.clips):
            (many / f"{index}.mp4").symlink_to(SHORT)
        _, wall, busy, idle, _ = measured([program, "scan", "--report", folder / "all", many])
        rows.append(
            (f"{arguments.clips} short clips in a folder", "at least 85 % of all cores",
             f"{100 * busy / (wall * cores):.0f} % of {cores} used, {100 * idle / (wall * cores):.0f} % idle; {wall:.0f} s")
        )  # fmt: skip

    load = os.getloadavg()[0]
    part = f"{TITLE}\n\n{cores} core(s), build `{arguments.profile}`, load {load:.1f} at the end.\n\n"
    part += "| what | promised | measured |\n|---|---|---|\n"
    part += "".join(f"| {what} | {promised} | {found} |\n" for what, promised, found in rows)
    print(f"\n{part}")
    put(part)
    sys.exit(any("NOT" in found for _, _, found in rows))


if __name__ == "__main__":
    main()
