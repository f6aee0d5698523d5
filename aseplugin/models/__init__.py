"""Torch modules of the models that ship; no ASE here."""

from voltase.aseplugin.models.third_party import quiet_imports

with quiet_imports():
    # Before e3nn, whichever module comes first: e3nn 0.4.4 cannot load its constants otherwise.
    import mace.modules.blocks  # noqa: F401
