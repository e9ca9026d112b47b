#!/usr/bin/env python3
"""An application in Python that watches a video for fakes: reads each frame's report from the buffer's metadata, and
the alerts from the bus.

  filesrc ! decodebin ! videoconvert ! deepfakedetect post-messages=true ! fakesink
                                                           |                  ^ pad probe: metadata
                                                           bus: deepfake-report, deepfake-alert

Needs:  apt-get install python3-gi gir1.2-gstreamer-1.0
Run:    GST_PLUGIN_PATH=target/release python3 monitor.py talk.mp4 [MODEL]
"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def say(line):
    """In one piece: two threads print."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def faces_of(report):
    """The faces of a report, a Gst.Structure each.

    `faces` is a GstArray, which get_value() cannot give to Python; get_array() can. Its entries die with it: copy them.
    """
    found, faces = report.get_array("faces")
    return [faces.get_nth(index).copy() for index in range(faces.n_values)] if found else []


def print_report(origin, report):
    """The structure of the metadata and that of the message have the same fields."""
    _, pts = report.get_uint64("pts")
    for face in faces_of(report):
        _, track = face.get_uint("track_id")
        _, x = face.get_double("x")
        _, y = face.get_double("y")
        line = f"{origin} {pts / Gst.SECOND:.3f} face {track} at {x:.2f},{y:.2f} {face.get_string('state')}"
        # Not there until the window holds enough.
        found, score = face.get_double("score")
        say(f"{line} {score:.2f}" if found else line)


def on_buffer(_pad, info):
    """Called from the streaming thread, for each frame."""
    meta = info.get_buffer().get_custom_meta("deepfake-meta")
    if meta is not None:
        print_report("meta", meta.get_structure())
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
        fields = message.get_structure()
        if message.has_name("deepfake-report"):
            print_report("message", fields)
        elif message.has_name("deepfake-alert"):
            _, track = fields.get_uint("track_id")
            say(f"alert {fields.get_string('action')}: {fields.get_string('kind')} of face {track}")
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
