#!/bin/sh
# The programs in tools/examples do what they say. reference_step, which checks the engine, notices when either is wrong.
. "${SRC:?}/tests/cli/cli_testing.sh"
examples=$BIN/examples
tiny

expect 1 '^finetune: usage' "$examples/finetune"
expect 2 '^usage' "$examples/custom_loss" tiny.zo2
expect 2 '^usage' "$examples/two_processes" tiny.zo2
expect 2 '^usage' "$examples/evaluate"
expect 2 '^usage' "$examples/reference_step" tiny.zo2
expect 2 '^usage' "$examples/reference_llama" tiny.zo2
for program in finetune custom_loss two_processes evaluate reference_step reference_llama; do
    expect 1 "^$program: .*missing.zo2" "$examples/$program" missing.zo2 missing.run
    [ ! -e missing.run ] || fail "$program made a run of no model"
done

# --- reference_step ---------------------------------------------------------------------------------------------------

expect 0 'weights after the step *3505536 of 3505536' "$examples/reference_step" tiny.zo2 reference.run
cat out.txt
[ "$(grep -c 'allowed$' out.txt)" = 5 ] || fail "reference_step made other comparisons than five of scalars"
expect 1 'reference_step: .*reference.run' "$examples/reference_step" tiny.zo2 reference.run # the run exists

# Of other kinds of models it says so.
for kind in no-bias-bf16 no-affine-f32 no-final-norm-f32 bare-postnorm-f16 postnorm-proj-f16 untied-f32-sharded \
    wide-proj-bf16; do
    zo2-pack convert "$DATA/opt-fixtures/$kind" "$kind.zo2" >/dev/null || fail "converting $kind"
    expect 1 'knows OPT with biases, norms before each part' "$examples/reference_step" "$kind.zo2" other.run
done
zo2-pack convert "$DATA/opt-fixtures/prenorm-f32" small.zo2 >/dev/null || fail "converting prenorm-f32"
expect 1 "knows models with the batch's tokens" "$examples/reference_step" small.zo2 other.run
cp -r "$HF" gelu && chmod -R u+w gelu
sed 's/"relu"/"gelu"/' "$HF/config.json" >gelu/config.json
zo2-pack convert gelu gelu.zo2 >/dev/null || fail "converting a model with gelu"
expect 1 'knows OPT with the activation relu' "$examples/reference_step" gelu.zo2 other.run
zo2-pack synth gelu/config.json alias.zo2 --alias >/dev/null || fail "a pack with one layer for all"
expect 1 'layers have weights of their own' "$examples/reference_step" alias.zo2 other.run
[ ! -e other.run ] || fail "reference_step made a run of a model that it refuses"

# compile NAME: NAME.c to a program, as a user does who has the header and the library alone
compile() {
    "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -O2 -ffp-contract=off \
        ${ZO2_SANITIZE:+"-fsanitize=$ZO2_SANITIZE"} -I "$BUILD/include" "$1.c" -o "$1" "$LIBZO2" -lm \
        -Wl,-rpath,"$(dirname "$LIBZO2")" || fail "compiling $1.c"
}

# mutant PATTERN SCRIPT [OPTION...]: $reference.c and its headers, changed by a sed script, fail and print the pattern. Of the model
# $reference_pack, with these options. Not under sanitizers: that wrong numbers are noticed says nothing about memory.
reference=reference_step reference_pack=tiny.zo2
mutants=0
mutant() {
    [ $slow = 0 ] || return 0
    _pattern=$1 _script=$2
    shift 2
    mutants=$((mutants + 1))
    rm -rf mutant && mkdir mutant
    _changed=0
    for _file in "$reference.c" reference.h reference_choice.h reference_run.h; do
        sed "$_script" "$SRC/tools/examples/$_file" >"mutant/$_file"
        cmp -s "mutant/$_file" "$SRC/tools/examples/$_file" || _changed=1
    done
    [ $_changed = 1 ] || fail "$reference has nothing for $_script"
    compile "mutant/$reference"
    expect 1 "$_pattern" "mutant/$reference" "$@" "$reference_pack" "mutant$mutants.run"
    rm -rf "mutant$mutants.run"
}

# tuned WEIGHTS OPTION...: $reference agrees with the engine in every step of a run that moves so many weights, and in what stays. WEIGHTS:
# of each step.
tuned() {
    _weights=$1
    shift
    expect 0 'weights after the step .*bits$' "$examples/$reference" "$@" "$reference_pack" part.run
    [ "$(sed -n 's/^step [0-9]* moves \([0-9]*\) .*/\1/p' out.txt | tr '\n' ' ')" = "$_weights " ] || {
        fail "other weights move than $_weights: $*"
        cat out.txt
    }
    rm -rf part.run
}

