# shellcheck shell=bash
# Sourced by testbed: a small signed APT archive, made of packages of our own,
# with the suites, origins and labels that Debian and Ubuntu use.

APT_VERSION=5            # bump when the packages below change
APT_EPOCH=1704067200     # 2024-01-01, so that packages come out the same

# mkdeb OUTDIR NAME VERSION [FIELD: VALUE]... with the tree and the maintainer
# scripts taken from $MK (emptied afterwards).
mkdeb() {
  local out=$1 name=$2 ver=$3 f t; shift 3
  t=$MK; mkdir -p "$t/DEBIAN" "$t/usr/share/doc/$name"
  {
    echo "Package: $name"; echo "Version: $ver"; echo "Architecture: all"
    echo "Maintainer: Testbed <testbed@example.invalid>"; echo "Section: admin"; echo "Priority: optional"
    for f in "$@"; do echo "$f"; done
    echo "Description: testbed package $name"
  } >"$t/DEBIAN/control"
  printf '%s (%s) stable; urgency=%s\n\n  * Testbed release %s.\n\n -- Testbed <testbed@example.invalid>  Mon, 01 Jan 2024 00:00:00 +0000\n' \
    "$name" "$ver" "${URGENCY:-medium}" "$ver${CVE:+ (fixes $CVE)}" | gzip -9n >"$t/usr/share/doc/$name/changelog.Debian.gz"
  for f in preinst postinst prerm postrm; do [ -e "$t/DEBIAN/$f" ] && chmod 755 "$t/DEBIAN/$f"; done
  find "$t" -exec touch -hd "@$APT_EPOCH" {} +
  mkdir -p "$out"
  SOURCE_DATE_EPOCH=$APT_EPOCH dpkg-deb --root-owner-group -Zgzip -b "$t" "$out/${name}_${ver//:/%3a}_all.deb" >/dev/null
  rm -rf "$t"; mkdir -p "$t"
}
script() { mkdir -p "$MK/DEBIAN"; { echo '#!/bin/sh'; echo 'set -e'; cat; } >"$MK/DEBIAN/$1"; }
tree()   { mkdir -p "$MK/$(dirname "$1")"; cat >"$MK/$1"; }

unit() { # unit NAME COMMAND: a systemd service of that name, started by its package
  printf '[Unit]\nDescription=testbed service %s\n[Service]\nExecStart=%s\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n' "$1" "$2" | tree "lib/systemd/system/$1.service"
  script postinst <<E
if [ "\$1" = configure ]; then
  mkdir -p /etc/systemd/system/multi-user.target.wants
  [ -n "\$2" ] || ln -sf /lib/systemd/system/$1.service /etc/systemd/system/multi-user.target.wants/$1.service
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if systemctl -q is-enabled $1.service; then systemctl restart $1.service; fi
  fi
fi
E
  script prerm <<E
if [ "\$1" = remove ] && [ -d /run/systemd/system ]; then systemctl stop $1.service || true; fi
E
  script postrm <<E
if [ "\$1" = remove ]; then
  rm -f /etc/systemd/system/multi-user.target.wants/$1.service
  if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
fi
E
}

# The packages, for a distribution's version suffix ($1: deb12u or ubuntu0.),
# into POOL/{main,security,updates,acme}.
make_debs() {
  local p=$2 s1 s2 v
  case $1 in debian) s1=+deb12u1 s2=+deb12u2 ;; ubuntu) s1=ubuntu0.1 s2=ubuntu0.2 ;; esac
  # -- tb-lib, tb-web: plain security updates, one depending on the other; tb-web is a service
  mkdeb "$p/main" tb-lib 1.0-1
  CVE=CVE-2024-0001 URGENCY=high mkdeb "$p/security" tb-lib "1.0-1$s1"
  unit tb-web "/bin/sh -c \"while :; do sleep 3600; done\""; echo 2.4-1 | tree usr/share/tb-web/version
  mkdeb "$p/main" tb-web 2.4-1 'Depends: tb-lib'
  unit tb-web "/bin/sh -c \"while :; do sleep 3600; done\""; echo "2.4-1$s1" | tree usr/share/tb-web/version
  CVE=CVE-2024-0002 URGENCY=high mkdeb "$p/security" tb-web "2.4-1$s1" "Depends: tb-lib (>= 1.0-1$s1)"
  # -- tb-kernel: asks for a reboot, as kernels and libc do
  mkdeb "$p/main" tb-kernel 6.1.0-1
  script postinst <<'E'
