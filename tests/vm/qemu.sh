# Part of `run`: the command in a VM.
# shellcheck shell=bash disable=SC2154  # run's variables

boot_deadline=120  # seconds; 4 are usual, 30 on a machine that compiles at the same time
qemu_pid=          # of the shell around QEMU, which goes with it
relay_pids=()

clean_up() {
  stop_qemu
  if [[ -n $console_copy && -f $work/console ]]; then
    tr -d '\r' <"$work/console" >"$console_copy" || true
  fi
  rm -rf "$work"
}

# Nothing in the VM is to be kept, so it is not asked to shut down. The relays pass on what has come
# and end when they see that the shell around QEMU is gone, for which it has to be waited for.
stop_qemu() {
  if [[ -n $qemu_pid ]]; then
    # Better QEMU itself: its shell then waits for it, and no zombie is left to others.
    kill -KILL "$(cat "$work/pid" 2>/dev/null || echo "$qemu_pid")" 2>/dev/null || true
    wait "$qemu_pid" 2>/dev/null || true
    qemu_pid=
    wait "${relay_pids[@]}" || true
  fi
}

# give_up STATUS MESSAGE: and show what the kernel said last.
give_up() {
  stop_qemu
  printf 'vm: error: %s\n' "$2" >&2
  # From the first sign of trouble, if there is one; without the stack's doubtful entries.
  {
    grep -m 1 -A 60 -E 'Kernel panic|BUG:|Oops|cryptvol-vm: error' "$work/console" ||
      tail -n 40 "$work/console" || true
  } 2>/dev/null | tr -d '\r' | grep -v ' ?  *[^ ]*+0x' | sed 's/^/vm: console: /' >&2 || true
  sed 's/^/vm: qemu: /' "$work/qemu.log" >&2
  exit "$1"
}

# /dev/kvm may exist and hang whatever is started on it (nested virtualisation): only a VM that came
# up tells. That is found out once for each boot of the host.
kvm_works() {
  [[ -w /dev/kvm ]] || return 1
  local verdicts="${XDG_CACHE_HOME:-$HOME/.cache}/cryptvol/vm/kvm" id verdict
  id=$(cat /proc/sys/kernel/random/boot_id "$kernel/release" <(qemu-system-x86_64 --version) |
    sha256sum)
  verdict="$verdicts/${id:0:16}"
  mkdir -p "$verdicts"
  exec {kvm_lock}>"$verdicts/lock"
  flock "$kvm_lock"
  if [[ ! -f $verdict ]]; then
    echo 'vm: trying KVM' >&2
    if "$here/run" --kvm yes --timeout 10 --memory 512 -- true >"$work/kvm.log" 2>&1; then
      echo yes >"$verdict"
    else
      echo 'vm: KVM does not work here; emulating' >&2
      echo no >"$verdict"
    fi
  fi
  exec {kvm_lock}>&-
  [[ $(<"$verdict") == yes ]]
}