cp "$SRC"/tools/examples/reference*.h .
cp "$SRC/tools/examples/reference_step.c" same.c
compile same
expect 0 'weights after the step *3505536 of 3505536' ./same tiny.zo2 same.run
mutant '^L+ .*TOO MUCH$' 's/(t + 2) \* D/(t + 1) * D/'                       # positions
mutant '^L- .*TOO MUCH$' 's/1e-5)/1e-6)/'                                    # the norms' epsilon
mutant '^L+ .*TOO MUCH$' 's/s <= t; s++/s < T; s++/'                         # tokens look ahead
mutant "^c from the engine's losses .*TOO MUCH$" 's/(2\.0 \* eps)/eps/'      # the projected gradient
mutant '^weights .*TOO FEW$' 's/\[at\] - u;/[at] + u;/'                      # the update's sign
mutant '^weights .*TOO FEW$' 's/(t->info.decays ? d : 0.0f)/d/'              # norms and biases decay
mutant '^weights .*TOO FEW$' 's/fmaf(c, z\[i\], u);/c * z[i] + u;/'          # one rounding more

# A part of the model, and parts that take turns.
tuned '15360 15360' --tune vectors --steps 2
if [ $slow = 0 ]; then # what follows takes the same ways through the program as these do
    tuned '889728 889728' --tune layers=4-5 --steps 2
    tuned '442368 442368' --tune matrices=5 --steps 2
    tuned '889344 889344' --tune 'match=*.fc1.*' --steps 2
    tuned '1342464' --tune matrices=2,4-5+vectors
    tuned '49536' --tune 'match=*embed_positions*'
    tuned '384 444864 444864 444864 444864 444864 444864 835968 384' --tune-rotate 1 --steps 9
    tuned '1152 447744 5376 5376 5376 5376 5376 1152' --tune lora:r=4,targets=fc1+out_proj+matrices=5+rows=15-20 --tune-rotate 1 --steps 8
fi
tuned '444864 444864 2496 2496' --tune layers=3-4+vectors+layers=0 --tune-rotate 2 --tune-order bottom --steps 4
tuned '384 384' --tune rows=17,304 --steps 2
tuned '18432 18432' --tune lora:r=4 --steps 2
mutant '^weights .*TOO FEW$' 's/t->rank == 1/t->rank == 2/' --tune vectors
mutant '^L+ .*TOO MUCH$' 's/if (!moves(t, now)) {/if (0) {/' --tune layers=4-5         # what is frozen is perturbed
mutant '^weights .*TOO FEW$' 's/if (!moves(t, now))$/if (0)/' --tune layers=4-5         # and updated
mutant '^weights .*TOO FEW$' 's/groups - 1 - last/last/' --tune-rotate 1                # the other end begins

# --- reference_llama --------------------------------------------------------------------------------------------------

for kind in llama-plain llama-gqa-tied llama-mqa llama-headdim llama-attention-bias llama-mlp-bias llama-linear \
    llama-llama3 llama-llama3-parameters llama-narrow-heads llama-bare qwen2 qwen2-tied qwen2-window qwen3 qwen3-bias mistral \
    mistral-window; do
    zo2-pack convert "$DATA/decoder-fixtures/$kind" "$kind.zo2" >/dev/null || fail "converting $kind"
    expect 0 'weights after the step .*bits$' "$examples/reference_llama" "$kind.zo2" "$kind.run"
    [ "$(grep -c 'allowed$' out.txt)" = 5 ] || fail "reference_llama made other comparisons than five of scalars"
done
zo2-pack convert "$DATA/decoder-fixtures/llama-yarn" yarn.zo2 >/dev/null || fail "converting llama-yarn"
expect 1 'with the scalings linear and llama3 only' "$examples/reference_llama" yarn.zo2 other.run
expect 1 'LLaMA, Qwen2, Qwen3 and Mistral only' "$examples/reference_llama" tiny.zo2 other.run
[ ! -e other.run ] || fail "reference_llama made a run of a model that it refuses"
reference=reference_llama reference_pack=llama-llama3.zo2
mutant '^L+ .*TOO MUCH$' 's/a \* c - b \* s/a * c + b * s/'                   # the other way round
mutant '^L+ .*TOO MUCH$' 's|head / (m->model.H / m->K) \* N|head % m->K * N|'       # who shares keys with whom
mutant '^L- .*TOO MUCH$' 's/(1 - s) \* f/s * f/'                             # the blend of frequencies

