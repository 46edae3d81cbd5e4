# Part of `run`: the command on this very kernel, with loop devices for disks.
# shellcheck shell=bash disable=SC2154  # run's variables

loops=()
command_pid=

clean_up() {
  if [[ -n $command_pid ]]; then kill "$command_pid" 2>/dev/null || true; fi
  local loop
  for loop in "${loops[@]}"; do
    losetup --detach "$loop" || printf 'vm: error: %s is still in use\n' "$loop" >&2
  done
  rm -rf "$work"
}

run_command() {
  local i variable
  [[ $(id -u) == 0 ]] || die "--native needs root"
  ( : </dev/mapper/control ) 2>/dev/null ||
    die "--native needs device-mapper (/dev/mapper/control), and this kernel has none; try without"
  [[ ${#without[@]} == 0 ]] || die "--without-module needs a VM, not --native"
  [[ -z $console_copy ]] || die "--keep-console needs a VM, not --native"

  for i in "${!sizes[@]}"; do
    truncate --size "${sizes[i]}" "$work/disk$i"
    loops+=("$(losetup --find --show --sector-size "${sectors[i]}" "$work/disk$i")") ||
      die "no loop device for --disk ${sizes[i]}"
  done
  export CRYPTVOL_VM_DISKS="${loops[*]}" DM_DISABLE_UDEV=1
  for variable in "${variables[@]}"; do export "${variable?}"; done

  # In the background, since bash acts on a signal only while it waits like this.
  timeout --kill-after=10 "$timeout" "$@" </dev/null &
  command_pid=$!
  local code=0
  wait "$command_pid" || code=$?
  command_pid=
  exit "$code"
}