# What the guest's init is to do, as calls of its functions; and the command.
write_job() {
  local i directory
  {
    printf 'modules %s\n' "$(quoted "$(readlink -f "$kernel/lib/modules/$release")")"
    for i in "${without[@]}"; do printf 'without %s\n' "$i"; done
    for i in "${serials[@]}"; do printf 'disk %s\n' "$i"; done
    if [[ $network == yes ]]; then echo network; fi
    for i in "${!shares[@]}"; do printf 'share share%s %s\n' "$i" "$(quoted "${shares[i]}")"; done
    for directory in "$PWD" "$(dirname "$(dirname "$here")")"; do
      printf 'hold %s\n' "$(quoted "$directory")"
    done
  } >"$work/job"
  {
    for i in "${variables[@]}"; do
      printf 'export %s=%s\n' "${i%%=*}" "$(quoted "${i#*=}")"
    done
    printf 'cd -- %s || exit 125\n' "$(quoted "$PWD")"
    printf 'exec'
    for i in "$@"; do printf ' %s' "$(quoted "$i")"; done
    # One stream where the caller has one: the order of what is written to it is then kept.
    if [[ $one_stream == yes ]]; then printf ' 2>&1'; fi
    echo
  } >"$work/command"
}

start_qemu() {
  local i arguments
  local clock=tsc=reliable  # quick to read, though QEMU's CPU looks too old for it
  # shellcheck disable=SC2054  # QEMU's commas
  # q35: microvm is no faster, and a boot of it hung: without a timer besides the PIT, it could not
  # calibrate its clock.
  arguments=(-machine q35,vmport=off,smbus=off,sata=off -nodefaults -no-user-config
    -display none -no-reboot -pidfile pid
    -smp "$cpus" -m "$memory" -kernel "$kernel/vmlinux" -initrd "$initramfs"
    -chardev file,id=console,path=console -serial chardev:console
    -device virtio-rng-pci -device virtio-serial-pci
    # Regular files: with a pipe, QEMU keeps back what a slow reader has no room for.
    -chardev file,id=out,path=out -device virtserialport,chardev=out,name=out
    -chardev file,id=err,path=err -device virtserialport,chardev=err,name=err
    -chardev file,id=status,path=status -device virtserialport,chardev=status,name=status
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap
    -device virtio-9p-pci,fsdev=host,mount_tag=host)
  if [[ $accelerator == kvm ]]; then
    arguments+=(-accel kvm -cpu host)
  else
    # What is emulated one by one is dear: wide vectors above all, which every library would choose. AES and
    # random numbers are worth it.
    # shellcheck disable=SC2054
    arguments+=(-accel tcg,thread=multi -cpu qemu64,+aes,+ssse3,+rdrand)
    # An emulator that gets no processor for a while mistakes the TSC's rate, and the guest's time then runs
    # several times too fast; QEMU keeps the HPET's rate. Several processors would wait for each other to read it.
    if [[ $cpus == 1 ]]; then clock=clocksource=hpet; fi
  fi
  for i in "${!sizes[@]}"; do
    truncate --size "${sizes[i]}" "$work/disk$i"
    # They are thrown away, so what the guest flushes need not reach the host's disk.
    arguments+=(-drive "id=disk$i,if=none,format=raw,file=disk$i,cache=unsafe,discard=unmap"
      -device "virtio-blk-pci,drive=disk$i,serial=${serials[i]}")
    arguments[-1]+=",logical_block_size=${sectors[i]},physical_block_size=${sectors[i]}"
  done
  for i in "${!shares[@]}"; do
    arguments+=(-fsdev "local,id=share$i,path=${shares[i]//,/,,},security_model=none,multidevs=remap"
      -device "virtio-9p-pci,fsdev=share$i,mount_tag=share$i")
  done
  if [[ $network == yes ]]; then
    # shellcheck disable=SC2054
    arguments+=(-device virtio-net-pci,netdev=net,romfile= -netdev user,id=net)
    for i in "${forwards[@]}"; do arguments[-1]+=",hostfwd=tcp:127.0.0.1:$i-:$i"; done
  fi
  # An oops is a failure, and ends the VM. The rest is for speed: no self-tests of ciphers, no
  # mitigations, kernel text and modules left writable (emulated, protecting them costs a second).
  arguments+=(-append "console=ttyS0 quiet panic=-1 oops=panic cryptvol.job=$(
    printf '%s' "$work" | base64 -w 0) mitigations=off rodata=off cryptomgr.notests=1 \
random.trust_cpu=on $clock no_timer_check audit=0 apparmor=0")
  # Its files are named relative to its directory, whose name may hold a comma.
  # A shell around it tells when it is gone. Each dies with its parent, however that ends.
  # shellcheck disable=SC2016  # for the inner shell
  (cd "$work" && exec setpriv --pdeathsig KILL sh -c \
    'setpriv --pdeathsig KILL qemu-system-x86_64 "$@"; echo gone >status' sh "${arguments[@]}") \
    </dev/null >"$work/qemu.log" 2>&1 &
  qemu_pid=$!
}

now() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }  # microseconds

# await SECONDS: sets `event` and `details` to what the guest says next, or fails: nothing said
# until SECONDS after the start.
await() {
  local left=$((started + $1 * 1000000 - $(now)))
  if [[ $left -lt 1 ]]; then left=1; fi
  event='' details=''
  read -r -t "$((left / 1000000)).$(printf '%06d' $((left % 1000000)))" -u "$status_fd" \
    event details
}

run_command() {
  local event details deadline code out_size err_size
  command -v qemu-system-x86_64 >/dev/null || die "no QEMU: apt-get install qemu-system-x86"
  [[ $((${#sizes[@]} + ${#shares[@]})) -le 20 ]] || die "at most 20 disks and shares"
  kernel=$("$here/kernel") || exit 125
  release=$(<"$kernel/release")
  initramfs=$("$here/initramfs" "$kernel") || exit 125
  accelerator=tcg
  if [[ $kvm == yes ]] || { [[ $kvm == auto ]] && kvm_works; }; then accelerator=kvm; fi

  one_stream=no
  if [[ /proc/self/fd/1 -ef /proc/self/fd/2 ]]; then one_stream=yes; fi
  write_job "$@"
  mkfifo "$work/status"
  exec {status_fd}<>"$work/status"
  touch "$work/out" "$work/err" "$work/qemu.log"
  started=$(now)
  start_qemu
  tail -f -c +1 -s 0.02 --pid="$qemu_pid" "$work/out" &
  relay_pids+=($!)
  tail -f -c +1 -s 0.02 --pid="$qemu_pid" "$work/err" >&2 &
  relay_pids+=($!)

  deadline=$((timeout < boot_deadline ? timeout : boot_deadline))
  if ! await "$deadline"; then
    [[ $deadline -lt $timeout ]] || give_up 124 "time-out: no user space after $timeout s"
    give_up 125 "the VM did not boot within $deadline s ($accelerator)"
  fi
  [[ $event == up ]] || give_up 125 "the VM did not boot ($accelerator)"
  printf 'vm: user space up after %s s (%s)\n' \
    "$(awk -v us=$(($(now) - started)) 'BEGIN { printf "%.1f", us / 1e6 }')" "$accelerator" >&2

  await "$timeout" || give_up 124 "time-out after $timeout s"
  [[ $event == exit ]] || give_up 123 "the VM died before the command ended"
  read -r code out_size err_size <<<"$details"
  await_output "${out_size:-0}" "${err_size:-0}"
  stop_qemu
  exit "$code"
}

# The end of the output may arrive after the news of the end.
await_output() {
  local tries
  for tries in {1..200}; do
    if [[ $(stat -c %s "$work/out") -ge $1 && $(stat -c %s "$work/err") -ge $2 ]]; then return; fi
    sleep 0.02
  done
  give_up 125 "output was lost on its way from the VM (after $tries tries)"
}
