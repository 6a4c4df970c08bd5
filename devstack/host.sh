#!/bin/sh
# Becomes one host: called inside fresh network, mount and UTS namespaces, makes them look like a
# machine of its own to libvirt, and then holds them open until it is killed.
#   host.sh NAME DIRECTORY HOSTS_FILE
set -e
name=$1 directory=$2 hosts=$3
mount --make-rprivate /
hostname "$name"
for pair in run:/run/libvirt lib:/var/lib/libvirt etc:/etc/libvirt log:/var/log/libvirt \
        cache:/var/cache/libvirt; do
    mkdir -p "${pair#*:}"
    mount --bind "$directory/${pair%%:*}" "${pair#*:}"
done
mount --bind "$hosts" /etc/hosts
# A sysfs that shows this network namespace; the cgroup tree below it is kept, libvirt needs it.
mount --rbind /sys/fs/cgroup "$directory/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$directory/cgroup" /sys/fs/cgroup
umount -l "$directory/cgroup"
ip link set lo up
touch "$directory/ready"
exec sleep infinity
