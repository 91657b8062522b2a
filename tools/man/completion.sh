#!/bin/sh
# Writes the bash completion of a tool from its option tables: completion.sh PATH_OF_TOOL >FILE
# The tool prints the tables (tools/cli/args_man.h); what completes a word is the same text for all tools.
set -eu
tool=$(basename "$1")
tables=$("$1" --help=completion)
cat <<END
# bash completion for $tool, made from its option tables
_$(echo "$tool" | tr - _)()
{
    local tables='$(printf '%s\n' "$tables" | sed "s/'/'\\\\''/g")'
END
cat <<'END'
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=- commands= words= paths=
    local here=- line
    COMPREPLY=()
    while read -r -a line; do
        [ "${line[0]}" = command ] && [ "${line[1]}" != - ] && commands+="${line[1]} "
    done <<<"$tables"
    if [ -n "$commands" ]; then
        if [ "$COMP_CWORD" = 1 ]; then
            COMPREPLY=($(compgen -W "$commands --help --version" -- "$current"))
            return
        fi
        command=${COMP_WORDS[1]}
    fi
    while read -r -a line; do
        case ${line[0]} in
            command) here=${line[1]} ;;
            option)
                [ "$here" = "$command" ] || continue
                words+="${line[1]} "
                [ "${line[1]}" = "$previous" ] || continue
                case ${line[2]} in
                    flag) ;;
                    choice) COMPREPLY=($(compgen -W "${line[*]:3}" -- "$current")); return ;;
                    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")); return ;;
                    directory) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$current")); return ;;
                    *) return ;;
                esac
                ;;
            positional)
                [ "$here" = "$command" ] || continue
                if [ "${line[1]}" = choice ]; then words+="${line[*]:2} "; else paths=1; fi
                ;;
        esac
    done <<<"$tables"
    if [[ $current == -* || -z $paths ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    else
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current"))
    fi
}
END
echo "complete -F _$(echo "$tool" | tr - _) $tool"
