"""For tests: MXNet's parameter files, from the format's description."""

import struct

V1, V2 = 0xF993FAC8, 0xF993FAC9
GPU = struct.pack("<2i", 2, 3)
FLOAT32 = 0


def u32(*values):
    return struct.pack(f"<{len(values)}I", *values)


def u64(*values):
    return struct.pack(f"<{len(values)}Q", *values)


def legacy_array(dims, data, flag=FLOAT32):
    return u32(len(dims), *dims) + GPU + u32(flag) + data


def v1_array(dims, data, flag=FLOAT32):
    return u32(V1, len(dims)) + u64(*dims) + GPU + u32(flag) + data


def v2_array(dims, data, flag=FLOAT32, storage=0):
    return u32(V2, storage, len(dims)) + u64(*dims) + GPU + u32(flag) + data


def array_list(arrays, names, magic=0x112):
    texts = [u64(len(name.encode())) + name.encode() for name in names]
    return b"".join([u64(magic, 0, len(arrays)), *arrays, u64(len(names)), *texts])


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)
