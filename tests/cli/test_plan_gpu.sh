#!/bin/sh
# zo2-plan --gpu: known GPUs, files of rates and what is refused in them, and the table of tools/guide/plans.md.
. "$(dirname "$0")/cli_testing.sh"
value() { sed "s/.*\"$1\": \([^,}]*\).*/\1/" out.txt; }
plan() { zo2-plan opt-125m --batch 2 --seq 128 --probe 0 "$@"; }
same() { sed 's/"rates_of": "[^"]*"//; s/"host_budget_bytes": [0-9]*//'; } # but for what may differ
for_gpu() { plan --update-rate 10 --gpu "$@"; }

# known ones
expect 0 'predicted from published rates of rtx-4090; the host.s as given' for_gpu rtx-4090
grep -q '^  update  *10  G weights/s' out.txt || fail "not the host's rate that was given"
[ "$(grep -c 'the bottleneck' out.txt)" -eq 1 ] || fail "not one bottleneck"
expect 0 '"rates_of": "published rates of h200"' for_gpu H200 --json
[ "$(value budget_bytes)" -eq 126900000000 ] || fail "the budget isn't 90 % of the memory"
fast=$(value upload_rate)
expect 0 '"rates_of": "published' for_gpu h200 --pcie 3 --json
awk "BEGIN { exit !($(value upload_rate) < 0.26 * $fast) }" || fail "an old slot isn't slower"
expect 0 '' for_gpu t4 --json
slow=$(value upload_rate)
expect 0 '' for_gpu t4 --pcie 5 --json
[ "$(value upload_rate)" = "$slow" ] || fail "a new slot makes an old card faster"
expect 0 '' for_gpu h100-sxm --wire fp8-e4m3 --json
decode=$(value decode_rate)
expect 0 '' for_gpu h100-sxm --wire fp8-e4m3 --dist rademacher --json
awk "BEGIN { exit !($(value decode_rate) > $decode) }" || fail "Rademacher noise isn't faster"
expect 0 '"budget_bytes": 1073741824,' for_gpu t4 --device-mem 1G --json
expect 0 "the host's measured here" zo2-plan opt-125m --batch 2 --seq 128 --probe 0.02s --gpu t4
expect 0 '^time per step  *unknown' plan --gpu t4
expect 0 '"rates_of": null' plan --json
expect 1 "doesn't fit.*try .*--device-mem" for_gpu t4 --device-mem 100M

# a file that was written gives the same plan, and can be changed
for_gpu a100-80 --wire fp8-e4m3 --json | same >card.txt
expect 0 '' for_gpu a100-80 --wire fp8-e4m3 --save-gpu mine.json
plan --gpu mine.json --wire fp8-e4m3 --json >file.txt
grep -q '"rates_of": "the rates in mine.json"' file.txt || fail "the file isn't named"
same <file.txt | cmp -s - card.txt || fail "a written file gives another plan"
expect 1 'mine.json holds for --wire fp8-e4m3, this plan has bf16' plan --gpu mine.json
expect 1 'mine.json holds for --dist gaussian' plan --gpu mine.json --wire fp8-e4m3 --dist rademacher
expect 1 'upload_rate of its own' plan --gpu mine.json --wire fp8-e4m3 --pcie 3
expect 0 '"update_rate": 5000000000,' plan --gpu mine.json --wire fp8-e4m3 --update-rate 5 --json
expect 1 "the CPU's rates" zo2-plan opt-125m --backend cpu --batch 2 --seq 16 --probe 0.01s --save-gpu cpu.json
expect 1 'has no rates' plan --save-gpu none.json
if [ -e cpu.json ] || [ -e none.json ]; then fail "a file was written all the same"; fi
expect 1 'cannot write' for_gpu t4 --save-gpu nowhere/mine.json
expect 1 'cannot write' for_gpu t4 --save-gpu /dev/full

# what zo2-bench --json writes has them among its results
same <mine.json | grep -q '^{"memory_bytes"' || fail "no object: $(cat mine.json)"
printf '{"version": "1", "results": [{"section": "rates", "against": []}], "not_installed": [], "rates": %s}' "$(cat mine.json)" >bench.json
plan --gpu bench.json --wire fp8-e4m3 --json >file.txt
grep -q '"rates_of": "the rates in bench.json"' file.txt || fail "the file isn't named"
same <file.txt | cmp -s - card.txt || fail "what zo2-bench writes gives another plan"
zo2-bench rates --backend cpu --json --seconds 0 --repeats 1 --model "$HF/config.json" --tokens 8 >cpu.json || fail "no rates"
expect 1 'cpu.json: zo2-bench wrote no rates of a GPU there; .*zo2-bench rates --json' plan --gpu cpu.json

