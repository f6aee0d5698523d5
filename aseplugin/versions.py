"""Versions of what a result depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("voltase", "ase", "e3nn", "mace-torch", "numpy", "scipy", "spglib", "torch", "vesin")


def installed_versions() -> dict[str, str]:
    """Version of Python and of each package that is installed; imports none of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
