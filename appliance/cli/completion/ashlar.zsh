#compdef ashlar
# zsh completion for ashlar
_ashlar() {
	local -a found
	found=("${(@f)$(ashlar __complete zsh "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then
		_describe ashlar found
	else
		_files
	fi
}
if [[ "$funcstack[1]" == _ashlar ]]; then
	_ashlar "$@"
else
	compdef _ashlar ashlar
fi
