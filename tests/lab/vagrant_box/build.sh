#!/usr/bin/env bash
# Builds a Debian 12 box for vagrant-libvirt with what Muster's machines need, so that a VM
# without internet can be provisioned: `build.sh FOLDER` leaves FOLDER/{muster-test.box,vmlinuz,
# initrd.img}. Needs root, debootstrap, qemu-utils and a Debian mirror (this host's own is used).
# The kernel and initrd are outside the disk because the VM boots them directly: no boot loader.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk '$2=="bookworm"{print $1; exit}')
root=$out/root
packages=(
    systemd systemd-sysv udev dbus ifupdown isc-dhcp-client openssh-server sudo python3 python3-apt
    linux-image-cloud-amd64 iproute2 iptables nftables conntrack crun runc conmon keepalived prometheus-node-exporter curl procps
    containernetworking-plugins kmod busybox ca-certificates
)

list=$(IFS=,; echo "${packages[*]}")
if [[ $(cat "$out/root.done" 2>/dev/null) != "$list" ]]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include="$list" bookworm "$root" "$mirror" >"$out/debootstrap.log"
    echo "$list" >"$out/root.done"
fi

# What Vagrant expects of a box: user vagrant with the well-known key, passwordless sudo, DHCP.
if ! chroot "$root" id vagrant >/dev/null 2>&1; then
    chroot "$root" useradd -m -s /bin/bash vagrant
fi
key=$(find /usr/share -path '*/vagrant-*/keys/vagrant.pub' | head -n 1)
install -d -m 700 "$root/home/vagrant/.ssh"
install -m 600 "$key" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant: /home/vagrant/.ssh
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
chmod 440 "$root/etc/sudoers.d/vagrant"
printf 'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n' >"$root/etc/network/interfaces"
printf '/dev/vda / ext4 defaults,noatime 0 1\n' >"$root/etc/fstab"
printf 'UseDNS no\nGSSAPIAuthentication no\n' >"$root/etc/ssh/sshd_config.d/fast.conf"
echo muster-test >"$root/etc/hostname"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer man-db.timer \
    dpkg-db-backup.timer keepalived.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd.img"
rm -f "$out/disk.raw" "$out/box.img"
truncate -s 3G "$out/disk.raw"
mkfs.ext4 -q -F -L root -d "$root" "$out/disk.raw"
qemu-img convert -O qcow2 "$out/disk.raw" "$out/box.img"
rm "$out/disk.raw"
echo '{"provider":"libvirt","format":"qcow2","virtual_size":3}' >"$out/metadata.json"
echo 'Vagrant.configure("2") {}' >"$out/Vagrantfile"
tar -C "$out" -cf "$out/muster-test.box" metadata.json Vagrantfile box.img
rm "$out/box.img"
