# shellcheck shell=bash
# Sourced by testbed: the read-only layers that hosts stand on. They and the
# package repositories are built once into $CACHE, a folder named after what
# they are made from, so that any number of testbeds share them.

nspawn_common=(--quiet --register=no --keep-unit --console=pipe --link-journal=no --timezone=off)

mount_overlay() { # mount_overlay LOWER[:LOWER..] DIR  (DIR/up DIR/work DIR/root)
  mkdir -p "$2"/{up,work,root}
  mountpoint -q "$2/root" && return 0
  mount -t overlay "tb$ID" -o "lowerdir=$1,upperdir=$2/up,workdir=$2/work" "$2/root"
}
umount_dir() { # umount_dir DIR, patient, then lazy
  local i
  mountpoint -q "$1" || return 0
  for i in 1 2 3 4 5 6 7 8 9 10; do umount "$1" 2>/dev/null && return 0; sleep 0.1; done
  umount -l "$1"
}

# wipe_layer DIR: remove what a build that was cut off left, its mounts first
wipe_layer() {
  local m
  while read -r m; do umount_dir "$m"; done < <(awk -v d="$1/" 'index($2, d) == 1 {print $2}' /proc/mounts | sort -r)
  rm -rf --one-file-system "$1"
}

# build_in DIR CMD...: run a command in DIR/root during a layer's build. It
# shares the machine's network, so apt reaches what apt here reaches.
build_in() {
  local d=$1; shift
  ( cg_enter build
    exec systemd-nspawn "${nspawn_common[@]}" --as-pid2 -M "tb$ID-build" -D "$d/root" \
      --resolv-conf=off --bind-ro="$REPO:$REPO_MNT" \
      --setenv=DEBIAN_FRONTEND=noninteractive --setenv=LC_ALL=C.UTF-8 \
      ${http_proxy:+--setenv=http_proxy="$http_proxy"} ${https_proxy:+--setenv=https_proxy="$https_proxy"} \
      "$@" </dev/null 8>&- 9>&- ) >>"$TB/log/build.log" 2>&1 || { tail -n 25 "$TB/log/build.log" >&2; return 1; }
  cg_remove build
}

layer_ready() { [ "$(cat "$CACHE/layers/$1/.stamp" 2>/dev/null)" = "$2" ]; }

# The archive that the machine's own apt uses for $SUITE's main release.
mirror() {
  [ -n "${TESTBED_MIRROR:-}" ] && { echo "$TESTBED_MIRROR"; return; }
  apt-get indextargets --format '$(REPO_URI)' "Codename: $SUITE" 'Identifier: Packages' 2>/dev/null | head -n1
}

layer_base() {
  local key="base $SUITE $BASE_PKGS 2" d=$CACHE/layers/base m
  layer_ready base "$key" && return 0
  m=$(mirror)
  [ -n "$m" ] || { apt-get update >>"$TB/log/apt.log" 2>&1; m=$(mirror); }
  [ -n "$m" ] || die "found no archive for $SUITE in this machine's apt; set TESTBED_MIRROR"
  note "building the base layer ($SUITE, main only)"
  wipe_layer "$CACHE/layers"; mkdir -p "$d"
  mmdebstrap --quiet --variant=apt --include="$BASE_PKGS" --aptopt='Acquire::Check-Valid-Until "false"' \
    "$SUITE" "$d/root" "deb $m $SUITE main" >>"$TB/log/build.log" 2>&1 8>&- 9>&- ||
    { tail -n 25 "$TB/log/build.log" >&2; die "mmdebstrap failed"; }
  rm -f "$d/root/etc/resolv.conf" "$d/root/etc/hostname"
  : >"$d/root/etc/machine-id"
  # Things that only slow a boot down or make no sense in a namespace.
  ln -sf /dev/null "$d/root/etc/systemd/system/systemd-networkd-wait-online.service"
  ln -sf /dev/null "$d/root/etc/systemd/system/console-getty.service"
  ln -sf /dev/null "$d/root/etc/systemd/system/apt-daily.timer"
  ln -sf /dev/null "$d/root/etc/systemd/system/apt-daily-upgrade.timer"
  echo "$key" >"$d/.stamp"
}

# A layer on top of others: new_layer NAME KEY LOWER BUILDER
new_layer() {
  local name=$1 key=$2 lower=$3 fn=$4 d=$CACHE/layers/$1
  layer_ready "$name" "$key" && return 0
  note "building layer $name"
  wipe_layer "$d"; mkdir -p "$d"
  mount_overlay "$lower" "$d"
  local rc; set +e; ( set -e; "$fn" "$d" ); rc=$?; set -e   # stops at the builder's first failure
  [ "$rc" = 0 ] || { wipe_layer "$d"; die "layer $name failed, see $TB/log/build.log"; }
  umount_dir "$d/root"
  echo "$key" >"$d/.stamp"
}

lower_of() { # lowerdirs of a family, topmost first
  local L=$CACHE/layers
  case $1 in
    debian|ubuntu|rhel|suse|real) echo "$L/$1/up:$L/base/root" ;;
    *) die "unknown family $1 (debian, ubuntu, rhel, suse, real)" ;;
  esac
}

# apt_tools LAYERDIR PACKAGE...: Debian packages for a layer, from the machine's archive
apt_tools() {
  local d=$1 r=$1/root; shift
  cp -L /etc/resolv.conf "$r/etc/resolv.conf" 2>/dev/null || true
  build_in "$d" apt-get update
  build_in "$d" apt-get install -y --no-install-recommends "$@"
  rm -rf "$r"/var/lib/apt/lists/* "$r"/var/cache/apt/*.bin "$r"/var/cache/apt/archives/*.deb "$r/etc/resolv.conf"
}

# prepare_family FAMILY: its layer in $CACHE, its repository in $TB/repo. Of all
# testbeds that share $CACHE one builds and the others wait.
prepare_family() {
  local part
  case $1 in
    debian|ubuntu) part=apt ;;
    rhel|suse) part=rpm ;;
    real) part=real ;;
    *) die "unknown family $1 (debian, ubuntu, rhel, suse, real)" ;;
  esac
  if [ ! -e "$CACHE/ready-$1" ]; then
    exec 8>"$CACHE/.lock"
    flock -w "${TESTBED_LOCK_WAIT:-900}" 8 || die "another testbed still builds in $CACHE"
    REPO=$CACHE/repo
    layer_base
    case $1 in
      debian|ubuntu)
        repo_apt
        new_layer "$1" "$1 $(cat "$REPO/apt/.stamp")" "$CACHE/layers/base/root" "build_$1" ;;
      rhel|suse)
        repo_rpm
        new_layer "$1" "$1 $(cat "$REPO/rpm/.stamp")" "$CACHE/layers/base/root" "build_$1" ;;
      real)
        new_layer real "real 1" "$CACHE/layers/base/root" build_real ;;
    esac
    touch "$CACHE/ready-$1"
    exec 8>&-
  fi
  # a copy of its own, so that what one testbed publishes no other sees
  if [ ! -e "$TB/repo/$part/.copied" ]; then
    rm -rf "$TB/repo/$part"
    if [ -e "$CACHE/repo/key.asc" ]; then cp -a "$CACHE/repo/key.asc" "$TB/repo/"; fi
    cp -a "$CACHE/repo/$part" "$TB/repo/$part"
    touch "$TB/repo/$part/.copied"
  fi
}
