#!/usr/bin/env bash
# Installs what Muster needs on Debian 12 or Ubuntu 24.04: `tools/setup.sh VENV`. Repeatable.
set -euo pipefail
venv=$1
python=${PYTHON:-/usr/bin/python3}
here=$(cd "$(dirname "$0")/.." && pwd)

# Program or file that shows that a package is there, and the package.
needed=(
    "/usr/sbin/sshd openssh-server" "/usr/bin/ssh openssh-client" "/usr/sbin/ip iproute2"
    "/usr/sbin/iptables iptables" "/usr/sbin/conntrack conntrack" "/usr/bin/crun crun"
    "/usr/sbin/runc runc" "/usr/bin/conmon conmon" "/usr/lib/cni/ptp containernetworking-plugins"
    "/usr/bin/busybox busybox-static" "/usr/bin/tini-static tini" "/usr/sbin/keepalived keepalived"
    "/lib/systemd/systemd systemd" "/usr/bin/etcd etcd-server" "/usr/bin/etcdctl etcd-client"
    "/usr/bin/containerd containerd" "/usr/bin/prometheus prometheus" "/usr/sbin/mkfs.ext4 e2fsprogs"
    "/usr/bin/curl curl" "/usr/share/doc/python3-venv python3-venv" "/usr/bin/git git"
    "/usr/sbin/sysctl procps"
)
missing=()
for line in "${needed[@]}"; do
    read -r path package <<<"$line"
    [[ -e $path || -e /usr$path || -e ${path/sbin/bin} ]] || missing+=("$package")
done

if ((${#missing[@]})); then
    if ((EUID)); then
        echo "setup: missing Debian packages: ${missing[*]}" >&2
        echo "setup: install them as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing Debian packages: ${missing[*]}"
    # The packages bring services along; nothing of this host shall start or listen for us.
    policy=/usr/sbin/policy-rc.d
    made=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=1
    fi
    trap '[[ -z $made ]] || rm -f $policy' EXIT
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

stamp=$(sha256sum "$here/requirements/dev.lock" "$here/pyproject.toml" | sha256sum | cut -d' ' -f1)
if [[ $(cat "$venv/.ready" 2>/dev/null) != "$stamp" ]]; then
    echo "setup: installing Python packages into $venv (a minute or two)"
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes \
        -r "$here/requirements/dev.lock"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
        --no-build-isolation -e "$here"
    echo "$stamp" >"$venv/.ready"
fi
command -v kubectl >/dev/null || cat >&2 <<'TXT'
setup: kubectl is not on PATH. The lab works without it, but you will want it: see
setup: https://kubernetes.io/docs/tasks/tools/ (any version from 1.28 on), or `snap install kubectl --classic`.
TXT
touch "$venv/.ready"
