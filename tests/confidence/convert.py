"""The shared data sets with event and arrival times, in the form that `weir backtest` reads.

python3 convert.py DATA OUT: writes OUT/<name>.csv.gz with columns metric, device_id, event_time, arrival_time, value
(times in milliseconds since 1970).
"""

import csv
import datetime
import gzip
import sys
from pathlib import Path

DAY_MS = 86_400_000


def rows(path):
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


def helium(data):
    """Every decoded number of a frame, copies included: those repeat a reading."""
    known = {"device_id", "dev_eui", "fcnt", "port", "event_ts_ms", "arrival_ts_ms", "n_hotspots", "max_hold_time_ms",
             "best_rssi", "spreading", "dataRate", "copy_index", "first_event_ts_ms"}
    for row in rows(data / "helium_lorawan/frames.csv.gz"):
        for name, value in row.items():
            if name not in known and value:
                # A copy is the same frame heard again: its first event time names it.
                yield name, row["device_id"], row["first_event_ts_ms"], row["arrival_ts_ms"], value
        yield "rssi", row["device_id"], row["first_event_ts_ms"], row["arrival_ts_ms"], row["best_rssi"]


def umts(data):
    for row in rows(data / "ooo_umts/events.csv.gz"):
        yield "bytes", f"{row['session']}/{row['device_id']}", row["event_ts_ms"], row["arrival_ts_ms"], row["bytes"]


def quakes(data):
    """The network is the source; a revision is a correction of the same event."""
    for row in rows(data / "usgs_quake_feed/versions.csv.gz"):
        if row["mag"]:
            yield "magnitude", row["network"], row["event_ts_ms"], row["seen_ts_ms"], row["mag"]


def hospital(data):
    """Each reported case is a reading: cases of a day are spread over it, reports come through the day they are reported."""
    day = lambda text: int(datetime.datetime.fromisoformat(text + "T00:00:00+00:00").timestamp() * 1000)
    cases = {}
    for row in rows(data / "rki_hospital_delay/cells.csv.gz"):
        count = int(float(row["count"] or 0))
        reference, report = day(row["reference_date"]), day(row["report_date"])
        for i in range(count):
            key = (row["age_group"], reference)
            number = cases[key] = cases.get(key, -1) + 1
            event = reference + number * 7_919 % DAY_MS
            yield "cases", row["age_group"], event, max(report + (i * 104_729) % DAY_MS, event), 1


def main(data, out):
    out.mkdir(parents=True, exist_ok=True)
    for name, read in [("helium", helium), ("umts", umts), ("quakes", quakes), ("hospital", hospital)]:
        found = sorted(read(data), key=lambda row: int(row[3]))
        with gzip.open(out / f"{name}.csv.gz", "wt", newline="", compresslevel=1) as file:
            writer = csv.writer(file)
            writer.writerow(["metric", "device_id", "event_time", "arrival_time", "value"])
            writer.writerows(found)
        print(f"{name}: {len(found)} readings")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
