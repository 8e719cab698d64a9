"""Readings with laws of lateness that the shared data sets do not have, in the form that `weir backtest` reads.

python3 laws.py OUT: writes OUT/<law>.csv.gz with columns metric, device_id, event_time, arrival_time, value (times in
milliseconds since 1970). The same numbers on every run. The model was not fitted to them, but they have been looked at.
"""

import gzip
import math
import random
import sys
from pathlib import Path

BEGIN = 1_767_225_600_000
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


def value(device, time):
    """Levels that differ from device to device, a common wave of six hours, noise."""
    return 20 + device % 7 + 5 * math.sin(time / HOUR) + random.gauss(0, 1)


def instants(hours, gap, jitter=0.0):
    """Every `gap` milliseconds, give or take."""
    time = BEGIN + random.random() * gap
    while time < BEGIN + hours * HOUR:
        yield time
        time += gap * random.uniform(1 - jitter, 1 + jitter)


def lognormal():
    """Delays of seconds with a long tail; each device has its own pace and lateness."""
    for device in range(30):
        typical = math.log(random.uniform(300, 3_000))
        for time in instants(8, 2 * SECOND * random.choice([1, 1, 2, 5]), 0.05):
            yield device, time, time + random.lognormvariate(typical, 0.9), value(device, time)


def stored(gateways, devices, hours, every, pareto, least, gap, drain):
    """Gateways that store what they can't send: outages of Pareto length, the backlog sent in order."""
    for gateway in range(gateways):
        outages, time = [], BEGIN
        while time < BEGIN + hours * HOUR:
            time += random.expovariate(1 / every)
            length = min(HOUR, least * random.paretovariate(pareto))
            outages.append((time, time + length))
            time += length
        for device in range(gateway * devices, (gateway + 1) * devices):
            at = 0
            for time in instants(hours, gap, 0.02):
                arrival = time + random.expovariate(1 / 400)
                while at < len(outages) and outages[at][1] <= arrival:
                    at += 1
                if at < len(outages) and outages[at][0] <= arrival:
                    begun, ended = outages[at]
                    arrival = ended + (arrival - begun) * drain + random.uniform(0, 500)
                yield device, time, arrival, value(device, time)


def gateways():
    """Outages each half an hour, most of them short."""
    return stored(3, 8, 24, 30 * MINUTE, 1.2, 15 * SECOND, 6 * SECOND, 0.005)


def outages():
    """Outages each hour, a minute at least and often long; the backlog takes a twentieth of the time."""
    return stored(10, 4, 16, HOUR, 1.05, MINUTE, 10 * SECOND, 0.05)


def uploads():
    """All of five minutes at once, in any order; one upload in ten is skipped."""
    period = 5 * MINUTE
    for device in range(20):
        phase, skipped = random.random() * period, {}
        for time in instants(24, 10 * SECOND):
            upload = math.floor((time - BEGIN - phase) / period) + 1
            while skipped.setdefault(upload, random.random() < 0.1):
                upload += 1
            yield device, time, BEGIN + phase + upload * period + random.uniform(500, 4_000), value(device, time)


def events():
    """Poisson events whose rate follows the day; one in twenty is late by a minute and a half."""
    for device in range(15):
        typical, time = random.choice([3, 10, 30]) * SECOND, BEGIN
        while time < BEGIN + DAY:
            rate = (1 + 0.8 * math.sin(2 * math.pi * (time - BEGIN) / DAY)) / typical
            time += random.expovariate(rate)
            late = 800 if random.random() < 0.95 else 90 * SECOND
            yield device, time, time + random.expovariate(1 / late), random.lognormvariate(1, 1)


def slower():
    """Delays that quadruple in the middle, and are longer for great values; some copies."""
    for device in range(12):
        for time in instants(10, 3 * SECOND):
            reading = value(device, time)
            mean = (2 if time < BEGIN + 5 * HOUR else 8) * SECOND * (3 if reading > 25 else 1)
            arrival = time + random.gammavariate(2, mean / 2)
            yield device, time, arrival, reading
            if random.random() < 0.01:
                yield device, time, arrival + random.uniform(SECOND, MINUTE), reading


def pauses():
    """Devices that go off and come back; some keep the last minute, others nothing."""
    for device in range(25):
        gap, keeps = random.choice([1, 2, 5, 15]) * SECOND, random.choice([0, MINUTE])
        running, turns = True, BEGIN + random.expovariate(1 / (20 * MINUTE))
        for time in instants(16, gap, 0.1):
            if time > turns:
                running = not running
                turns = time + random.expovariate(1 / (20 * MINUTE if running else 150 * SECOND))
            if running:
                yield device, time, time + random.gammavariate(1.5, 700), value(device, time)
            elif turns - time < keeps:
                yield device, time, turns + random.uniform(200, 2_500), value(device, time)


def nightly():
    """Meters: a quarter of them is read once a night, others send within hours."""
    for device in range(40):
        phase = random.uniform(0, 4 * HOUR)
        for time in instants(60 * 24, 10 * MINUTE, 0.2):
            if device % 4 == 0:
                night = math.floor((time - BEGIN - phase) / DAY) + 1
                arrival = BEGIN + phase + night * DAY + random.uniform(10 * SECOND, 10 * MINUTE)
            else:
                arrival = time + random.lognormvariate(math.log(20 * MINUTE), 1.0)
            yield device, time, arrival, value(device, time)


def corrections():
    """Delays of seconds; three readings in a hundred are corrected minutes later."""
    for device in range(12):
        for time in instants(12, 4 * SECOND):
            reading, arrival = value(device, time), time + random.expovariate(1 / (5 * SECOND))
            yield device, time, arrival, reading
            if random.random() < 0.03:
                yield device, time, arrival + random.uniform(10, 200) * SECOND, reading + random.gauss(0, 3)


LAWS = [lognormal, gateways, outages, uploads, events, slower, pauses, nightly, corrections]


def main(out):
    for seed, law in enumerate(LAWS):
        random.seed(seed)
        rows = sorted(law(), key=lambda row: row[2])
        # Names and times in the header would make every run another file.
        with open(out / f"{law.__name__}.csv.gz", "wb") as raw, gzip.GzipFile("", "wb", 5, raw, mtime=0) as packed:
            text = (f"{law.__name__},d{d},{int(time)},{int(arrival)},{v:.4f}\n" for d, time, arrival, v in rows)
            packed.write(b"metric,device_id,event_time,arrival_time,value\n")
            packed.write("".join(text).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
