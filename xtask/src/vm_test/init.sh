#!/bin/busybox sh
# PID 1 of the guest. It runs twice: first in the initramfs, where it assembles the root file system,
# then as `init.sh root` inside that, where it sets up the machine as systemd would (cgroup v2 only),
# runs the command, reports its status and powers off. xtask writes /vm-test: run.conf (AS,
# DELEGATION), command.sh, and the modules in the order in which they load.

fail() {
    echo "vm-test: $*" >/dev/console
    $BUSYBOX reboot -f
}

assemble_root() {
    export PATH=/bin BUSYBOX=/bin/busybox
    $BUSYBOX --install -s /bin
    mount -t devtmpfs devtmpfs /dev
    for module in /vm-test/modules/*; do
        insmod "$module" || fail "cannot load ${module##*/}"
    done
    mount -t squashfs -o ro /dev/vda /lower || fail "cannot mount the root image"
    # All writes go to memory, and are lost when the guest ends.
    mount -t tmpfs -o size=75%,mode=0755 tmpfs /upper
    mkdir /upper/files /upper/work
    mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root || fail "cannot mount the overlay"
    mkdir -p /root/dev /root/proc /root/sys /root/run
    mount --move /dev /root/dev
    mount -t proc -o nosuid,nodev,noexec proc /root/proc
    mount -t sysfs -o nosuid,nodev,noexec sysfs /root/sys
    mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /root/run
    cp -a /vm-test /root/run/vm-test
    cp /bin/busybox /root/run/vm-test/busybox
    exec switch_root /root /run/vm-test/busybox sh /run/vm-test/init.sh root
}

mount_kernel_file_systems() {
    # systemd makes the root mount shared, which trips up programs that create mount namespaces. The
    # tests must meet the same.
    $BUSYBOX mount --make-rshared /
    mkdir -p /dev/pts /dev/shm
    $BUSYBOX mount -t devpts -o mode=620,ptmxmode=666,nosuid,noexec devpts /dev/pts
    $BUSYBOX mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
    $BUSYBOX mount -t securityfs securityfs /sys/kernel/security
    $BUSYBOX mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup || fail "cannot mount cgroup2"
    ln -sf /proc/self/fd /dev/fd
    ln -sf fd/0 /dev/stdin
    ln -sf fd/1 /dev/stdout
    ln -sf fd/2 /dev/stderr
}

create_accounts() {
    cat >/etc/passwd <<END
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
tester:x:1000:1000:tester:/home/tester:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
END
    cat >/etc/group <<END
root:x:0:
daemon:x:1:
tty:x:5:
tester:x:1000:
nogroup:x:65534:
END
    echo "127.0.0.1 localhost vm-test" >/etc/hosts
    echo vm-test >/etc/hostname
    hostname vm-test
    : >/etc/resolv.conf
    mkdir -p /root /home/tester /run/user/1000 /tmp /var/tmp
    chmod 1777 /tmp /var/tmp
    chmod 0700 /run/user/1000
    chown tester:tester /home/tester /run/user/1000
}

# Creates the cgroup $1 beneath the root, with all controllers on every level. Prints its path.
make_cgroup() {
    path=/sys/fs/cgroup
    for name in $(echo "$1" | tr / ' '); do
        echo "+memory +pids +cpu" >$path/cgroup.subtree_control || fail "cannot enable the controllers in $path"
        path=$path/$name
        mkdir -p $path
    done
    echo $path
}

# Gives the tester the cgroup $1, with the same files as systemd's Delegate=yes.
delegate_cgroup() {
    for file in . cgroup.procs cgroup.subtree_control cgroup.threads; do
        chown tester:tester "$1/$file" || fail "cannot delegate $1"
    done
}

# Prints the cgroup that the command starts in, in systemd's layout for each kind of caller.
prepare_cgroup() {
    case $AS-$DELEGATION in
        root-*) make_cgroup system.slice/vm-test.service ;;
        user-yes)
            leaf=$(make_cgroup user.slice/user-1000.slice/user@1000.service/app.slice/vm-test.scope)
            for cgroup in "${leaf%/*/*}" "${leaf%/*}" "$leaf"; do delegate_cgroup "$cgroup"; done
            echo "$leaf"
            ;;
        user-no) make_cgroup user.slice/user-1000.slice/session-1.scope ;;
    esac
}

port() {
    for candidate in /sys/class/virtio-ports/*; do
        if [ "$(cat "$candidate/name")" = "$1" ]; then
            echo "/dev/${candidate##*/}"
            return
        fi
    done
    fail "there is no port $1"
}

run_command() {
    leaf=$(prepare_cgroup)
    become=
    if [ "$AS" = user ]; then become="/usr/bin/setpriv --reuid=1000 --regid=1000 --init-groups"; fi
    # Through pipes, because a virtio port can be opened only once, and a program may reopen its
    # /dev/stdout.
    mkfifo /run/vm-test/stdout /run/vm-test/stderr
    cat /run/vm-test/stdout >"$(port stdout)" &
    stdout=$!
    cat /run/vm-test/stderr >"$(port stderr)" &
    stderr=$!
    (
        echo 0 >"$leaf/cgroup.procs"
        # The limit that systemd sets for every service. The kernel's own hard limit, 4096, is unusual.
        ulimit -Hn 524288
        exec setsid $become /bin/sh /run/vm-test/command.sh
    ) </dev/null >/run/vm-test/stdout 2>/run/vm-test/stderr
    status=$?
    # A process that outlives the command keeps its pipes open, so do not wait for their end.
    (sleep 5; kill $stdout $stderr) 2>/dev/null &
    wait $stdout $stderr
    echo "$status" >"$(port status)"
}

if [ "$1" != root ]; then assemble_root; fi
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin BUSYBOX=/run/vm-test/busybox
. /run/vm-test/run.conf
mount_kernel_file_systems
create_accounts
$BUSYBOX ip link set lo up
run_command
$BUSYBOX reboot -f
