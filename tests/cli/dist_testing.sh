# dist_testing.sh: sourced by the tests of zo2-tune train --distribute, behind cli_testing.sh. Skips where this build, or this machine, has no
# MPI.
tiny
data=$TEXTS/wordnet_kind.train.jsonl
zo2-tune train --model tiny.zo2 --data "$data" --run none --dry-run --distribute queries >mpi.txt 2>&1 || {
    grep -q 'this build has no MPI: install it' mpi.txt || fail "--distribute without MPI: $(cat mpi.txt)"
    [ ! -e none ] || fail "--distribute without MPI made a run"
    [ $failures = 0 ] || finish
    echo "skipped: this build has no MPI"
    exit 77
}
command -v mpirun >/dev/null || {
    echo "skipped: there is no mpirun"
    exit 77
}
case $(mpirun --version) in
*"Open MPI"* | *OpenRTE*)
    launcher="mpirun --oversubscribe --allow-run-as-root --bind-to none"
    export OMPI_MCA_btl_vader_single_copy_mechanism=none # which a container may not allow
    export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
    ;;
*) launcher=mpirun ;;
esac

# ranks N COMMAND...: started N times
ranks() {
    _n=$1
    shift
    # shellcheck disable=SC2086  # a command line
    $launcher -n "$_n" "$@"
}

# places RUN N: the run directories of N ranks
places() {
    echo "$1"
    _rank=1
    while [ $_rank -lt "$2" ]; do
        echo "$1/rank-$_rank"
        _rank=$((_rank + 1))
    done
}

# same_run RUN N WANT: journals and masters of all ranks are those of run WANT.
same_run() {
    for _place in $(places "$1" "$2"); do
        cmp -s "$3/journal.zo2j" "$_place/journal.zo2j" || fail "$_place has another journal than $3"
        for _snapshot in "$3"/snapshots/*; do
            cmp -s "$_snapshot" "$_place/snapshots/${_snapshot##*/}" || fail "$_place has other masters than $3"
        done
    done
    [ ! -e "$1/rank-$2" ] || fail "$1 has more ranks than $2"
}

# without_times FILE: the metrics without what a clock and a meter measure
without_times() {
    sed 's/"seconds": [^,]*, "device_peak_bytes": [^,}]*, "host_peak_bytes": [^,}]*\(, "[a-z_]*_seconds": [^,}]*\)*, "bottleneck": "[a-z]*"//; s/, "rank_[a-z_]*": \[[^]]*\]//g; s/, "exchange_seconds": [^,}]*//; s/, "slowest_rank": [0-9]*//' "$1"
}
