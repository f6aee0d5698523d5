"""Labels from an electronic-structure code: structures times electron numbers or potentials.

`voltase.aseplugin.labelling.run.label_structures` does it all; ``pe-label`` calls it.
"""
