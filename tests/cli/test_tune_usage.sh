#!/bin/sh
# zo2-tune: help, version, usage errors, absurd values.
. "$(dirname "$0")/cli_testing.sh"
tiny

help_and_version zo2-tune
for command in train warm eval log tokenize; do
    help_and_version zo2-tune $command
    zo2-tune --help | grep -q "^  $command " || fail "zo2-tune --help doesn't list $command"
    usage 'unknown option --nonsense' zo2-tune $command --nonsense x
done
zo2-tune train --help >help.txt
for option in model data run resume eval eval-every steps batch seq lr lr-schedule warmup eps weight-decay clip seed dist \
    queries pending micro-batch tune tune-rotate tune-order trunk-type trunk-cache bos wire frozen-wire compute backend device-mem host-mem threads snapshot-every snapshot no-snapshot log-every \
    dry-run quiet json; do
    grep -q -e "^  --$option\( \|$\)" help.txt || fail "train --help lacks --$option"
done
grep -q '^usage: zo2-tune train --model FILE --data TRAIN.jsonl --run RUN_DIR \[OPTION\]...$' help.txt ||
    fail "train --help doesn't say in the usage line what must be given"
zo2-tune eval --help | grep -q '^usage: zo2-tune eval --model FILE --data EVAL.jsonl \[OPTION\]...$' ||
    fail "eval --help doesn't say in the usage line what must be given"
grep -q '^SIZE is in bytes, or .*; TIME in seconds, or ' help.txt || fail "train --help doesn't say what SIZE and TIME are"
zo2-tune --help | grep -q '^Exit status: 0 done, 1 failed, 2 usage, 130 interrupted' || fail "zo2-tune --help lacks the exit status"

data=$TEXTS/wordnet_kind.train.jsonl
usage 'missing command' zo2-tune
usage 'unknown command' zo2-tune fly
usage '\-\-model FILE is needed' zo2-tune train --data "$data" --run r
usage '\-\-data TRAIN.jsonl is needed' zo2-tune train --model tiny.zo2 --run r
usage '\-\-run RUN_DIR is needed' zo2-tune train --model tiny.zo2 --data "$data"
usage '\-\-model FILE is needed' zo2-tune eval --data "$data"
usage '\-\-data EVAL.jsonl is needed' zo2-tune eval --model tiny.zo2
usage '\-\-model FILE is needed' zo2-tune tokenize text
usage 'missing RUN_DIR' zo2-tune log
usage '\-\-at-step needs --run' zo2-tune eval --model tiny.zo2 --data "$data" --at-step 1

train() { # status or "usage", pattern, options
    how=$1 pattern=$2
    shift 2
    case $how in
        usage) usage "$pattern" zo2-tune train --model tiny.zo2 --data "$data" --run r "$@" ;;
        *) expect "$how" "$pattern" zo2-tune train --model tiny.zo2 --data "$data" --run r "$@" ;;
    esac
    [ ! -e r ] || fail "a refused train left a run directory: $*"
    rm -rf r
}
train usage 'not a number from 1 to 268,435,456' --steps 0
train usage 'not a number' --steps 1e3
train usage 'to 268,435,456' --steps 99999999999999999999
train usage 'from 1 to' --batch 4000000000
train usage 'from 1 to' --batch 0
train usage '\-\-seq 999999: the model.s context is 256 tokens' --seq 999999
train usage 'at least 2' --seq 1
train usage 'from 1 to 16' --queries 17
train usage 'from 0 to 64' --pending 65
train usage 'not a number from 0 to 18,446,744,073,709,551,615' --seed 18446744073709551616
train usage 'not a whole number of at least 0' --seed -1
train usage 'not a number from 0 to 9,223,372,036,854,775,807' --warmup 9223372036854775808
train usage 'not a number of at least 0' --lr -1
train usage 'not a number of at least 0' --lr nan
train usage 'not a number of at least 0' --lr 0x10
train usage 'not a number above 0' --eps 0
train usage 'not one of gaussian, rademacher' --dist uniform
train usage 'not one of bf16, fp32, fp8-e4m3, ' --wire int4
train usage 'not one of constant, linear, cosine' --lr-schedule step
train usage 'not a size' --device-mem 0
train usage 'not a size' --device-mem 12Q
train usage 'not a time' --snapshot-every 5y
train usage '\-\-bos' --bos 4096
train usage '\-\-bos' --bos some
train usage '\-\-eval-every needs --eval' --eval-every 5
train usage 'unexpected argument' stray
train 1 'batch' --batch 16777216
train 1 '\-\-device-mem' --device-mem 1
train 1 '\-\-host-mem' --host-mem 1
train 1 'not-here' --eval not-here
train 0 '^device memory ' --dry-run --wire fp8-e4m3
train 0 '^host memory .* (a run here gets [0-9.]* [KMGT]iB)$' --dry-run
train 0 '^  host memory .* 90 % of what .* leaves$' --dry-run
train 0 '^  threads  *[1-9][0-9]*  [^ ]' --dry-run
train 0 '"host_budget_bytes": [1-9][0-9]*, "host_limit": ".*[^"]", "cpus": [1-9][0-9]*, "cpu_limit": "[^"]' --dry-run --json
mkdir huge # 7 TB of masters
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 1024/; s/"hidden_size": [0-9]*/"hidden_size": 12288/
    s/"word_embed_proj_dim": [0-9]*/"word_embed_proj_dim": 12288/; s/"ffn_dim": [0-9]*/"ffn_dim": 49152/
    s/"num_attention_heads": [0-9]*/"num_attention_heads": 96/' \
    "$HF/config.json" >huge/config.json
expect 0 '^host memory .* (a run here gets .*: too little)$' zo2-plan huge/config.json --batch 1 --probe 0
train 0 '"fits": true' --dry-run --json
train 1 "doesn't fit" --dry-run --json --device-mem 1
expect 1 'not-here' zo2-tune train --model not-here --data "$data" --run r
expect 1 'not-here' zo2-tune train --model tiny.zo2 --data not-here --run r
expect 1 'not-here' zo2-tune eval --model tiny.zo2 --data "$data" --run not-here
expect 1 'not-here' zo2-tune log not-here

# Directories that can't be written: no permission bits, they don't stop root.
expect 1 'tiny.zo2/r' zo2-tune train --model tiny.zo2 --data "$data" --run tiny.zo2/r --steps 1
expect 1 'no/such' zo2-tune train --model tiny.zo2 --data "$data" --run no/such/r --steps 1
expect 1 'tiny.zo2: not a directory.*--snapshot DIR' zo2-tune train --model tiny.zo2 --data "$data" --run r --steps 1 --snapshot tiny.zo2/s
[ ! -e r ] || fail "a run was begun that could keep no snapshots"
expect 1 '/proc/r' zo2-tune train --model tiny.zo2 --data "$data" --run /proc/r --steps 1
expect 1 'tiny.zo2' zo2-tune train --model tiny.zo2 --data "$data" --run tiny.zo2 --steps 1
finish
