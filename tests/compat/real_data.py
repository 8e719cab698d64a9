#!/usr/bin/env python3
"""Weir's answers beside DuckDB's and Polars', from the same real files.

Imports the data sets with the real binary, then compares count, sum, average, minimum and maximum of every device,
metric and day: from the merged view before a recompute, from the batch view after it. DuckDB and Polars read the source
files themselves. Needs the packages duckdb, polars and pyarrow.

    python real_data.py --weir target/release/weir --data ../shared/data
"""

import argparse
import datetime
import json
import math
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import duckdb
import polars

DAY_MS = 86_400_000
# What the source says of one identity (device, metric, event time) several times: the last in the file counts.
SETS = {
    "prsa_beijing": {
        "file": "prsa_beijing/readings.parquet",
        "import": [],
        "rows": "SELECT device_id AS device, metric, epoch_ms(event_ts) AS ms, value, file_row_number AS n "
        "FROM read_parquet('{file}', file_row_number = true)",
    },
    "pjm_hourly_load": {
        "file": "pjm_hourly_load/load.parquet",
        "import": ["--time", "ts_local"],
        "rows": "SELECT device_id AS device, 'load_mw' AS metric, epoch_ms(ts_local) AS ms, load_mw AS value, "
        "file_row_number AS n FROM read_parquet('{file}', file_row_number = true)",
    },
}
LAST = "SELECT device, metric, ms, arg_max(value, n) AS value FROM ({rows}) GROUP BY ALL"
DAYS = (
    f"SELECT device, metric, ms // {DAY_MS} * {DAY_MS} AS day, count(*) AS n, fsum(value) AS s, min(value) AS lo, "
    "max(value) AS hi FROM ({last}) GROUP BY ALL"
)


def by_duckdb(rows):
    """(device, metric, day) to (count, sum, min, max)."""
    last = LAST.format(rows=rows)
    found = duckdb.connect().execute("SET TimeZone = 'UTC'; " + DAYS.format(last=last)).fetchall()
    return {tuple(row[:3]): tuple(row[3:]) for row in found}


def by_polars(rows):
    """The same from Polars; DuckDB only reads the file."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    table = connection.sql(rows).to_arrow_table()
    frame = polars.from_arrow(table).sort("n")
    last = frame.group_by("device", "metric", "ms").agg(polars.col("value").last())
    day = (polars.col("ms") // DAY_MS * DAY_MS).alias("day")
    value = polars.col("value")
    days = last.group_by("device", "metric", day).agg(
        value.len().alias("n"), value.sum().alias("s"), value.min().alias("lo"), value.max().alias("hi")
    )
    return {tuple(row[:3]): tuple(row[3:]) for row in days.iter_rows()}


class Weir:
    """The real server over a data directory."""

    def __init__(self, binary, directory):
        self.binary = binary
        command = [binary, "serve", "--data-dir", directory, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = next(word for word in line.split() if word.startswith("http://")).rstrip("/")
        while not self.ready():
            time.sleep(0.02)

    def ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/ready", timeout=10).status == 200
        except urllib.error.URLError:
            return False

    def days(self, view):
        """What Weir says, as `by_duckdb` does; and its averages."""
        query = {"match": "{}", "from": "1990-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z", "step": "1d",
                 "agg": "count,sum,avg,min,max", "view": view}
        with urllib.request.urlopen(f"{self.url}/v1/query?{urllib.parse.urlencode(query)}", timeout=600) as answer:
            series = json.load(answer)["series"]
        found = {}
        for one in series:
            for point in one["points"]:
                day = int(datetime.datetime.fromisoformat(point["time"]).timestamp()) * 1000
                key = (one["tags"]["device_id"], one["metric"], day)
                found[key] = tuple(point[name] for name in ("count", "sum", "min", "max", "avg"))
        return found

    def recompute(self):
        subprocess.run([self.binary, "recompute", "--wait", "--url", self.url], check=True, capture_output=True)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0


def compare(what, told, truth, exact_sums):
    """The number of days compared; complains of the first difference. Averages are checked against the sum."""
    assert told.keys() == truth.keys(), f"{what}: days differ: {list(told.keys() ^ truth.keys())[:3]}"
    for key, (n, s, lo, hi) in truth.items():
        count, total, low, high, average = told[key]
        assert (count, low, high) == (n, lo, hi), f"{what}: {key}: {told[key]} instead of {truth[key]}"
        close = math.isclose(total, s, rel_tol=1e-15 if exact_sums else 1e-12, abs_tol=1e-9)
        assert close and math.isclose(average, s / n, rel_tol=1e-12, abs_tol=1e-9), f"{what}: {key}: {told[key]}, {s}"
    return len(truth)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--weir", required=True)
    arguments.add_argument("--data", required=True)
    arguments = arguments.parse_args()
    binary = str(pathlib.Path(arguments.weir).resolve())
    for name, of in SETS.items():
        file = pathlib.Path(arguments.data, of["file"]).resolve()
        rows = of["rows"].format(file=file)
        truths = {"DuckDB": by_duckdb(rows), "Polars": by_polars(rows)}
        with tempfile.TemporaryDirectory() as directory:
            command = [binary, "import", "--data-dir", directory, *of["import"], str(file)]
            subprocess.run(command, check=True, capture_output=True)
            weir = Weir(binary, directory)
            merged = weir.days("unified")
            weir.recompute()
            batch = weir.days("batch")
            for peer, truth in truths.items():
                # DuckDB's fsum compensates, Polars' sum does not.
                for view, told in (("merged, before recompute", merged), ("batch, after it", batch)):
                    days = compare(f"{name}, {view}, {peer}", told, truth, peer == "DuckDB")
                    print(f"{name}: {view}: {days} days of every device and metric equal {peer}'s")
            weir.stop()
            files = sum(1 for path in pathlib.Path(directory, "history", "readings").rglob("*") if path.is_file())
            print(f"{name}: {files} files of readings")


if __name__ == "__main__":
    main()
