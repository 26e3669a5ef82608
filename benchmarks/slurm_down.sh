#!/bin/bash
# End the cluster that slurm_up.sh began in FOLDER, and its jobs.
set -euo pipefail

[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
for name in node1 node2 slurmctld munged; do
    [ -e "$1/$name.pid" ] && kill -9 "$(cat "$1/$name.pid")" 2>/dev/null || true
    rm -f "$1/$name.pid"
done
