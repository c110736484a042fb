#!/usr/bin/env bash
# Installs what Muster needs on Debian 12 or Ubuntu 24.04: `tools/setup.sh VENV [test|go|vagrant]`.
# With `test` also the stock parts that the tests compare with, with `vagrant` what boots virtual
# machines besides. Repeatable.
set -euo pipefail
venv=$1
what=${2:-lab}
python=${PYTHON:-/usr/bin/python3}
here=$(cd "$(dirname "$0")/.." && pwd)

# A file that shows that a package is there, and the package.
lab=(
    "/usr/sbin/sshd openssh-server" "/usr/bin/ssh openssh-client" "/usr/sbin/ip iproute2"
    "/usr/sbin/iptables iptables" "/usr/sbin/nft nftables" "/usr/sbin/conntrack conntrack" "/usr/bin/crun crun"
    "/usr/bin/conmon conmon" "/usr/lib/cni/ptp containernetworking-plugins"
    "/usr/bin/busybox busybox-static" "/usr/bin/tini-static tini" "/usr/sbin/keepalived keepalived"
    "/usr/lib/systemd/systemd systemd" "/usr/sbin/mkfs.ext4 e2fsprogs" "/usr/sbin/sysctl procps"
    "/usr/bin/curl curl" "/usr/share/doc/python3-venv python3-venv"
    "/etc/ssl/certs/ca-certificates.crt ca-certificates"
    "/usr/bin/prometheus prometheus" "/usr/bin/prometheus-node-exporter prometheus-node-exporter"
    "/usr/bin/gcc gcc" "/usr/include/stdio.h libc6-dev" "/usr/include/nghttp2/nghttp2.h libnghttp2-dev"
)
tests=(
    "/usr/bin/git git" "/usr/sbin/runc runc" "/usr/bin/etcd etcd-server" "/usr/bin/etcdctl etcd-client"
    "/usr/bin/containerd containerd"
    "/usr/bin/docker-registry docker-registry" "/usr/bin/openssl openssl"
    "/usr/bin/h2load nghttp2-client" "/usr/share/doc/libfaketime libfaketime"
)
vagrant=(
    "/usr/bin/vagrant vagrant" "/usr/share/doc/vagrant-libvirt vagrant-libvirt"
    "/usr/sbin/libvirtd libvirt-daemon-system" "/usr/bin/virsh libvirt-clients"
    "/usr/share/doc/libvirt-daemon-driver-qemu libvirt-daemon-driver-qemu"
    "/usr/bin/qemu-system-x86_64 qemu-system-x86" "/usr/bin/qemu-img qemu-utils"
    "/usr/sbin/dnsmasq dnsmasq-base" "/usr/sbin/debootstrap debootstrap"
)
go=(
    "/usr/bin/go golang-go" "/usr/share/gocode/src/go.etcd.io/etcd golang-etcd-server-dev"
)
needed=("${lab[@]}")
[[ $what == lab ]] || needed+=("${tests[@]}")
[[ $what != go ]] || needed+=("${go[@]}")
[[ $what != vagrant ]] || needed+=("${vagrant[@]}")
missing=()
for line in "${needed[@]}"; do
    read -r path package <<<"$line"
    # Without a merged /usr (or with one) sbin and bin differ between releases.
    [[ -e $path || -e ${path#/usr} || -e ${path/sbin/bin} ]] || missing+=("$package")
done

install_packages() {
    echo "setup: installing Debian packages: $*"
    # Packages bring services along. Nothing of them shall run on this host for our sake: not
    # now (policy-rc.d), and not after the next boot (disabled below).
    local policy=/usr/sbin/policy-rc.d units before after
    units=(ssh etcd containerd prometheus prometheus-node-exporter keepalived docker-registry libvirtd libvirt-guests
        libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket virtlogd.socket virtlockd.socket)
    before=$(enabled "${units[@]}")
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    after=$(enabled "${units[@]}")
    comm -13 <(echo "$before") <(echo "$after") | while read -r unit; do
        [[ -z $unit ]] || systemctl --quiet --no-reload disable "$unit" 2>/dev/null || true
    done
}

enabled() {
    for unit in "$@"; do
        ! systemctl --quiet is-enabled "$unit" 2>/dev/null || echo "$unit"
    done | sort
}

if ((${#missing[@]})); then
    if ((EUID)); then
        echo "setup: missing Debian packages: ${missing[*]}" >&2
        echo "setup: install them as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    install_packages "${missing[@]}"
fi

stamp=$(sha256sum "$here/requirements/dev.lock" "$here/pyproject.toml" | sha256sum | cut -d' ' -f1)
if [[ $(cat "$venv/.stamp" 2>/dev/null) != "$stamp" ]]; then
    echo "setup: installing Python packages into $venv (a minute or two)"
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
    pip=("$venv/bin/python" -m pip --quiet --disable-pip-version-check install)
    "${pip[@]}" --require-hashes -r "$here/requirements/dev.lock"
    "${pip[@]}" --no-deps --no-build-isolation -e "$here"
    echo "$stamp" >"$venv/.stamp"
fi
# The shim of gRPC's transport (docs/rpc.md). Where it cannot be built, grpcio carries everything.
"$venv/bin/python" "$here/tools/build_shim.py" --if-needed ||
    echo "setup: gRPC will be carried by grpcio" >&2
# What `kubectl explain` prints (docs/api.md). Without it, fields have no descriptions.
descriptions=$here/kube/api/_descriptions.json
if [[ ! -e $descriptions || $descriptions -ot $venv/.stamp || $descriptions -ot $here/tools/gen_api.py ]]; then
    "$venv/bin/python" "$here/tools/gen_api.py" --descriptions
fi
command -v kubectl >/dev/null || cat >&2 <<'TXT'
setup: kubectl is not on PATH. The lab works without it, but you will want it: any version from
setup: 1.31 on, see https://kubernetes.io/docs/tasks/tools/, or `snap install kubectl --classic`.
TXT
