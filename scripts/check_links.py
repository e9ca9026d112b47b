#!/usr/bin/env python3
"""Checks that every relative link of the project's Markdown files leads somewhere: to a file or folder of the
project, and where it names a heading (`#…`), to a heading that is there.

    check_links.py [FILE.md...]      default: all that git knows or would add

Prints what leads nowhere and exits with 1. Links to other hosts are not followed.
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r"\[[^\]\[]*(?:\[[^\]]*\][^\]\[]*)*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
CODE_SPAN = re.compile(r"(`+).+?\1")
HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*$")


def prose(text: str) -> list[str]:
    """The lines outside of code blocks; a fence that is indented in a list counts as one, too."""
    lines, fence = [], None
    for line in text.splitlines():
        start = re.match(r"\s*(```+|~~~+)", line)
        if start and (fence is None or start[1].startswith(fence)):
            fence = start[1] if fence is None else None
            line = ""
        lines.append("" if fence or line.startswith("    ") else line)
    return lines


def anchors(path: Path) -> set[str]:
    """Names of the headings, as GitHub and GitLab make them, and of `<a name>` and `<a id>`."""
    found: set[str] = set()
    for line in prose(path.read_text(encoding="utf-8")):
        found.update(re.findall(r"<a (?:name|id)=\"([^\"]+)\"", line))
        if heading := HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1].replace("`", ""))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            name, count = slug, 0
            while name in found:
                count += 1
                name = f"{slug}-{count}"
            found.add(name)
    return found


def dead_links(path: Path, root: Path) -> list[str]:
    dead = []
    for number, line in enumerate(prose(path.read_text(encoding="utf-8")), start=1):
        for target in LINK.findall(CODE_SPAN.sub("", line)):
            if re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.IGNORECASE):
                continue
            name, _, anchor = unquote(target).partition("#")
            file = (path.parent / name).resolve() if name else path.resolve()
            where = f"{path.relative_to(root)}:{number}: {target}"
            if not file.exists():
                dead.append(f"{where}: there is no such file")
            elif not file.is_relative_to(root):
                dead.append(f"{where}: leads out of the project")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                dead.append(f"{where}: there is no such heading")
    return dead


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    if sys.argv[1:]:
        files = [Path(name).resolve() for name in sys.argv[1:]]
    else:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"]
        names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        files = [root / name for name in names.split("\0") if name and (root / name).is_file()]
    if not files:
        sys.exit("no Markdown files were found")
    dead = [line for file in files for line in dead_links(file, root)]
    print("\n".join(dead) if dead else f"all relative links of {len(files)} pages lead somewhere")
    sys.exit(1 if dead else 0)


if __name__ == "__main__":
    main()
