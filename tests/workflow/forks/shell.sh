# Every bash of a run reads this (BASH_ENV): its `python` asks the server with the job's number of threads for a fork.
python() {
    if [[ "${1-} ${2-}" == "-m workflow_scripts."* ]]; then
        command python -I -S "${BASH_ENV%/*}/client.py" "$FORKS/jobs-$OMP_NUM_THREADS" "$@"
    else
        command python "$@"
    fi
}
