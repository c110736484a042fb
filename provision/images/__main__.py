"""`python -m provision.images OUT`: build the example images into a directory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from provision.images.build import ImageBuildError, build_all


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m provision.images", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT")
    out = parser.parse_args(argv).out
    try:
        built = build_all(out, print_line)
    except ImageBuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for archive in built:
        print_line(f"{archive.name} {archive.digest} {archive.path}")
    return 0


def print_line(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
