"""The file's layout (bbolt: page.go, bucket.go, db.go). All numbers are little-endian.

A file is pages of equal size. Page 0 and 1 hold the meta data, the newer valid one counts. A
bucket is a B+tree: branch pages lead to leaf pages, keys ascend. A page that is too small for
what it must hold goes on over the `overflow` pages behind it. The tree that the meta page names
holds the buckets: name -> root page, or 0 and a whole page in the value itself ("inline").
"""

from __future__ import annotations

import struct

PAGE_SIZE = 4096
META_PAGES = 2
MAGIC = 0xED0CDAED
VERSION = 2
NO_FREELIST = (1 << 64) - 1  # free pages are found by walking the file, as etcd has it

BRANCH, LEAF, META = 0x01, 0x02, 0x04  # what a page is
IS_BUCKET = 0x01  # what a leaf's element is, if not a plain key and value

HEADER = struct.Struct("<QHHI")  # page id, flags, count of elements, overflow
BRANCH_ELEMENT = struct.Struct("<IIQ")  # offset of the key from here, its size, page id
LEAF_ELEMENT = struct.Struct("<IIII")  # flags, offset of the key from here, its size, value's size
BUCKET = struct.Struct("<QQ")  # root page, sequence
# magic, version, page size, flags, root page, sequence, freelist page, pages, transaction
META_BODY = struct.Struct("<IIIIQQQQQ")
CHECKSUM = struct.Struct("<Q")
ELEMENT_SIZE = 16  # of both kinds

_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def checksum(body: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = _FNV_OFFSET
    for byte in body:
        value = (value ^ byte) * _FNV_PRIME % (1 << 64)
    return value
