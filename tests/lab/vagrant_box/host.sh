#!/usr/bin/env bash
# PID 1 of a libvirt host of the test's own: `host.sh FOLDER`, in new mount, pid and network
# namespaces. The host's libvirt, its configuration and its networks are neither used nor
# changed, and ending this process ends all machines and daemons. What it writes is in FOLDER.
set -euo pipefail
folder=$1
mount --make-rprivate /
mount -t sysfs sysfs /sys # shows this network namespace's bridges
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up

mkdir -p "$folder"/{etc,lib,log,cache}
cp -a /etc/libvirt/. "$folder/etc/"
rm -rf "$folder"/etc/qemu/* # the host's own domains and networks
cat >"$folder/etc/qemu.conf" <<'CONF'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
seccomp_sandbox = 0
CONF
cat >"$folder/etc/libvirtd.conf" <<'CONF'
listen_tls = 0
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
CONF
mount --bind "$folder/etc" /etc/libvirt
for part in lib log cache; do
    mount --bind "$folder/$part" "/var/$part/libvirt"
done

virtlogd -d
libvirtd -d
trap 'exit 0' TERM INT
while :; do
    sleep 3600 &
    wait $! # adopted orphans are reaped meanwhile
done
