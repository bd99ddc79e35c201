# bash completion for ashlar
_ashlar() {
	local IFS=$'\n'
	COMPREPLY=($(ashlar __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
}
complete -o default -o bashdefault -F _ashlar ashlar