if [ "$1" = configure ] && [ -n "$2" ]; then
  echo '*** System restart required ***' >/run/reboot-required
  grep -qsx "$DPKG_MAINTSCRIPT_PACKAGE" /run/reboot-required.pkgs || echo "$DPKG_MAINTSCRIPT_PACKAGE" >>/run/reboot-required.pkgs
fi
E
  CVE=CVE-2024-0003 URGENCY=critical mkdeb "$p/security" tb-kernel "6.1.0-1$s1"
  # -- tb-broken: the update's postinst fails, until /etc/tb-broken.fixed exists
  mkdeb "$p/main" tb-broken 1.0-1
  script postinst <<'E'
if [ "$1" = configure ] && [ ! -e /etc/tb-broken.fixed ]; then echo "tb-broken: cannot be configured" >&2; exit 1; fi
E
  CVE=CVE-2024-0004 mkdeb "$p/security" tb-broken "1.0-1$s1"
  # -- tb-held: on hold on every host (apt-mark hold)
  mkdeb "$p/main" tb-held 3.0-1
  CVE=CVE-2024-0005 mkdeb "$p/security" tb-held "3.0-1$s1"
  # -- tb-conf: a conffile that is changed on the host and in the update (a prompt)
  printf 'port = 80\n' | tree etc/tb-conf.conf; tree DEBIAN/conffiles <<<'/etc/tb-conf.conf'
  mkdeb "$p/main" tb-conf 1.2-1
  printf 'port = 443\n' | tree etc/tb-conf.conf; tree DEBIAN/conffiles <<<'/etc/tb-conf.conf'
  mkdeb "$p/updates" tb-conf 1.2-2
  # -- tb-feature: an update that is no security update
  mkdeb "$p/main" tb-feature 5.0-1
  mkdeb "$p/updates" tb-feature 5.1-1
  # -- tb-multi: security has 1.1, updates has the newer 1.2
  mkdeb "$p/main" tb-multi 1.0-1
  CVE=CVE-2024-0006 mkdeb "$p/security" tb-multi 1.1-1
  mkdeb "$p/updates" tb-multi 1.2-1
  # -- tb-slow: takes some seconds to configure ($TB_SLOW, else /etc/tb-slow, else 3)
  mkdeb "$p/main" tb-slow 1.0-1
  script postinst <<'E'
if [ "$1" = configure ]; then sleep "${TB_SLOW:-$(cat /etc/tb-slow 2>/dev/null || echo 3)}"; fi
E
  mkdeb "$p/updates" tb-slow 1.1-1
  # -- tb-kept: its update needs a new package, so plain 'upgrade' keeps it back
  mkdeb "$p/main" tb-kept 1.0-1
  CVE=CVE-2024-0007 mkdeb "$p/security" tb-kept "2.0-1$s2" 'Depends: tb-newdep'
  mkdeb "$p/security" tb-newdep 1.0-1
  # -- tb-telnetd: unwanted software: listens on port 23 (IPv4 and IPv6)
  printf '#!/bin/sh\nnc -4 -lk -p 23 & nc -6 -lk -p 23 & wait\n' | tree usr/lib/tb-telnetd/telnetd; chmod 755 "$MK/usr/lib/tb-telnetd/telnetd"
  unit tb-telnetd /usr/lib/tb-telnetd/telnetd
  mkdeb "$p/main" tb-telnetd 0.17-1 'Depends: netcat-openbsd'
  # -- tb-tool: not installed, can be
  printf '#!/bin/sh\necho tb-tool 1.0\n' | tree usr/bin/tb-tool; chmod 755 "$MK/usr/bin/tb-tool"
  mkdeb "$p/main" tb-tool 1.0-1
  # -- tb-third: comes from a third party's archive
  mkdeb "$p/main" tb-third 1.0-1
  mkdeb "$p/acme" tb-third 2.0-1
}
# installed on every debian and ubuntu host, at the version of main
APT_INSTALLED="tb-lib tb-web tb-kernel tb-broken tb-held tb-conf tb-feature tb-multi tb-slow tb-kept tb-telnetd tb-third"

