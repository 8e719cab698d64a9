"""A disk in memory, for nbdkit, that writes down every write and every flush: log=FILE, size=BYTES.

An entry of the log is its kind (1 a write, 2 a flush, 3 a write that is durable when it is answered), offset and length,
little-endian in 1, 8 and 4 bytes, then the bytes.
"""

import builtins
import struct

import nbdkit

API_VERSION = 2

settings = {}
disk = bytearray()
log = None


def config(key, value):
    settings[key] = value


def config_complete():
    global disk, log
    disk = bytearray(int(settings["size"]))
    log = builtins.open(settings["log"], "wb", buffering=0)


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(readonly):
    return 1


def get_size(handle):
    return len(disk)


def can_flush(handle):
    return True


def can_fua(handle):
    return nbdkit.FUA_NATIVE


def pread(handle, buffer, offset, flags):
    buffer[:] = disk[offset : offset + len(buffer)]


def pwrite(handle, buffer, offset, flags):
    kind = 3 if flags & nbdkit.FLAG_FUA else 1
    log.write(struct.pack("<BQI", kind, offset, len(buffer)) + bytes(buffer))
    disk[offset : offset + len(buffer)] = buffer


def flush(handle, flags):
    log.write(struct.pack("<BQI", 2, 0, 0))
