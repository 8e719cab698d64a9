"""The tables of docs/confidence.md, from what run.sh wrote: tables.py OUT.

Of each shared data set all aggregates, of each made-up law one line over all of them.
"""

import re
import sys
from pathlib import Path

SETS = ["umts", "helium", "quakes", "hospital"]
LAWS = ["lognormal", "gateways", "outages", "uploads", "events", "slower", "pauses", "nightly", "corrections"]
KINDS = [("single", "each"), ("group", "all together")]
# Answers of one age from which on its coverage is told.
ENOUGH = 300


def rows(path):
    """The rows of a table of `weir backtest`, and the sentence about what was not scored."""
    text = path.read_text()
    unscored = re.search(r"Not scored: (.*)", text)
    found = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 12 and parts[0] != "agg" and not parts[0].startswith("-"):
            found.append(parts)
    return found, unscored.group(1) if unscored else ""


def number(text, digits=3):
    return "-" if text == "-" else f"{float(text):.{digits}f}"


def least(found, aggregate):
    """The lowest coverage of an age with enough answers."""
    covered = [float(r[3]) for r in found if r[0] == aggregate and r[1] != "all" and int(r[2]) >= ENOUGH]
    return f"{min(covered):.3f}" if covered else "-"


def of_set(out, name):
    notes = []
    print("| | | answers | coverage | least of any age | of intervals wider than a point | ECE | Brier / climatology | width / baseline | completeness off by |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for kind, label in KINDS:
        found, unscored = rows(out / f"{name}-{kind}.txt")
        for r in (r for r in found if r[1] == "all"):
            answers, opened = int(r[2]), f"{number(r[5])} ({int(r[4]):,})"
            print(f"| {label} | {r[0]} | {answers:,} | {number(r[3])} | {least(found, r[0])} | {opened} | {number(r[10])} "
                  f"| {number(r[8], 4)} / {number(r[9], 4)} | {number(r[7])} | {number(r[11])} |")
            label = ""
        if not found:
            print(f"| {label} | none | 0 | - | - | - | - | - | - | - |")
        notes.append(f"{'Each series' if kind == 'single' else 'All together'}: {unscored}.")
    print("\nNot scored. " + " ".join(notes))


def of_laws(out):
    print("| law | | answers | coverage | of intervals wider than a point | ECE | Brier / climatology | width / baseline of count, sum, avg | completeness off by, from a minute on |")
    print("|---|---|---|---|---|---|---|---|---|")
    for law in LAWS:
        for kind, label in KINDS:
            found, _ = rows(out / f"{law}-{kind}.txt")
            r = next(r for r in found if r[0] == r[1] == "all")
            widths = ", ".join(number(w[7], 2) for w in found if w[1] == "all" and w[0] in ("count", "sum", "avg"))
            late = [r for r in found if r[0] == "count" and r[1] not in ("all", "0s", "5s", "15s", "30s") and r[11] != "-"]
            answers = sum(int(r[2]) for r in late)
            off = sum(int(r[2]) * float(r[11]) for r in late) / answers if answers else float("nan")
            print(f"| {law if kind == 'single' else ''} | {label} | {int(r[2]):,} | {number(r[3])} | {number(r[5])} ({int(r[4]):,}) "
                  f"| {number(r[10])} | {number(r[8], 4)} / {number(r[9], 4)} | {widths} | {off:+.4f} |")


if __name__ == "__main__":
    out = Path(sys.argv[1])
    for name in SETS:
        print(f"\n### {name}\n")
        of_set(out, name)
    print("\n### Made-up laws\n")
    of_laws(out)
