# libraries.sh: which programs `run` runs, and where CUDA's libraries are that they need.

# with_libraries COMMAND...: with our libraries and CUDA's before all others. Not exported: Python and others have their own.
with_libraries() {
    if [ -n "$ZO2_LIBRARIES" ]; then
        LD_LIBRARY_PATH=$ZO2_LIBRARIES${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$@"
    else
        "$@"
    fi
}

zo2() { # tool, its arguments
    program=$ZO2_BIN/zo2-$1
    shift
    with_libraries "$program" "$@"
}

# Sets ZO2_BIN, ZO2_GPU_TESTS, ZO2_TESTS (where tests find data/), ZO2_LIBRARIES (folders, colons between; "": programs know
# themselves), summary (tools/trace-summary), programs_are (words) and, where CUDA's libraries can't be found, libraries_missing. False: programs_missing says why.
find_programs() {
    libraries_missing='' ZO2_LIBRARIES=''
    if [ -d "$here/bin" ] && [ -z "$build" ]; then
        summary=$here/trace-summary
        ZO2_BIN=$here/bin ZO2_GPU_TESTS=$here/tests/gpu ZO2_TESTS=$here/tests
        programs_are=$(paste -sd ';' "$here/about.txt" | sed 's/;/; /g')
        if [ "$backend" = cuda ] && find_cuda; then
            ZO2_LIBRARIES=$here/lib:$work/cuda$(driver_folders)
        else # those without CUDA in them
            ZO2_BIN=$here/bin-cpu ZO2_LIBRARIES=$here/lib
        fi
    else
        build=${build:-build} summary=$here/../trace-summary
        ZO2_BIN=$(cd "$build/bin" 2>/dev/null && pwd) ZO2_GPU_TESTS=${ZO2_BIN%/bin}/tests/gpu ZO2_TESTS=$(cd "$here/../../tests" && pwd)
        programs_are="$build, revision $(cd "$here" && git rev-parse HEAD 2>/dev/null || echo unknown)$(
            cd "$here" && git diff --quiet HEAD 2>/dev/null || echo ', changed')"
    fi
    programs_missing="there is no $build/bin: build first, or name a build with --build DIR"
    [ -n "$ZO2_BIN" ] || return 1
    programs_missing=$(with_libraries "$ZO2_BIN/zo2-plan" --version 2>&1 >/dev/null) && return
    programs_missing="the programs don't start here: $programs_missing"
    return 1
}

# find_cuda: the libraries that about.txt's neighbour `needs` names, linked into $work/cuda, so that nothing else of their folders is taken.
# Searched are the loader's own places, toolkits, and what pip and conda install. False: libraries_missing says what to do.
find_cuda() {
    read -r cudart cublas cublas_lt <"$here/needs"
    mkdir -p "$work/cuda"
    rm -f "$work"/cuda/*
    : >"$work/cuda/found"
    folders >"$work/folders"
    while read -r folder; do
        [ ! -e "$work/cuda/$cudart" ] && [ -e "$folder/$cudart" ] && ln -s "$folder/$cudart" "$work/cuda/$cudart"
        if [ ! -e "$work/cuda/$cublas" ] && [ -e "$folder/$cublas" ] && [ -e "$folder/$cublas_lt" ]; then
            ln -s "$folder/$cublas" "$folder/$cublas_lt" "$work/cuda/"
            for library in "$folder"/libnvrtc.so.[0-9]* "$folder"/libnvrtc-builtins.so.[0-9]*; do # cuBLASLt opens them for some products
                [ ! -e "$library" ] || ln -s "$library" "$work/cuda/"
            done
        fi
    done <"$work/folders"
    missing=''
    for library in "$cudart" "$cublas"; do
        [ -e "$work/cuda/$library" ] || missing="$missing${missing:+ and }$library"
    done
    if [ -z "$missing" ]; then
        programs_are="$programs_are; cudart from $(folder_of "$cudart"), cuBLAS from $(folder_of "$cublas")"
        return
    fi
    others=$(while read -r folder; do
        for library in "$folder/${cudart%.*}".[0-9]* "$folder/${cublas%.*}".[0-9]*; do
            [ ! -e "$library" ] || printf '%s ' "$library"
        done
    done <"$work/folders")
    libraries_missing="$missing not found (in the loader's folders, toolkits, Python's packages)${others:+; there are only ${others% }}. \
Install the CUDA ${cudart##*.} toolkit or Python's nvidia-cuda-runtime and nvidia-cublas of that version, or put their folder in LD_LIBRARY_PATH"
    return 1
}

folder_of() {
    dirname "$(readlink "$work/cuda/$1")"
}

# A driver's libcuda.so.1 lies in these in some containers, whose loader doesn't know of them. Behind all others.
driver_folders() {
    for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib /usr/lib/wsl/lib; do
        [ ! -e "$folder/libcuda.so.1" ] || printf ':%s' "$folder"
    done
}

# Absolute folders that exist, one a line, the likeliest first.
folders() {
    {
        printf '%s\n' "${LD_LIBRARY_PATH-}" | tr ':' '\n'
        { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | sed -n 's|^.*lib\(cudart\|cublas\)\.so.* => \(/.*\)/[^/]*$|\2|p'
        nvcc=$(command -v nvcc) && nvcc=$(readlink -f "$nvcc")
        for root in "${CUDA_PATH-}" "${CUDA_HOME-}" "${nvcc%/bin/nvcc}" /usr/local/cuda /usr/local/cuda-* /opt/cuda /opt/cuda-* "${CONDA_PREFIX-}"; do
            [ -z "$root" ] || printf '%s\n' "$root/lib64" "$root/lib" "$root/targets/x86_64-linux/lib"
        done
        python_folders | while read -r root; do
            printf '%s\n' "$root"/nvidia/*/lib
        done
        printf '%s\n' /usr/lib/x86_64-linux-gnu /usr/lib64
    } | while read -r folder; do
        case $folder in /*) [ ! -d "$folder" ] || printf '%s\n' "$folder" ;; esac
    done
}

# Where packages of Python are: those of the python3 on the PATH, and of others in the usual places.
python_folders() {
    python3 -c 'import sys; print("\n".join(sys.path))' 2>/dev/null
    for prefix in "${VIRTUAL_ENV-}" "${CONDA_PREFIX-}" "${HOME-}/.local" /usr/local /usr /opt/* /opt/*/.venv /opt/*/venv; do
        [ -z "$prefix" ] || printf '%s\n' "$prefix"/lib/python3*/site-packages "$prefix"/lib/python3*/dist-packages
    done
}