# files
file() { printf '%s' "$2" >given.json && expect 1 "$1" plan --gpu given.json; }
rates='"upload_rate": 1e9, "gemm_rate": 1e12, "decode_rate": 1e11'
printf '{%s, "update_rate": 1e9}' "$rates" >given.json
expect 0 '"gemm_rate": 1000000000000,' plan --gpu given.json --json
[ "$(value budget_bytes)" -eq 0 ] || fail "a budget from nowhere"
expect 1 'no such GPU and no such file; known are t4, .*h200, and all' plan --gpu rtx-9090
expect 1 'cannot read' plan --gpu .
file 'given.json line 1: not JSON' ''
file 'not JSON' "{$rates"
file 'not JSON' "{$rates, \"gemm_rate\": 1}"
file 'not a JSON object' '[1, 2]'
file '"decode_rate" is missing' '{"upload_rate": 1e9, "gemm_rate": 1e12}'
file 'unknown name "speed"; the names are memory_bytes, upload_rate' "{$rates, \"speed\": 1}"
for bad in 0 -1 0.5 1e31 1e999 NaN null '"fast"' '[]' true; do
    file '"fold_rate" is no number from 1' "{$rates, \"fold_rate\": $bad}"
done
file '"memory_bytes" is' "{$rates, \"memory_bytes\": 1e20}"
file '"memory_bytes" is no number' "{$rates, \"memory_bytes\": -4}"
file '"wire" is no wire' "{$rates, \"wire\": \"fp3\"}"
file '"wire" is no wire' "{$rates, \"wire\": 3}"
file '"dist" is no distribution' "{$rates, \"dist\": null}"
{ printf '{%s' "$rates"; head -c 1100000 /dev/zero | tr '\0' ' '; printf '}'; } >given.json
expect 1 'more than 1048576 bytes' plan --gpu given.json
printf '{"\001\033[31m": 1}' >given.json
expect 1 'not JSON' plan --gpu given.json
head -c 16000 /dev/zero | tr '\0' '[' >given.json
expect 1 'not JSON' plan --gpu given.json

usage 'for --gpu' plan --pcie 3
usage 'for --gpu' plan --update-rate 3
usage 'not for --backend cpu' for_gpu t4 --backend cpu
usage 'no --json' for_gpu all --json
usage 'pcie' for_gpu t4 --pcie 2
expect 1 'fp16 and bf16' for_gpu t4 --compute fp32
expect 1 't4 multiplies no bf16, which --compute asks for' for_gpu t4 --compute bf16
expect 0 '"compute": "bf16"' for_gpu a100-40 --compute bf16 --json
# a checkpoint in bf16 computes in it unless told otherwise
sed 's/"torch_dtype": "[a-z0-9]*"/"torch_dtype": "bfloat16"/' "$HF/config.json" >bf16.json
bf16() { zo2-plan bf16.json --batch 1 --seq 16 --probe 0 --update-rate 10 "$@"; }
expect 1 't4 multiplies no bf16, this model.s own type: .* refused there; plan and train with --compute fp16' bf16 --gpu T4
[ ! -s out.txt ] || fail "a plan that can't run is shown"
expect 0 '"compute": "fp16"' bf16 --gpu t4 --compute fp16 --json
expect 0 '"compute": "bf16"' bf16 --gpu rtx-3060 --json
expect 0 '^| bf16.json | t4 .*| takes --compute fp16 | | |$' bf16 --gpu all
[ "$(grep -c '| takes' out.txt)" -eq 1 ] || fail "others than the t4 don't compute in bf16"

# the table: what doesn't fit, and the one of tools/guide/plans.md, line by line
expect 0 '^| opt-66b | t4 |.*|  *doesn.t fit' zo2-plan opt-66b --batch 64 --seq 2048 --gpu all --update-rate 1 --probe 0
PAGE=$DATA/../../tools/guide/plans.md
for model in opt-13b opt-175b; do
    expect 0 "^| $model | h200 " zo2-plan "$model" --batch 16 --seq 512 --wire fp8-e4m3 --update-rate 12 --gpu all
    while read -r line; do
        grep -qxF "$line" "$PAGE" || fail "the page has no line: $line"
    done <out.txt
    [ "$(grep -c "^| $model | [a-z0-9-]* | [0-9.]* | [0-9.]* | [0-9.]* | [0-9.]* | [a-z]* |$" "$PAGE")" -eq $(($(wc -l <out.txt) - 2)) ] ||
        fail "the page has other lines of $model"
done
finish
