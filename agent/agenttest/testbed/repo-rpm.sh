# shellcheck shell=bash
# Sourced by testbed: a small RPM archive (base and updates, with advisories in
# updateinfo.xml) and the hosts that use it through dnf or zypper.

RPM_VERSION=3            # bump when the packages below change
RPM_EPOCH=1704067200

# mkrpm REPO NAME VERSION RELEASE ; extra spec text on standard input
mkrpm() {
  local t; t=$(mktemp -d "$TB/mk.XXXXXX")
  {
    printf 'Name: %s\nVersion: %s\nRelease: %s\nSummary: testbed package %s\nLicense: MIT\nBuildArch: noarch\nAutoReqProv: no\n' "$2" "$3" "$4" "$2"
    cat
  } >"$t/p.spec"
  grep -q '^%description' "$t/p.spec" || {
    # plain package: one file that tells its version
    printf '%%description\ntestbed\n%%install\nmkdir -p %%{buildroot}/usr/share/%s; echo %s-%s >%%{buildroot}/usr/share/%s/version\n%%files\n/usr/share/%s\n' \
      "$2" "$3" "$4" "$2" "$2" >>"$t/p.spec"
  }
  mkdir -p "$REPO/rpm/$1"
  SOURCE_DATE_EPOCH=$RPM_EPOCH rpmbuild -bb --quiet --define "_topdir $t" --define "_rpmdir $REPO/rpm/$1" \
    --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' --define '_buildhost testbed.invalid' \
    --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
    --define '_dbpath '"$t/db" --define 'debug_package %{nil}' --define '_build_id_links none' \
    "$t/p.spec" >>"$TB/log/build.log" 2>&1 </dev/null 8>&- 9>&- || { rm -rf "$t"; die "rpmbuild $2 failed, see $TB/log/build.log"; }
  rm -rf "$t"
}

