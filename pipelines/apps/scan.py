#!/usr/bin/env python3
"""Prints a verdict per video, from the JSON of `deepfake scan`: scan.py FILE|FOLDER|URL..."""

import json
import subprocess
import sys

with subprocess.Popen(["deepfake", "scan", "--json", *sys.argv[1:]], stdout=subprocess.PIPE, text=True) as scan:
    for finding in map(json.loads, scan.stdout):
        score = "no score" if finding["score"] is None else f"score {finding['score']:.2f}"
        print(finding["file"], finding["verdict"], score, finding["message"] or "", sep="\t")
sys.exit(scan.returncode)  # 0 nothing found, 1 something looks fake, 2 not judged or an error