# apt_suite ROOT DIST POOLDIR ORIGIN LABEL SUITE CODENAME VERSION
apt_suite() {
  local root=$1 dist=$2 pool=$3 d="$1/dists/$2"
  mkdir -p "$d/main/binary-amd64"
  ( cd "$root"
    [ -d "$pool" ] || mkdir -p "$pool"
    apt-ftparchive packages "$pool" >"$d/main/binary-amd64/Packages"
    gzip -9nkf "$d/main/binary-amd64/Packages"
    rm -f "$d/Release" "$d/InRelease" "$d/Release.gpg"
    apt-ftparchive -o APT::FTPArchive::Release::Origin="$4" -o APT::FTPArchive::Release::Label="$5" \
      -o APT::FTPArchive::Release::Suite="$6" -o APT::FTPArchive::Release::Codename="$7" -o APT::FTPArchive::Release::Version="$8" \
      -o APT::FTPArchive::Release::Architectures=amd64 -o APT::FTPArchive::Release::Components=main \
      -o APT::FTPArchive::Release::Description="testbed $2" release "$d" >"$d/.Release"
    mv "$d/.Release" "$d/Release"
    gpg_repo --clearsign -o "$d/InRelease" "$d/Release" )
}
gpg_repo() { GNUPGHOME=$CACHE/repo-key gpg --batch --quiet --yes --pinentry-mode loopback --passphrase '' "$@" 8>&- 9>&-; }
repo_key() {
  [ -s "$REPO/key.asc" ] && return 0
  mkdir -p "$CACHE/repo-key"; chmod 700 "$CACHE/repo-key"
  gpg_repo --quick-gen-key "Testbed archive <testbed@example.invalid>" ed25519 sign never 2>>"$TB/log/build.log"
  gpg_repo --armor --export >"$REPO/key.asc"
  GNUPGHOME=$CACHE/repo-key gpgconf --kill gpg-agent 8>&- 9>&- || true
}
apt_index() { # apt_index debian|ubuntu [SUITE..]: write the indexes anew
  local r=$REPO/apt/$1
  case $1 in
    debian)
      apt_suite "$r" bookworm          pool/main     Debian Debian          oldstable          bookworm          12.15
      apt_suite "$r" bookworm-updates  pool/updates  Debian Debian          oldstable-updates  bookworm-updates  12-updates
      apt_suite "$r" bookworm-security pool/security Debian Debian-Security oldstable-security bookworm-security 12 ;;
    ubuntu)
      apt_suite "$r" noble             pool/main     Ubuntu Ubuntu          noble              noble             24.04
      apt_suite "$r" noble-updates     pool/updates  Ubuntu Ubuntu          noble-updates      noble             24.04
      apt_suite "$r" noble-security    pool/security Ubuntu Ubuntu          noble-security     noble             24.04 ;;
  esac
  apt_suite "$r" acme pool/acme Acme "Acme tools" stable acme 1
  GNUPGHOME=$CACHE/repo-key gpgconf --kill gpg-agent 8>&- 9>&- || true
}
repo_apt() {
  local key="apt $APT_VERSION" f
  [ "$(cat "$REPO/apt/.stamp" 2>/dev/null)" = "$key" ] && return 0
  note "building the APT repository"
  rm -rf "$REPO/apt"; repo_key
  MK=$(mktemp -d "$TB/mk.XXXXXX")
  for f in debian ubuntu; do make_debs $f "$REPO/apt/$f/pool"; apt_index $f; done
  rm -rf "$MK"
  chmod -R a+rX "$REPO"
  echo "$key" >"$REPO/apt/.stamp"
}

