#!/usr/bin/env bash
# Runs this project under a real Slurm that is started for the purpose on this one machine. Not part of the
# test suite: it needs root and Debian's packages (apt install --no-install-recommends slurm-wlm munge), and
# takes some minutes.
#
#     bash tests/slurm_on_one_machine.sh [folder for logs and runs]
#
# It shows: a run of `srun -n 2`; a job that is preempted, saves, is queued again and goes on; a sweep as an
# array job, and one whose processes each take the next free run. Everything is stopped at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$PWD/.venv/bin/python"
folder=$(realpath -m "${1:-$(mktemp -d)}")
mkdir -p "$folder"/{state,spool,logs}
host=$(hostname)
export USER=${USER:-$(id -un)} PYTHONPATH=$PWD SLURM_CONF=$folder/slurm.conf XLA_FLAGS=--xla_backend_optimization_level=0
export JAX_COMPILATION_CACHE_DIR=$folder/compiled JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0

# 1. The daemons, with ports, key and folders of their own.
started=()
stop() {
    scancel --full -u "$USER" 2>/dev/null || true
    for _ in $(seq 30); do [[ -z $(squeue -h 2>/dev/null) ]] && break; sleep 1; done
    # The last one started is the first to go: a job's end is reported to slurmctld.
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        kill "${started[i]}" 2>/dev/null || true
        wait "${started[i]}" 2>/dev/null || true
    done
}
trap stop EXIT
chmod go-w "$folder"
(umask 077; head -c 1024 /dev/urandom >"$folder/munge.key")
munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --seed-file="$folder/munge.seed" --log-file="$folder/logs/munged" 2>"$folder/logs/munged.err" &
started+=($!)
cat >"$folder/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$host NodeAddr=127.0.0.1 CPUs=4
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=120
PartitionName=high Nodes=ALL PriorityTier=2
END
slurmctld -D -f "$folder/slurm.conf" >"$folder/logs/slurmctld" 2>&1 &
started+=($!)
slurmd -D -f "$folder/slurm.conf" >"$folder/logs/slurmd" 2>&1 &
started+=($!)
for _ in $(seq 60); do [[ $(sinfo -h -o %T 2>/dev/null | head -1) == idle ]] && break; sleep 1; done
sinfo

cat >"$folder/tiny.py" <<'END'
from infonce_jax.config import default_config


def get_config():
    c = default_config()
    c.name = "tiny"
    c.seeds = (0,)
    c.data.dim, c.data.train_size, c.data.test_size = 24, 96, 64
    c.encoder.embedding_dim = 8
    c.train.batch_size, c.train.steps, c.train.epochs = 16, 60, 0.0
    c.log.every_steps, c.checkpoint.every_steps = 10, 20
    c.evaluate.sample_sizes = (32,)
    return c
END
cat "$folder/tiny.py" - >"$folder/sweep.py" <<'END'


def sweep():
    return [{"encoder.embedding_dim": d} for d in (4, 6, 8, 10)]
END

# 2. One run of two processes, joined by what Slurm says.
echo "== srun -n 2"
srun -n 2 "$python" launch.py --config="$folder/tiny.py" --workdir="$folder/two" 2>&1 | tee "$folder/logs/two"
"$python" -c "import json; print(json.load(open('$folder/two/run.json'))['machine']['processes'], 'processes')"

# 3. A job of low priority is preempted: it saves, is queued again, and goes on.
echo "== preemption"
cat >"$folder/job.sh" <<END
#!/bin/bash
#SBATCH --ntasks=2 --partition=low --requeue --open-mode=append --output=$folder/logs/preempted
trap : TERM
srun $python launch.py --config=$folder/tiny.py --workdir=$folder/preempted --config.train.steps=600 \
    --config.log.every_steps=100 --config.checkpoint.every_steps=500
code=\$?
[ \$code = 143 ] || [ \$code = 3 ] && scontrol requeue \$SLURM_JOB_ID
exit \$code
END
job=$(sbatch --parsable "$folder/job.sh")
until grep -qs '"step": 100,' "$folder/preempted/metrics.jsonl"; do sleep 0.2; done
sbatch --parsable --partition=high --exclusive --output=/dev/null --wrap "sleep 5" >"$folder/logs/other"
shown=
until [[ -e $folder/preempted/report.html ]]; do
    state=$(squeue -h -j "$job" -o "%T %R" 2>/dev/null || true)
    [[ $state == "$shown" ]] || echo "$(date +%T) job $job: $state"
    shown=$state
    sleep 0.5
done
cat "$folder/logs/preempted"

# 4. A sweep as an array: each task does its share. Then as one job whose processes take the next free run.
echo "== sweep as an array"
sbatch --wait --array=0-1 --output="$folder/logs/array-%a" --wrap \
    "srun $python launch.py --config=$folder/sweep.py --workdir=$folder/array" || true
tail -n 3 "$folder"/logs/array-*
echo "== sweep by the processes of one job"
srun -n 2 "$python" launch.py --config="$folder/sweep.py" --workdir="$folder/apart" >"$folder/logs/apart" 2>&1
grep "embedding set" "$folder/logs/apart" | sort | uniq -c
cmp "$folder/array/sweep.csv" "$folder/apart/sweep.csv" && echo "the same table"
"$python" -c "print(sum(1 for _ in open('$folder/array/sweep.csv')) - 1, 'rows')"
