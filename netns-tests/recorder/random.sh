#!/bin/bash
# random.sh PROGRAM OUT ARGUMENT…: inside the guest, runs `PROGRAM random --kernel --to OUT ARGUMENT…`.
#
# From a small root in memory: in virtual time the clock jumps whenever the guest waits for this
# machine's file system, and every command would wait for it many times.
set -euo pipefail
program=$1 out=$2
shift 2
# Now, since loading one waits for that as well.
modprobe -a ip_vs ip_vs_{rr,wrr,lc,wlc,lblc,lblcr,dh,sh,sed,nq,fo,ovf,mh} veth ipip ip6_tunnel nf_tables
root=/run/random
mkdir -p "$root"/{proc,sys,dev,out,run,tmp}
mount -t tmpfs random "$root"
mkdir -p "$root"/{proc,sys,dev,run,tmp}
for name in ip ipvsadm nft ethtool; do
    file=$(command -v "$name")
    libraries=$(ldd "$file" | grep -o '/[^ ]*')
    cp -L --parents "$(realpath "$file")" $libraries "$root/"
    mkdir -p "$root$(dirname "$file")"
    [ -e "$root$file" ] || cp -L "$file" "$root$file"
done
cp -L --parents $(ldd "$program" | grep -o '/[^ ]*') "$root/"
cp "$program" "$root/ulvs"
for folder in proc sys dev; do mount --rbind "/$folder" "$root/$folder"; done
chroot "$root" /ulvs random --kernel --to /tmp/recording "$@"
cp "$root/tmp/recording" "$out"