# advisory ID TYPE SEVERITY REBOOT CVE NAME VERSION RELEASE ...
advisory() {
  local id=$1 type=$2 sev=$3 reboot=$4 cve=$5 ref=''; shift 5
  [ -n "$cve" ] && ref="<reference href=\"https://example.invalid/$cve\" id=\"$cve\" type=\"cve\" title=\"$cve\"/>"
  printf '<update from="testbed@example.invalid" status="final" type="%s" version="1"><id>%s</id><title>%s for %s</title><issued date="2024-01-01 00:00:00"/><updated date="2024-01-01 00:00:00"/><severity>%s</severity><release>Testbed 9</release><description>%s update for %s</description><references>%s</references><pkglist><collection short="updates"><name>updates</name>' \
    "$type" "$id" "$id" "$1" "$sev" "$type" "$1" "$ref"
  while [ $# -ge 3 ]; do
    printf '<package name="%s" version="%s" release="%s" epoch="0" arch="noarch" src="%s-%s-%s.src.rpm"><filename>%s-%s-%s.noarch.rpm</filename>%s</package>' \
      "$1" "$2" "$3" "$1" "$2" "$3" "$1" "$2" "$3" "$([ "$reboot" = yes ] && echo '<reboot_suggested>True</reboot_suggested>')"
    shift 3
  done
  printf '</collection></pkglist></update>\n'
}

repo_rpm() {
  local key="rpm $RPM_VERSION" r=$REPO/rpm
  [ "$(cat "$r/.stamp" 2>/dev/null)" = "$key" ] && return 0
  apt_need rpmbuild=rpm createrepo_c=createrepo-c
  note "building the RPM repository"
  rm -rf "$r"; mkdir -p "$r"
  # what the fake system provides, so that dependencies and scriptlets resolve
  mkrpm base tb-release 9.4 1 <<'E'
Provides: system-release = 9.4
Provides: system-release(releasever) = 9
Provides: redhat-release = 9.4
Provides: distribution-release = 9.4
Provides: /bin/sh
Provides: bash = 5.2
E
  mkrpm base tb-lib 1.0 1.el9 </dev/null;     mkrpm updates tb-lib 1.0 2.el9 </dev/null
  mkrpm base tb-web 2.4 1.el9 <<<'Requires: tb-lib'
  mkrpm updates tb-web 2.4 2.el9 <<<'Requires: tb-lib >= 1.0-2.el9'
  mkrpm base tb-kernel 6.1.0 1.el9 <<<'Provides: installhint(reboot-needed)'
  mkrpm updates tb-kernel 6.1.0 2.el9 <<<'Provides: installhint(reboot-needed)'
  mkrpm base tb-broken 1.0 1.el9 </dev/null
  mkrpm updates tb-broken 1.0 2.el9 <<'E'
Requires: /bin/sh
%description
its scriptlet fails, until /etc/tb-broken.fixed exists
%pre
test -e /etc/tb-broken.fixed || { echo "tb-broken: cannot be installed" >&2; exit 1; }
%files
E
  mkrpm base tb-held 3.0 1.el9 </dev/null;    mkrpm updates tb-held 3.0 2.el9 </dev/null
  local v p
  for v in 1:80:base 2:443:updates; do
    p=${v#*:}; p=${p%:*}
    mkrpm "${v##*:}" tb-conf 1.2 "${v%%:*}.el9" <<E
%description
a configuration file that is changed on the host and in the update
%install
mkdir -p %{buildroot}/etc; echo "port = $p" >%{buildroot}/etc/tb-conf.conf
%files
%config(noreplace) /etc/tb-conf.conf
E
  done
  mkrpm base tb-feature 5.0 1.el9 </dev/null; mkrpm updates tb-feature 5.1 1.el9 </dev/null
  mkrpm base tb-multi 1.0 1.el9 </dev/null;   mkrpm updates tb-multi 1.1 1.el9 </dev/null
  mkrpm updates tb-multi 1.2 1.el9 </dev/null
  mkrpm base tb-tool 1.0 1.el9 </dev/null
  {
    echo '<?xml version="1.0" encoding="UTF-8"?>'; echo '<updates>'
    advisory TBSA-2024:0001 security Important no CVE-2024-0001 tb-lib 1.0 2.el9
    advisory TBSA-2024:0002 security Moderate  no CVE-2024-0002 tb-web 2.4 2.el9 tb-lib 1.0 2.el9
    advisory TBSA-2024:0003 security Critical yes CVE-2024-0003 tb-kernel 6.1.0 2.el9
    advisory TBSA-2024:0004 security Low       no CVE-2024-0004 tb-broken 1.0 2.el9
    advisory TBSA-2024:0005 security Important no CVE-2024-0005 tb-held 3.0 2.el9
    advisory TBSA-2024:0006 security Moderate  no CVE-2024-0006 tb-multi 1.1 1.el9
    advisory TBBA-2024:0007 bugfix None no '' tb-multi 1.2 1.el9
    advisory TBBA-2024:0008 bugfix None no '' tb-conf 1.2 2.el9
    advisory TBEA-2024:0009 enhancement None no '' tb-feature 5.1 1.el9
    echo '</updates>'
  } >"$r/updateinfo.xml"
  createrepo_c -q --revision 1 --set-timestamp-to-revision "$r/base" >>"$TB/log/build.log" 2>&1
  createrepo_c -q --revision 1 --set-timestamp-to-revision "$r/updates" >>"$TB/log/build.log" 2>&1
  modifyrepo_c --mdtype=updateinfo "$r/updateinfo.xml" "$r/updates/repodata" >>"$TB/log/build.log" 2>&1
  chmod -R a+rX "$r"
  echo "$key" >"$r/.stamp"
}
RPM_INSTALLED="tb-release tb-lib-1.0-1.el9 tb-web-2.4-1.el9 tb-kernel-6.1.0-1.el9 tb-broken-1.0-1.el9 tb-held-3.0-1.el9 tb-conf-1.2-1.el9 tb-feature-5.0-1.el9 tb-multi-1.0-1.el9"

# The Debian underneath is hidden from an agent that looks for a package manager.
no_dpkg() {
  rm -f "$1"/usr/bin/{apt,apt-get,apt-cache,apt-mark,apt-config,dpkg,dpkg-query,dpkg-deb} "$1/etc/debian_version" "$1/etc/os-release" "$1/usr/lib/os-release"
  rm -rf "$1/etc/apt" "$1/var/lib/dpkg"
}

build_rhel() {
  local d=$1 r=$1/root
  apt_tools "$d" rpm dnf dnf-plugins-core
  mkdir -p "$r/etc/yum.repos.d" "$r/etc/rpm" "$r/etc/dnf/vars" "$r/etc/dnf/plugins/needs-restarting.d"
  echo '%_dbpath /var/lib/rpm' >"$r/etc/rpm/macros"
  printf '[main]\ngpgcheck=0\ninstallonly_limit=3\nclean_requirements_on_remove=True\nbest=True\nskip_if_unavailable=False\nplugins=1\n' >"$r/etc/dnf/dnf.conf"
  echo 9 >"$r/etc/dnf/vars/releasever"
  printf '[baseos]\nname=BaseOS\nbaseurl=file://%s/rpm/base\nenabled=1\ngpgcheck=0\nmetadata_expire=0\n\n[updates]\nname=Updates\nbaseurl=file://%s/rpm/updates\nenabled=1\ngpgcheck=0\nmetadata_expire=0\n' \
    "$REPO_MNT" "$REPO_MNT" >"$r/etc/yum.repos.d/testbed.repo"
  echo tb-kernel >"$r/etc/dnf/plugins/needs-restarting.d/testbed.conf"
  # shellcheck disable=SC2086
  build_in "$d" sh -ec "rpm --initdb; dnf -y --disablerepo=updates install $RPM_INSTALLED; dnf clean all; rpm -qa >/dev/null"
  echo 'exclude=tb-held' >>"$r/etc/dnf/dnf.conf"
  printf '# changed on this host\nport = 8080\n' >"$r/etc/tb-conf.conf"
  printf '[main]\nenabled = 0\n' >"$r/etc/dnf/plugins/local.conf"
  no_dpkg "$r"
  printf 'NAME="Rocky Linux"\nVERSION="9.4 (Blue Onyx)"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\nPLATFORM_ID="platform:el9"\nPRETTY_NAME="Rocky Linux 9.4 (testbed)"\n' >"$r/etc/os-release"
  echo 'Rocky Linux release 9.4 (testbed)' >"$r/etc/redhat-release"
}
build_suse() {
  local d=$1 r=$1/root
  apt_tools "$d" rpm zypper
  mkdir -p "$r/etc/zypp/repos.d" "$r/etc/rpm"
  echo '%_dbpath /var/lib/rpm' >"$r/etc/rpm/macros"
  printf '[repo-oss]\nname=Main\nenabled=1\nautorefresh=1\nbaseurl=file://%s/rpm/base\ntype=rpm-md\ngpgcheck=0\n' "$REPO_MNT" >"$r/etc/zypp/repos.d/repo-oss.repo"
  # shellcheck disable=SC2086
  build_in "$d" sh -ec "rpm --initdb; zypper --non-interactive --no-gpg-checks install --no-recommends $RPM_INSTALLED; zypper addlock tb-held; zypper clean -a"
  printf '[repo-update]\nname=Updates\nenabled=1\nautorefresh=1\nbaseurl=file://%s/rpm/updates\ntype=rpm-md\ngpgcheck=0\n' "$REPO_MNT" >"$r/etc/zypp/repos.d/repo-update.repo"
  printf '# changed on this host\nport = 8080\n' >"$r/etc/tb-conf.conf"
  no_dpkg "$r"
  printf 'NAME="openSUSE Leap"\nVERSION="15.6"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\nPRETTY_NAME="openSUSE Leap 15.6 (testbed)"\n' >"$r/etc/os-release"
}
