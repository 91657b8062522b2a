# figures.sh: numbers out of what zo2's programs write (one JSON object a line), with sed alone, and tables of them.

# of LINE KEY: the value of "KEY", the last one if there are several.
of() {
    printf '%s\n' "$1" | sed -n "s/.*\"$2\": \"\{0,1\}\([^,}\"]*\).*/\1/p"
}

# millionths NUMBER: of a decimal number, rounded down; 0 for one with a negative exponent.
millionths() {
    case $1 in
        *e-*) echo 0; return ;;
        *.*) fraction=${1#*.} ;;
        *) fraction='' ;;
    esac
    # A 1 in front, so that leading zeros don't make it octal.
    echo $((${1%%.*} * 1000000 + $(printf '1%.6s' "${fraction}000000") - 1000000))
}

# Three digits behind each point are enough for a table.
short() {
    sed 's/\([0-9]\.[0-9]\{3\}\)[0-9]*/\1/g'
}

# last_words FILE: its last line that says something.
last_words() {
    grep -v '^ *$' "$1" | tail -n 1
}

# What the environment says of shapes.
given_shapes() {
    for name in MIDDLE BIG BUDGETS TOKENS IDS BENCH_OPTIONS; do
        value=$(printenv "$name") && printf ', %s="%s"' "$name" "$value"
    done
}

# bench_table FILE: rows of `zo2-bench --json`, each beside the first side that it is compared with.
bench_table() {
    sed 's/{"section"/\n&/g' "$1" | sed -n '
        /^{"section"/!d
        s/^{"section": "\([^"]*\)", "name": "\([^"]*\)", "unit": "\([^"]*\)", "lower_is_better": [a-z]*, "median": \([^,]*\), "min": \([^,]*\), "max": \([^,]*\),/| \1: \2 | \4 (\5 .. \6) \3 |/
        s/|[^|]*"against": \[{"key": "[^"]*", "name": "\([^"]*\)", "kind": "[^"]*", "median": \([^,]*\),.*\], "[a-z_]*_ratio": \([^,}]*\).*/| \1: \2 | \3 |/p
        s/|[^|]*"against": \[\].*/| | |/p' | short
}

steps_header() {
    echo "| run | options | s/step | tokens/s | device peak | host peak | bottleneck | upload GB/s (/ alone) | over the step (/ alone) | products TFLOP/s (/ whole matrices alone) | overlap | step / busiest lane |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
}

# steps_row NAME OPTIONS METRICS TRACE-CELLS: of the last line of a run's metrics.jsonl.
steps_row() {
    last=$(tail -n 1 "$3")
    took=$(millionths "$(of "$last" seconds)")
    tenths=$(($(of "$last" tokens) * 10000000 / (took ? took : 1)))
    printf '| %s | %s | %s | %s.%s | %s | %s | %s |%s\n' "$1" "$2" "$(of "$last" seconds | short)" $((tenths / 10)) \
        $((tenths % 10)) "$(of "$last" device_peak_bytes)" "$(of "$last" host_peak_bytes)" "$(of "$last" bottleneck)" "$4"
}
