"""Attaches a disk image to a loop device (loop(4)), as losetup does but leaving no notes behind.

`mount -o loop` would do too, but libmount makes /run/mount on the host for its bookkeeping.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_AUTOCLEAR = 4
_ATTEMPTS = 20

# struct loop_config: fd, block size, then struct loop_info64 with only its flags and name set.
_CONFIG = struct.Struct("=II 40x III I 64s 64x 32x 16x 64x")


def attach(image: str) -> tuple[int, str]:
    """(descriptor, path) of a loop device with `image` behind it.

    The device lets go of the image by itself once neither the descriptor nor a mount holds it.
    """
    with open(image, "r+b") as file:  # noqa: PTH123  pathlib's is the same call, one import more
        for _ in range(_ATTEMPTS):
            device = _free_device()
            descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                name = image.encode()[-63:]
                config = _CONFIG.pack(file.fileno(), 0, 0, 0, 0, LO_FLAGS_AUTOCLEAR, name)
                fcntl.ioctl(descriptor, LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(descriptor)
                if error.errno != errno.EBUSY:
                    raise
                continue  # another machine, booting beside this one, was faster
            return descriptor, device
    raise OSError(errno.EBUSY, f"no free loop device for {image}")


def why_not() -> str:
    """Why this host cannot attach images; empty where it can."""
    try:
        device = _free_device()
    except OSError as error:
        return f"/dev/loop-control: {error.strerror}"
    return "" if os.path.exists(device) else f"{device} has no device node"  # noqa: PTH110


def _free_device() -> str:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
    finally:
        os.close(control)
