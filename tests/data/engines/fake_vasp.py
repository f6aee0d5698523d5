"""Stands in for VASP: answers the INCAR in the present folder from a table.

Argument: a JSON file with ``outcar`` (template), ``points`` (NELECT -> TOTEN, E-fermi),
``solvation`` (name of the energy's term) and optionally ``shift`` (FERMI_SHIFT to print),
``locpot`` (planar average, eV), ``drop`` (a text in the OUTCAR, which ends before it).
"""

import json
import re
import sys
from pathlib import Path

table = json.loads(Path(sys.argv[1]).read_text())
incar = Path("INCAR").read_text()
nelect = float(re.search(r"NELECT = (\S+)", incar)[1])
toten, fermi = table["points"][f"{nelect:.2f}"]
outcar = Path(table["outcar"]).read_text()
for name, value in {
    "NELECT": f"{nelect:.4f}",
    "TOTEN": f"{toten:.8f}",
    "FERMI": f"{fermi:.4f}",
    "SOLVATION": table["solvation"],
}.items():
    outcar = outcar.replace(f"@{name}@", value)
if "drop" in table:
    outcar = outcar[: outcar.index(table["drop"])]
Path("OUTCAR").write_text(outcar)
Path("WAVECAR").write_bytes(b"1")
if "locpot" in table:
    values = table["locpot"]
    grid = "\n".join(" ".join([f"{value:.6f}"] * 4) for value in values)
    cell = "\n".join(Path("POSCAR").read_text().splitlines())
    Path("LOCPOT").write_text(f"{cell}\n\n  2  2  {len(values)}\n{grid}\n")
print(" running on    1 total cores")
if "shift" in table:
    print(" FERMI_SHIFT =  0.00000000000000")
    print(f" FERMI_SHIFT =  {table['shift']:.14f}")
