"""Aggregates a Parquet file of readings in order of arrival (seq, series, ts, value) with one batch engine.

  aggregate.py version ENGINE
  aggregate.py run ENGINE VARIANT READINGS.parquet OUT.parquet

One measurement is one process. Wall and CPU seconds exclude imports and include reading the file and writing the result
(Parquet, zstd); the peak of memory is the process'. Each engine has all processors and its own defaults otherwise.

Variants: plain (count, average, least, greatest per series and minute, of every arrival), dedup (of the last arrival of
each series and time), dedup99 (with the exact 99th percentile; DataFusion's is approximate), hour and deduphour (average
per metric and hour). Expressions are the cheapest of each engine.
"""

import importlib
import json
import os
import resource
import signal
import sys
import time

# Whoever takes longer has failed.
TIME_MAX_S = 1800
METRICS = 20


def sql(engine, variant, path):
    """The statement, in the engine's own words."""
    minute, hour, source, last, p99, metric = {
        "duckdb": (
            "epoch_ms(ts) // 60000",
            "epoch_ms(ts) // 3600000",
            f"read_parquet('{path}')",
            "arg_max(value, seq)",
            "quantile_cont(value, 0.99)",
            f"series % {METRICS}",
        ),
        "chdb": (
            "intDiv(toUnixTimestamp64Milli(ts), 60000)",
            "intDiv(toUnixTimestamp64Milli(ts), 3600000)",
            f"file('{path}', Parquet)",
            "argMax(value, seq)",
            "quantileExactInclusive(0.99)(value)",
            f"series % {METRICS}",
        ),
        "datafusion": (
            "date_trunc('minute', ts)",
            "date_trunc('hour', ts)",
            "readings",
            "last_value(value ORDER BY seq)",
            "approx_percentile_cont(value, 0.99)",
            f"series % {METRICS}",
        ),
    }[engine]
    if variant.startswith("dedup"):
        source = f"(SELECT series, ts, {last} AS value FROM {source} GROUP BY series, ts) AS kept"
    if variant.endswith("hour"):
        return f"SELECT {metric} AS m, {hour} AS t, avg(value) AS a FROM {source} GROUP BY {metric}, {hour}"
    more = f", {p99} AS p99" if variant.endswith("99") else ""
    what = "count(*) AS n, avg(value) AS a, min(value) AS lo, max(value) AS hi" + more
    return f"SELECT series, {minute} AS t, {what} FROM {source} GROUP BY series, {minute}"


def duckdb(module, variant, path, out):
    connection = module.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"COPY ({sql('duckdb', variant, path)}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")


def chdb(module, variant, path, out):
    module.query(f"INSERT INTO FUNCTION file('{out}', Parquet) {sql('chdb', variant, path)}")


def datafusion(module, variant, path, out):
    context = module.SessionContext()
    context.register_parquet("readings", path)
    statement = sql("datafusion", variant, path)
    context.sql(f"COPY ({statement}) TO '{out}' STORED AS PARQUET OPTIONS (compression 'zstd(1)')").collect()


def polars(module, variant, path, out):
    value, time_ms = module.col("value"), module.col("ts").cast(module.Int64)
    frame = module.scan_parquet(path).select("series", "ts", "value")
    if variant.startswith("dedup"):
        # Within a group the order is that of the file, which is that of arrival; the answers of all engines are compared.
        frame = frame.group_by("series", "ts").agg(value.last())
    if variant.endswith("hour"):
        keys = [(module.col("series") % METRICS).alias("m"), (time_ms // 3_600_000).alias("t")]
        figures = [value.mean().alias("a")]
    else:
        keys = [module.col("series"), (time_ms // 60_000).alias("t")]
        figures = [module.len().alias("n"), value.mean().alias("a"), value.min().alias("lo"), value.max().alias("hi")]
    if variant.endswith("99"):
        figures.append(value.quantile(0.99, "linear").alias("p99"))
    frame.group_by(keys).agg(figures).collect(engine="streaming").write_parquet(out, compression="zstd")


ENGINES = {"duckdb": duckdb, "chdb": chdb, "datafusion": datafusion, "polars": polars}


def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss: a process inherits that of who started it.
    with open("/proc/self/status") as status:
        peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return used.ru_utime + used.ru_stime, peak_kib * 1024


def run(engine, variant, path, out):
    module = importlib.import_module(engine)
    if os.path.exists(out):
        os.unlink(out)
    cpu_before, _ = usage()
    begun = time.perf_counter()
    ENGINES[engine](module, variant, path, out)
    wall_s = time.perf_counter() - begun
    cpu, peak_bytes = usage()
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    averages = parquet.read_table(out, columns=["a"])["a"]
    told = dict(wall_s=wall_s, cpu_s=cpu - cpu_before, peak_bytes=peak_bytes)
    print(json.dumps(dict(told, rows=len(averages), sum=compute.sum(averages).as_py())), flush=True)


def main(action, engine, *rest):
    signal.alarm(TIME_MAX_S)
    if action == "version":
        print(engine, importlib.import_module(engine).__version__)
    else:
        run(engine, *rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
