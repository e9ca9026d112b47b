#!/usr/bin/env python3
"""A small web page, with Flask, that shows the newest verdict on each face from a log of deepfakelog.

  … ! deepfakedetect ! deepfakelog location=reports.jsonl ! …
                                              |
                                              tail -F → thread → http://127.0.0.1:5000/ and /faces (JSON)

Needs:  pip install flask ./python (or PYTHONPATH=python/src)
Run:    python3 dashboard.py reports.jsonl [PORT]

It listens on this machine only. Anyone who can open the page sees the verdicts: put a server with a password in
front of it before you let others in.
"""

import subprocess
import sys
import threading
from dataclasses import asdict

import deepfake_report
from flask import Flask, jsonify, render_template_string
from werkzeug.serving import make_server

PAGE = """<!doctype html>
<meta charset="utf-8"><meta http-equiv="refresh" content="1"><title>Faces</title>
<table>
<tr><th>face<th>state<th>score
{% for face in faces %}<tr><td>{{ face.track_id }}<td>{{ face.state }}{% if face.reason %} ({{ face.reason }}){% endif %}
<td>{{ "%.2f"|format(face.score) if face.score is not none else "not judged" }}
{% else %}<tr><td colspan="3">no face is in the picture
{% endfor %}</table>
"""


class Newest:
    """The newest report: one thread reads the log, those of the server look."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.report = None
        # tail waits for more, and follows a file that is rotated by its name.
        command = ["tail", "-n", "+1", "-F", "--", path]
        self.tail = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.tail.stdout:
            try:
                report = deepfake_report.parse_line(line)
            except deepfake_report.ReportError as error:
                print(error, file=sys.stderr)
                continue
            with self.lock:
                self.report = report

    def faces(self):
        with self.lock:
            return [] if self.report is None else self.report.faces


def app_for(newest):
    app = Flask(__name__)

    @app.get("/")
    def page():
        return render_template_string(PAGE, faces=newest.faces())

    @app.get("/faces")
    def faces():
        return jsonify([asdict(face) for face in newest.faces()])

    return app


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: dashboard.py FILE.jsonl [PORT]")
    newest = Newest(sys.argv[1])
    server = make_server("127.0.0.1", int(sys.argv[2]) if len(sys.argv) == 3 else 5000, app_for(newest), threaded=True)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        newest.tail.terminate()


if __name__ == "__main__":
    main()
