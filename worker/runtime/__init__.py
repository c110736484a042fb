"""Our container runtime: CRI `runtime.v1` over an OCI runtime (crun or runc) and conmon.

`main` wires, the `*_service` modules speak CRI, `sandboxes`, `containers` and `images` keep the
node in the wanted state, and the modules that say they are pure decide (`oci.spec`,
`oci.resources`, `containers.lifecycle`, `images.references`, ...).
"""
