# fish completion for ashlar
function __ashlar_found
    ashlar __complete fish (commandline -cp) 2>/dev/null
end
complete -c ashlar -f -n 'test (count (__ashlar_found)) -gt 0' -a '(__ashlar_found)'
