#!/bin/bash
# One run on one node of a SLURM cluster, as long as it takes: requeued whenever its time is over, and then continued.
#
#     sbatch deploy/slurm.sh algo=ppo env=assault seed=1        from the checkout; adapt the #SBATCH lines
#
# What follows the script is one experiment: resume=auto finds its run directory again, trust=true since another host may
# have written it. A minute before the end SLURM warns with SIGUSR1, for which the run writes a checkpoint and stops with
# exit code 1; the script then requeues its job. Exit code 0 is done, and 2 a mistake, which would come again.
#SBATCH --job-name=rllib-atari
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log

: "${SUITE:=$SLURM_SUBMIT_DIR}"                       # the checkout, with its .venv
: "${OUTPUT:=$SUITE/outputs}"                         # on a file system that all nodes have
export RAY_TMPDIR="${RAY_TMPDIR:-/tmp/${USER:-$(id -u)}}"  # short, and of this user: /tmp/ray may be somebody else's
mkdir -p "$RAY_TMPDIR"
cd "$SUITE" || exit 2

.venv/bin/python run.py "output_dir=$OUTPUT" "$@" resume=auto trust=true on_usr1=stop &
run=$!
warned=0
trap 'warned=1; kill -USR1 "$run"' USR1               # B: SLURM tells this script alone
trap 'kill -TERM "$run"' TERM                         # scancel: a checkpoint, and no requeue

wait "$run"
while kill -0 "$run" 2>/dev/null; do                  # a trap ends wait, not the run
    wait "$run"
done
wait "$run"; code=$?                                  # of the run, which may have ended before the line of the trap
if [ "$warned" = 1 ] && [ "$code" = 1 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
