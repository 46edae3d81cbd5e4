# Completion for cryptsnap and cryptvol-csi in bash: commands and options as --help of the program
# itself has them, then files. Installed under both names.

# What --help of the command so far offers.
_cryptvol_offers() {
  "$@" --help 2>/dev/null | sed -nE '
    /^Subcommands:/,/^[^ ]/s/^  ([a-z][a-z0-9-]*) .*/\1/p
    s/^  (-[A-Za-z],)?(--[a-z0-9-]+).*/\2/p'
}

_cryptvol() {
  local current=${COMP_WORDS[COMP_CWORD]} word offers
  local command=("${COMP_WORDS[0]}")
  # The commands that were given: words that are offered at their place.
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ $word == [a-z]* ]] && _cryptvol_offers "${command[@]}" | grep -qx -- "$word"; then
      command+=("$word")
    fi
  done
  offers=$(_cryptvol_offers "${command[@]}")
  # Its options may stand behind a command too.
  if [[ ${command[0]##*/} == cryptvol-csi ]]; then
    offers+=" $(_cryptvol_offers "${command[0]}" | grep ^-)"
  fi
  mapfile -t COMPREPLY < <(compgen -W "$offers" -- "$current")
  if [[ $current != -* ]]; then
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "${current##*=}")
  fi
}

complete -o filenames -F _cryptvol cryptsnap cryptvol-csi
