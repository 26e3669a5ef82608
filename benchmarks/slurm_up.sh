#!/bin/bash
# A SLURM cluster on this machine: one controller and two nodes, for tests of profiles/slurm.
#
#   apt-get install slurm-wlm munge
#   benchmarks/slurm_up.sh FOLDER          # as root; everything lies in FOLDER
#   export SLURM_CONF=FOLDER/slurm.conf    # sinfo, squeue and snakemake find the cluster by it
#   benchmarks/slurm_down.sh FOLDER
#
# A node is a set of namespaces of its own: its processes end with its first one, as they do when a
# machine loses power (kill -9 $(cat FOLDER/node2.pid)), and it alone sees an /etc/slurm/slurm.conf:
# the jobs' own srun looks there. A job that takes more memory than it asked for is killed.
set -euo pipefail

[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
for program in munged slurmctld slurmd unshare; do
    type -P $program >/dev/null || { echo "$0: no $program: apt-get install slurm-wlm munge" >&2; exit 1; }
done
mkdir -p "$1" && folder=$(cd "$1" && pwd)
host=$(hostname -s)
port=${PORT:-17300} # and the two after it
memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 2048 - 512)) # MB of a node: half of all

mkdir -p "$folder"/{state,node1,node2,log}
chmod 755 "$folder"
cat >"$folder/slurm.conf" <<END
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmctldPort=$port
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=5
ReturnToService=2
SlurmdTimeout=20
MinJobAge=3600
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n/slurmd.pid
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/%n.log
GresTypes=gpu
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$(nproc) RealMemory=$memory Gres=gpu:1
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=$(nproc) RealMemory=$memory Gres=gpu:1
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
END
# A pretended GPU a node: jobs that ask for one go one after the other, and find none.
echo "NodeName=node1,node2 Name=gpu File=/dev/null" >"$folder/gres.conf"

if [ ! -e "$folder/munge.key" ]; then
    (umask 077 && head -c 128 /dev/urandom >"$folder/munge.key")
fi
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed"
export SLURM_CONF=$folder/slurm.conf
slurmctld
for node in node1 node2; do
    # shellcheck disable=SC2016
    setsid unshare --mount --pid --fork --kill-child --mount-proc \
        bash -c 'mount --bind "$1" /etc/slurm && unset SLURM_CONF && exec slurmd -D -N "$2"' node "$folder" $node \
        </dev/null >"$folder/log/$node.out" 2>&1 &
    echo $! >"$folder/$node.pid"
done
for _ in {1..30}; do
    [ "$(sinfo --noheader --Node --format %t | grep --count idle)" = 2 ] && exit
    sleep 1
done
echo "$0: the nodes do not come up: $folder/log says why" >&2
exit 1