reference_pack=llama-mqa.zo2 # the head is a tensor of its own
tuned '1824 1824' --tune layers=1 --steps 2
tuned '512 512' --tune 'match=lm_head*' --steps 2
tuned '32 1824 16 1824 1824 1824 32 16 32 1824 16 1824 16 1824' --tune vectors+layers=1-2 --tune-rotate 1 --tune-order random --steps 14
mutant '^weights .*TOO FEW$' 's/drew <= least/drew >= least/' --tune-rotate 1 --tune-order random --steps 5
tuned '96 96' --tune rows=3-7,12 --steps 2
tuned '416 416 416' --tune lora:r=2,alpha=3,targets=q_proj+o_proj+down_proj,layers=1-2 --steps 3
tuned '528 528' --tune vectors+rows=3-7,12+lora:r=8,targets=k_proj+v_proj,layers=0 --steps 2
mutant '^L+ .*TOO MUCH$' 's/own = m->rows && .*;/own = 0;/' --tune rows=3-7,12                  # the head keeps its rows
mutant '^L+ .*TOO MUCH$' 's/(float)(m->scale \* sum)/(float)sum/' --tune lora:alpha=40            # alpha / r
mutant '^weights .*TOO FEW$' 's/t->info.id = id++/t->info.id = (uint32_t)(t - m->tensor)/' --tune vectors+lora:layers=0 # places
reference_pack=llama-gqa-tied.zo2 # the embedding keeps the rows that move in the head
tuned '96 96' --tune rows=3-7,12 --steps 2
mutant '^L+ .*TOO MUCH$' 's/own = m->rows && .*;/own = 0;/' --tune rows=3-7,12

# --- finetune, custom_loss --------------------------------------------------------------------------------------------

expect 0 '^step 9: ' "$examples/finetune" tiny.zo2 tuned.run
expect 0 '^step 19: ' "$examples/finetune" tiny.zo2 tuned.run

if [ $slow = 1 ]; then steps=2; else steps=40; fi
expect 0 '^before: mean rank [0-9.]*, [0-9]* of 16 right$' "$examples/custom_loss" tiny.zo2 rank.run $steps
cat out.txt
cp out.txt first.txt
if [ $slow = 0 ]; then
    awk '/^before/ { before = $4 + 0; right = $5 } /^after/ { exit !($4 + 0 < before - 0.5 && $5 > right) }' out.txt ||
        fail "the mean rank did not fall by half a place"
fi
expect 0 '' "$examples/custom_loss" tiny.zo2 again.run $steps
cmp -s out.txt first.txt || fail "custom_loss prints something else each time"

# --- two_processes ----------------------------------------------------------------------------------------------------

expect 0 '^step 9: worst token ' "$examples/two_processes" tiny.zo2 one.run
cp out.txt one.txt
expect 0 '^step 9: worst token ' "$examples/two_processes" tiny.zo2 two.run second.run
cmp -s out.txt one.txt || fail "two processes print something else than one"
for run in two.run second.run; do
    cmp -s one.run/journal.zo2j $run/journal.zo2j || fail "two processes made another journal than one: $run"
done
# One of them fails, and the other one says so and stops; the run goes on with one process.
: >busy.run
expect 1 'process 0: the other process is gone' "$examples/two_processes" tiny.zo2 two.run busy.run 3
expect 0 '^step 19: ' "$examples/two_processes" tiny.zo2 two.run
expect 0 '^step 19: ' "$examples/two_processes" tiny.zo2 one.run
cmp -s one.run/journal.zo2j two.run/journal.zo2j || fail "a run that went on with one process is another one"

# --- evaluate ---------------------------------------------------------------------------------------------------------

expect 0 '^weights after 0 steps$' "$examples/evaluate" tiny.zo2
cp out.txt pack.txt
[ "$(grep -c '^model\.' out.txt)" = 100 ] || fail "evaluate listed other than 100 tensors"
grep -q '^model.decoder.embed_positions.weight: 258 x 192 fp16, -0.0146255 -0.014473 ' out.txt || fail "other weights"
awk '/^through/ { wire = $5 } /^at the/ { exit !(wire != $5 && wire - $5 < 0.01 && $5 - wire < 0.01) }' out.txt ||
    fail "the bf16 wire's loss should be near the masters', and not the same"
(cd tuned.run && find . -type f -exec cksum {} +) >before.txt
expect 0 '^weights after 20 steps$' "$examples/evaluate" tiny.zo2 tuned.run
(cd tuned.run && find . -type f -exec cksum {} +) >after.txt
cmp -s before.txt after.txt || fail "evaluate changed the run"
[ "$(grep '^model' out.txt | cmp -s - pack.txt && echo same)" != same ] || fail "20 steps have changed no weight"
finish
