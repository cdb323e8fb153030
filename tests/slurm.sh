#!/usr/bin/env bash
# A real SLURM on this machine alone, for the tests: tests/slurm.sh start, tests/slurm.sh stop.
#
# Needs root and Debian's slurm-wlm and munge, and installs nothing. The configuration has to be in /etc/slurm: the
# executor strips SLURM_* variables, SLURM_CONF among them, from its jobs. Where a slurm.conf is that this script did
# not write, there is a real cluster, and the script refuses.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin # where the daemons are; not every shell looks there
CONFIG=/etc/slurm
STATE=/run/cortex-test-slurm
MARK="# Written by CORTEX's tests/slurm.sh; remove with: tests/slurm.sh stop"

refuse() {
    echo "tests/slurm.sh: $1" >&2
    exit 1
}

ours() { # FILE: it does not exist, or this script wrote it
    [[ ! -e $1 ]] || head -n 1 "$1" | grep -qxF "$MARK"
}

installed() {
    for command in munged mungekey slurmctld slurmd sbatch srun scancel; do
        command -v "$command" >/dev/null || refuse "no $command: apt-get install munge slurm-wlm"
    done
}

check() {
    [[ $(id -u) == 0 ]] || refuse "needs root, to write $CONFIG/slurm.conf and to run jobs"
    installed
    for file in slurm.conf gres.conf; do
        ours "$CONFIG/$file" || refuse "$CONFIG/$file is a real cluster's; it is left alone"
    done
    # A node may also be configured from elsewhere (DNS, /run/slurm/conf): whatever answers is a real cluster.
    [[ -e $CONFIG/slurm.conf ]] || ! timeout 5 sinfo &>/dev/null || refuse "this machine is part of a real cluster"
}

start_munge() {
    munge --no-input &>/dev/null && return
    install -d -o munge -g munge -m 0755 /run/munge # services make it where there is an init, so not in a container
    install -d -o munge -g munge -m 0700 /etc/munge /var/lib/munge /var/log/munge
    [[ -s /etc/munge/munge.key ]] || runuser -u munge -- mungekey --create
    runuser -u munge -- munged
    touch "$STATE/munge" # started here, so stopped here
}

write_config() {
    local name memory
    name=$(uname -n) # as the daemons see it; it need not resolve to an address
    name=${name%%.*}
    memory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
    mkdir -p "$CONFIG"
    # Two GPUs that are none: enough to see whether jobs ask for one. Any device will do that is everywhere.
    cat >"$CONFIG/gres.conf" <<END
$MARK
NodeName=$name Name=gpu Type=test File=/dev/null
NodeName=$name Name=gpu Type=test File=/dev/zero
END
    cat >"$CONFIG/slurm.conf" <<END
$MARK
ClusterName=cortex-test
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
GresTypes=gpu
ReturnToService=2
KillWait=5
StateSaveLocation=$STATE/state
SlurmdSpoolDir=$STATE/spool
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd.log
SlurmdParameters=config_overrides
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(env --unset OMP_NUM_THREADS nproc) RealMemory=$memory Gres=gpu:test:2 State=UNKNOWN
PartitionName=test Nodes=$name Default=YES MaxTime=INFINITE State=UP
END
}

running() { # DAEMON: its process lives, and is no other that got its number since
    [[ $(cat "/proc/$(cat "$STATE/$1.pid")/comm") == "$1" ]] 2>/dev/null
}

start() {
    check
    if running slurmctld || running slurmd; then stop; fi
    mkdir -p "$STATE"/{state,spool}
    start_munge
    write_config
    slurmctld -c # -c: forget what an earlier start left
    slurmd
    for _ in {1..60}; do
        if [[ $(sinfo --noheader --format %T 2>/dev/null) == idle ]]; then
            sinfo
            return
        fi
        sleep 0.5
    done
    tail -n 20 "$STATE"/*.log >&2
    refuse "the node did not come up within 30 s"
}

stop() {
    ours "$CONFIG/slurm.conf" || refuse "$CONFIG/slurm.conf is a real cluster's; it is left alone"
    if running slurmctld; then
        scancel --user=root || true
        for _ in {1..40}; do # the node waits KillWait seconds before it kills
            [[ -n $(squeue --noheader) ]] || break
            sleep 0.25
        done
    fi
    for daemon in slurmd slurmctld; do
        if running "$daemon"; then
            kill "$(<"$STATE/$daemon.pid")"
            for _ in {1..40}; do
                running "$daemon" || break
                sleep 0.25
            done
            ! running "$daemon" || kill -9 "$(<"$STATE/$daemon.pid")"
        fi
    done
    if [[ -e $STATE/munge ]]; then
        runuser -u munge -- munged --stop &>/dev/null || true
    fi
    rm -rf "$STATE" "$CONFIG/slurm.conf" "$CONFIG/gres.conf"
}

case ${1:-} in
    installed) installed ;;
    check) check ;;
    start) start ;;
    stop) stop ;;
    *) refuse "usage: tests/slurm.sh installed | check | start | stop" ;;
esac
