# SPDX-License-Identifier: Apache-2.0
# Completion of fcgipmctl for bash; installed as /usr/share/bash-completion/completions/fcgipmctl.
_fcgipmctl() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command='' dir=() i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -d) dir=(-d "${COMP_WORDS[i+1]}"); ((i++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    if [[ $previous == -d ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        return
    fi
    if [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'status restart drain pause resume scale trace decode -d --help --version' -- "$word")
        return
    fi
    local words=''
    case $command in
        status) words='--json --openmetrics --watch' ;;
        restart) words='--no-wait --timeout=' ;;
        decode) mapfile -t COMPREPLY < <(compgen -f -W '--hex' -- "$word"); return ;;
        trace) [[ $previous == trace ]] && { mapfile -t COMPREPLY < <(compgen -W 'on off' -- "$word"); return; } ;;
    esac
    if [[ $word != -* ]]; then
        words+=" $(fcgipmctl "${dir[@]}" status --openmetrics 2>/dev/null | sed -n 's/^fcgipm_workers_max{pool="\([^"]*\)".*/\1/p' | sort -u)"
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _fcgipmctl fcgipmctl
