#!/bin/bash
# One run on one node of a SLURM cluster, as long as it takes: requeued whenever its time is over, and then continued.
#
#     sbatch deploy/slurm.sh algo=ppo env=assault seed=1        from the checkout; adapt the #SBATCH lines
#
# What follows the script is one experiment, or one grid with -m: resume=auto finds its run directory again, trust=true
# since another host may have written it. A command that reads a run, such as command=evaluate, is given neither. A
# minute before the end SLURM warns with SIGUSR1. The run gets SIGTERM for it, which stops it at any time, with a
# checkpoint if it trains; the script then requeues its job, unless the run has ended with exit code 0, which is done,
# or 2, a mistake that would come again.
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

warned=0 cancelled=0 stopped=0 run=
stop_run() { stopped=1; if [ -n "$run" ]; then kill -TERM "$run" 2>/dev/null; fi; }
# B: SLURM tells this script alone, 60 to 120 s before the end.
trap 'warned=1 ends=${SLURM_JOB_END_TIME:-$(($(date +%s) + 60))}; stop_run' USR1
# scancel: a checkpoint, and no requeue. At the end of the time SLURM sends SIGTERM as well, but not before.
trap '[ "$warned" = 1 ] && [ "$(date +%s)" -ge $((ends - 5)) ] || cancelled=1; stop_run' TERM

started=${SLURM_JOB_START_TIME:-0}
if [ $((${SLURM_JOB_END_TIME:-$((started + 300))} - started)) -lt 300 ]; then
    echo "--time is too short: the warning comes up to two minutes before the end; give 5 minutes or more" >&2
    exit 2
fi

: "${SUITE:=$SLURM_SUBMIT_DIR}"                       # the checkout, with its .venv
: "${OUTPUT:=$SUITE/outputs}"                         # on a file system that all nodes have
export RAY_TMPDIR="${RAY_TMPDIR:-/tmp/${USER:-$(id -u)}}"  # short, and of this user: /tmp/ray may be somebody else's
mkdir -p "$RAY_TMPDIR"
cd "$SUITE" || exit 2
if [ ! -x .venv/bin/python ]; then
    echo "$SUITE has no .venv/bin/python: sbatch from the checkout, after make setup" >&2
    exit 2
fi

added=(resume=auto trust=true) output=("output_dir=$OUTPUT")   # before what is typed, which wins
for word in "$@"; do
    case $word in
        -m | --multirun) added=(trust=true) ;;        # a grid goes on by itself
        resume=auto | resume=latest | resume=null | command=train | command=search) ;;
        resume=*) output=() ;;                        # the run stays where it is
        command=*) added=() output=() ;;              # it reads a run, and has nothing to go on with
    esac
done
.venv/bin/python run.py "${output[@]}" "${added[@]}" "$@" &
run=$!
if [ "$stopped" = 1 ]; then stop_run; fi              # the signal came before there was a run

wait "$run"
while kill -0 "$run" 2>/dev/null; do                  # a trap ends wait, not the run
    wait "$run"
done
wait "$run"; code=$?                                  # of the run, which may have ended before the line of the trap
if [ "$warned" = 1 ] && [ "$cancelled" = 0 ] && [ "$code" != 0 ] && [ "$code" != 2 ]; then  # 143: before Python had a handler, or a second TERM
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
