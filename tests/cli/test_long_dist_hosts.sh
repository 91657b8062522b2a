#!/bin/sh
# Two hosts, network namespaces with names of their own, 50 ms apart, and one of them slower: the bits of one process, and steps that take as long as the slow
# one's work and a packet's way. Needs root, /dev/net/tun, python3 and Open MPI.
. "$(dirname "$0")/cli_testing.sh"
. "$DATA/../cli/dist_testing.sh"
delay=0.05
tests=$DATA/../cli
skip() {
    echo "skipped: $*"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "not root"
[ -w /dev/net/tun ] || skip "no /dev/net/tun"
for program in ip unshare python3; do
    command -v $program >/dev/null || skip "no $program"
done
case $launcher in *oversubscribe*) ;; *) skip "not Open MPI" ;; esac

first=zo2-first-$$ second=zo2-second-$$
away() {
    [ -z "${link-}" ] || kill "$link"
    ip netns del $first 2>/dev/null
    ip netns del $second 2>/dev/null
    rm -rf "$work"
}
trap away EXIT
ip netns add $first 2>/dev/null && ip netns add $second || skip "no network namespaces"
python3 "$tests/delayed_hosts.py" $first $second $delay >link.txt 2>&1 &
link=$!
wait_lines link.txt 1 $link || skip "no link: $(cat link.txt)"

# mpirun's way to the other host
cat >agent <<END
#!/bin/sh
shift
exec ip netns exec $second unshare --uts sh -c "hostname zo2-second; \$*"
END
chmod +x agent

# hosts N COMMAND...: rank 0 on the first host, rank 1 on the second, which reach each other by the link alone
hosts() {
    _n=$1
    shift
    ip netns exec $first unshare --uts sh -c 'hostname zo2-first; exec "$@"' sh mpirun --allow-run-as-root --bind-to none \
        --mca plm_rsh_agent "$PWD/agent" --mca btl tcp,self --mca btl_tcp_if_include 10.78.78.0/24 \
        --mca oob_tcp_if_include 10.78.78.0/24 --host 10.78.78.1,10.78.78.2 -n "$_n" --wdir "$PWD" "$@"
}

steps=40
train="$BIN/zo2-tune train --model $PWD/tiny.zo2 --data $data --batch 4 --lr 1e-4 --seed 3 --threads 1 --queries 4 --steps $steps --pending 1"
# shellcheck disable=SC2086  # command lines, here and below
expect 0 "" $train --run one
expect 0 '^ranks: 2; rank 0 waited .* rank 1 on zo2-second was the slowest in' hosts 2 $train --run "$PWD/two" --distribute queries \
    --share 1,3 --trace "$PWD/trace.json"
cat out.txt
same_run two 2 one
expect 0 "" hosts 2 $train --run "$PWD/two" --resume --steps $((steps + 5)) --distribute queries
expect 0 "" $train --run one --resume --steps $((steps + 5))
cmp one/journal.zo2j two/rank-1/journal.zo2j || fail "the second host has another run"

# A difference is told by the host's name.
expect 1 'differs: rank 1 on zo2-second has 2, rank 0 on zo2-first has 1' \
    hosts 1 "$BIN/zo2-tune" train --model "$PWD/tiny.zo2" --data "$data" --run "$PWD/x" --distribute queries --seed 1 : \
    --host 10.78.78.2 -n 1 "$BIN/zo2-tune" train --model "$PWD/tiny.zo2" --data "$data" --run "$PWD/x" --distribute queries --seed 2

# Each rank sends when its work is done, and goes on when it has what the other one sent. With work s and f and a delay d on the way two steps take
# s + f + 2 d, if the slow rank has to wait at all; else it takes its own time.
python3 - $delay <<'END' || fail "the steps' times"
import json, statistics, sys
delay = float(sys.argv[1])
steps = [json.loads(line) for line in open("two/metrics.jsonl", encoding="utf-8")][5:40]
slow = statistics.mean(max(s["rank_work_seconds"]) for s in steps)
fast = statistics.mean(min(s["rank_work_seconds"]) for s in steps)
step = statistics.mean(s["seconds"] for s in steps)
events = json.load(open("trace.json", encoding="utf-8"))
waits = [e["dur"] / 1e6 for e in events if e.get("name") == "exchange"]
least = max(slow, (slow + fast) / 2 + delay)
print(f"step {step:.3f} s; work {slow:.3f} s and {fast:.3f} s, delay {delay} s: at least {least:.3f} s; "
      f"rank 0 in exchange {statistics.mean(waits):.3f} s (trace)")
if not (0.9 * least <= step <= least + delay and len(waits) == 40):
    sys.exit("not what work and delay take, or a delay longer")
END
finish
