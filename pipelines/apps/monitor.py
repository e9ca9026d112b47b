#!/usr/bin/env python3
"""An application in Python that watches a video for fakes: reads each frame's report from the buffer's metadata, and
the alerts from the bus.

  filesrc ! decodebin ! videoconvert ! deepfakedetect post-messages=true ! fakesink
                                                           |                  ^ pad probe: metadata
                                                           bus: deepfake-report, deepfake-alert

Needs:  apt-get install python3-gi gir1.2-gstreamer-1.0; pip install ./python (or PYTHONPATH=python/src)
Run:    GST_PLUGIN_PATH=target/release python3 monitor.py talk.mp4 [MODEL]
"""

import sys

import deepfake_report
import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def print_report(origin, report):
    """Metadata and message hold the same report."""
    for face in report.faces:
        # Not there until the face was watched for long enough.
        score = "" if face.score is None else f" {face.score:.2f}"
        line = f"{origin} {report.pts / Gst.SECOND:.3f} face {face.track_id} at {face.x:.2f},{face.y:.2f} {face.state}"
        # In one piece: two threads print.
        sys.stdout.write(f"{line}{score}\n")
        sys.stdout.flush()


def on_buffer(_pad, info):
    """Called from the streaming thread, for each frame."""
    report = deepfake_report.from_buffer(info.get_buffer())
    if report is not None:
        print_report("meta", report)
    return Gst.PadProbeReturn.OK


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: monitor.py VIDEO [MODEL]")
    Gst.init(None)
    pipeline = Gst.parse_launch(
        "filesrc name=file ! decodebin ! videoconvert ! deepfakedetect name=detect mode=sync on-error=fail"
        " post-messages=true ! fakesink name=sink"
    )
    pipeline.get_by_name("file").set_property("location", sys.argv[1])
    if len(sys.argv) == 3:
        pipeline.get_by_name("detect").set_property("model", sys.argv[2])
    pipeline.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, on_buffer)

    pipeline.set_state(Gst.State.PLAYING)
    bus = pipeline.get_bus()
    kinds = Gst.MessageType.ELEMENT | Gst.MessageType.WARNING | Gst.MessageType.ERROR | Gst.MessageType.EOS
    status = None
    while status is None:
        message = bus.timed_pop_filtered(Gst.CLOCK_TIME_NONE, kinds)
        said = deepfake_report.from_message(message)
        if isinstance(said, deepfake_report.Report):
            print_report("message", said)
        elif isinstance(said, deepfake_report.Alert):
            print(f"alert {said.action}: {said.kind} of face {said.track_id}", flush=True)
        elif message.type == Gst.MessageType.EOS:
            status = 0
        elif message.type == Gst.MessageType.ERROR:
            print(f"{message.src.get_name()}: {message.parse_error()[0].message}", file=sys.stderr)
            status = 1
        elif message.type == Gst.MessageType.WARNING:
            print(f"{message.src.get_name()}: {message.parse_warning()[0].message}", file=sys.stderr)
    pipeline.set_state(Gst.State.NULL)
    sys.exit(status)


if __name__ == "__main__":
    main()
