"""Builds the example images: OCI archives made from this machine's own Debian packages.

No registry, no daemon, no network: `layout` turns files into an OCI archive (pure), `catalog`
says which images there are, `build` reads the binaries and writes the archives.
"""

from provision.images.build import ImageArchive, ImageBuildError, build_all

__all__ = ["ImageArchive", "ImageBuildError", "build_all"]
