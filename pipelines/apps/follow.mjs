#!/usr/bin/env node
/* An application in JavaScript that follows a log of deepfakelog while it grows, and prints a line whenever the verdict
 * on a face changes.
 *
 *   … ! deepfakedetect ! deepfakelog location=reports.jsonl ! …
 *                                               |
 *                                               tail -F → follow.mjs
 *
 * Needs:  Node 18 or newer
 * Run:    node follow.mjs reports.jsonl       or      … deepfakelog location=- … | node follow.mjs -
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const [path] = process.argv.slice(2);
if (!path) {
  console.error('usage: follow.mjs FILE.jsonl|-');
  process.exit(2);
}

/* tail waits for more, and follows a file that is rotated by its name. */
const tail = path === '-' ? null : spawn('tail', ['-n', '+1', '-F', '--', path], { stdio: ['ignore', 'pipe', 'ignore'] });
const lines = createInterface({ input: tail ? tail.stdout : process.stdin, crlfDelay: Infinity });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => (tail ? tail.kill() : process.exit(0)));

/* A schema of its own would have changed the meaning of fields; new fields and words are passed over. */
const SCHEMA = 1;
/* The last state of each face, by the run of the element and the track's number. */
const states = new Map();

for await (const line of lines) {
  let report;
  try {
    report = JSON.parse(line);
  } catch {
    console.error(`not a line of JSON: ${line}`);
    continue;
  }
  if (report.schema !== SCHEMA) {
    console.error(`schema ${report.schema} is not known here (it knows ${SCHEMA})`);
    continue;
  }
  for (const face of report.faces) {
    const key = `${report.stream ?? ''}/${report.run ?? ''}/${face.track_id}`;
    if (states.get(key) === face.state) continue;
    states.set(key, face.state);
    const score = face.score == null ? 'not judged' : face.score.toFixed(2);
    const reason = face.reason ? ` (${face.reason})` : '';
    console.log(`${(report.pts / 1e9).toFixed(3)} face ${face.track_id}: ${face.state}${reason}, ${score}`);
  }
}