# publish [--distro debian|ubuntu] [--suite main|updates|security|acme] NAME VERSION
# publish [...] FILE.deb
# adds one more version to the archive while hosts are up: an empty package, or one that was built elsewhere.
publish() {
  local distro=debian suite=security
  while [ $# -gt 0 ]; do case $1 in
    --distro) distro=$2; shift 2 ;; --suite) suite=$2; shift 2 ;; *) break ;; esac; done
  [ $# -eq 2 ] || { [ $# -eq 1 ] && [ -f "$1" ]; } ||
    die "publish [--distro debian|ubuntu] [--suite main|updates|security|acme] NAME VERSION | FILE.deb"
  prepare_family "$distro"
  local REPO=$TB/repo
  touch "$REPO/apt/.published"
  if [ $# -eq 1 ]; then
    mkdir -p "$REPO/apt/$distro/pool/$suite"; cp -- "$1" "$REPO/apt/$distro/pool/$suite/"
  else
    MK=$(mktemp -d "$TB/mk.XXXXXX")
    mkdeb "$REPO/apt/$distro/pool/$suite" "$1" "$2"; rm -rf "$MK"
  fi
  apt_index "$distro"; chmod -R a+rX "$REPO/apt/$distro"
}

apt_sources() { # apt_sources debian|ubuntu ROOT all|main
  local s="[signed-by=/etc/apt/keyrings/testbed.asc]" u=$REPO_MNT/apt/$1 c
  [ "$1" = debian ] && c=bookworm || c=noble
  mkdir -p "$2/etc/apt/keyrings"; cp "$REPO/key.asc" "$2/etc/apt/keyrings/testbed.asc"
  rm -f "$2"/etc/apt/sources.list.d/*
  echo "deb $s file:$u $c main" >"$2/etc/apt/sources.list"
  [ "$3" = main ] && return 0
  { echo "deb $s file:$u $c-updates main"; echo "deb $s file:$u $c-security main"; } >>"$2/etc/apt/sources.list"
  echo "deb $s file:$u acme main" >"$2/etc/apt/sources.list.d/acme.list"
}
build_aptfamily() {
  local fam=$1 d=$2
  apt_sources "$fam" "$d/root" main
  # shellcheck disable=SC2086
  build_in "$d" sh -ec "apt-get update; apt-get install -y $APT_INSTALLED; apt-mark hold tb-held; apt-get clean; rm -rf /var/lib/apt/lists/*"
  printf '# changed on this host\nport = 8080\n' >"$d/root/etc/tb-conf.conf"
  apt_sources "$fam" "$d/root" all
}
build_debian() { build_aptfamily debian "$1"; }
build_ubuntu() {
  build_aptfamily ubuntu "$1"
  rm -f "$1/root/etc/os-release"
  cat >"$1/root/etc/os-release" <<'E'
PRETTY_NAME="Ubuntu 24.04 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION="24.04 LTS (Noble Numbat)"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=noble
E
  printf 'DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=24.04\nDISTRIB_CODENAME=noble\nDISTRIB_DESCRIPTION="Ubuntu 24.04 LTS"\n' >"$1/root/etc/lsb-release"
}

# family 'real': Debian's own pending security updates, fetched once and then
# served from a folder, with Debian's own signed indexes.
build_real() {
  local d=$1 m r sec site s f rel a
  m=$(mirror); sec=$(TESTBED_MIRROR='' SUITE=$SUITE-security mirror)
  [ -n "$sec" ] || { note "this machine's apt has no $SUITE-security"; return 1; }
  cp -L /etc/resolv.conf "$d/root/etc/resolv.conf" 2>/dev/null || true
  printf 'deb %s %s main\ndeb %s %s-updates main\ndeb %s %s-security main\n' "$m" "$SUITE" "$m" "$SUITE" "$sec" "$SUITE" >"$d/root/etc/apt/sources.list"
  build_in "$d" sh -ec "apt-get -o Acquire::GzipIndexes=true -o Acquire::IndexTargets::deb::Packages::KeepCompressedAs=xz update; apt-get -y --download-only dist-upgrade; apt-get -s dist-upgrade >/var/tmp/plan"
  r=$REPO/real; rm -rf "$r"; mkdir -p "$r"
  cp "$d"/root/var/tmp/plan "$r/plan"
  # indexes as apt keeps them, put back where an archive has them
  for s in "$SUITE" "$SUITE-updates" "$SUITE-security"; do
    mkdir -p "$r/dists/$s/main/binary-amd64"
    f=("$d"/root/var/lib/apt/lists/*_dists_"$s"_InRelease); [ -e "${f[0]:-}" ] && cp "${f[0]}" "$r/dists/$s/InRelease"
    f=("$d"/root/var/lib/apt/lists/*_dists_"$s"_main_binary-amd64_Packages.xz); [ -e "${f[0]:-}" ] && cp "${f[0]}" "$r/dists/$s/main/binary-amd64/Packages.xz"
  done
  xzcat "$r"/dists/*/main/binary-amd64/Packages.xz | grep -E '^(Filename|SHA256): ' >"$r/.all"
  # the packages themselves, under the file names the indexes give
  for f in "$d"/root/var/cache/apt/archives/*.deb; do
    a=$(awk -v want="$(sha256sum "$f" | cut -d' ' -f1)" '/^Filename: /{n=$2} /^SHA256: /{if ($2==want) {print n; exit}}' "$r/.all")
    [ -n "$a" ] && { mkdir -p "$r/$(dirname "$a")"; cp "$f" "$r/$a"; }
  done
  rm -f "$r/.all"
  chmod -R a+rX "$r"
  build_in "$d" apt-get clean
  rm -rf "$d"/root/var/lib/apt/lists/* "$d/root/etc/resolv.conf" "$d/root/var/tmp/plan"
  for s in "$SUITE" "$SUITE-updates" "$SUITE-security"; do echo "deb file:$REPO_MNT/real $s main"; done >"$d/root/etc/apt/sources.list"
  # the folder holds no translations
  printf 'Acquire::Languages "none";\nAcquire::Check-Valid-Until "false";\n' >"$d/root/etc/apt/apt.conf.d/90testbed"
}
