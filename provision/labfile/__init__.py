"""The lab file: what the user writes (`apiVersion: muster/v1`, `kind: Lab`)."""

from provision.labfile.parse import load_lab, parse_lab
from provision.labfile.spec import Lab, MachineSize, Metadata, Network, ProviderName, Spec
from provision.labfile.validate import validate

__all__ = [
    "Lab",
    "MachineSize",
    "Metadata",
    "Network",
    "ProviderName",
    "Spec",
    "load_lab",
    "parse_lab",
    "validate",
]
