#!/bin/sh
# zo2-pack: help, version, usage errors of every command.
. "$(dirname "$0")/cli_testing.sh"

help_and_version zo2-pack
for command in convert info verify export apply tokenizer freeze synth; do
    help_and_version zo2-pack $command
    zo2-pack --help | grep -q "^  $command " || fail "zo2-pack --help doesn't list $command"
    usage 'missing' zo2-pack $command
    usage 'unknown option --nonsense' zo2-pack $command --nonsense x y
done
expect 0 '^usage: zo2-pack info' zo2-pack info x y z --nonsense --help # --help works whatever else is on the line

usage 'missing command' zo2-pack
usage 'unknown command "frobnicate"' zo2-pack frobnicate
usage 'missing OUT.zo2' zo2-pack convert x
usage 'unexpected argument "z"' zo2-pack convert x y z
usage 'missing DIR' zo2-pack tokenizer x
usage 'missing FILE' zo2-pack freeze --wire fp16
usage '\-\-wire bf16|[^ ]* is needed' zo2-pack freeze x
expect 0 '^usage: zo2-pack freeze FILE \[OUT\] --wire bf16|' zo2-pack freeze --help
usage '\-\-wire' zo2-pack freeze x --wire fp9
usage 'unexpected argument "z"' zo2-pack tokenizer x y z
usage '"0" is not a number from 1 to 19' zo2-pack convert x y --zstd 0
usage '"20" is not a number from 1 to 19' zo2-pack synth x y --zstd=20
usage '\-\-threads needs a value' zo2-pack convert x y --threads
usage '"many" is not a number' zo2-pack convert x y --threads many
usage '"0" is not a number from 1' zo2-pack convert x y --threads=0
usage '\-\-force takes no value' zo2-pack convert x y --force=yes
usage '"fp8" is not one of auto, fp32, bf16, fp16' zo2-pack export x y --dtype fp8
usage '"5X" is not a size' zo2-pack export x y --split-size 5X
usage '\-\-at-step needs --run' zo2-pack export x y --at-step 3
usage '\-\-snapshot needs --run' zo2-pack verify x --snapshot z
usage '"-3" is not' zo2-pack export x y --run r --at-step -3
usage 'unknown option -x' zo2-pack info -x
usage 'OUT.zo2 is empty' zo2-pack convert x ''
usage 'FILE is empty' zo2-pack info ''
usage '\-\-run: the value is empty' zo2-pack export x y --run ''

expect 1 'not-here' zo2-pack info not-here
expect 1 'not-here' zo2-pack verify not-here
expect 1 'not-here' zo2-pack export not-here out
expect 1 'not-here' zo2-pack convert not-here out.zo2
expect 1 'opt-1x' zo2-pack synth opt-1x out.zo2
ls ./*out* 2>/dev/null | grep -v '^./out.txt$' && fail "something was left behind"
finish
