package demo

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
)

// names are those of n hosts: a third of them databases.
func names(n int) (out []simulated.Spec) {
	web, db := 0, 0
	for i := range n {
		if i%3 == 2 {
			db++
			out = append(out, simulated.Spec{Name: fmt.Sprintf("db-%d", db), Tags: map[string]string{"role": "db"}})
		} else {
			web++
			out = append(out, simulated.Spec{Name: fmt.Sprintf("web-%d", web), Tags: map[string]string{"role": "web"}})
		}
	}
	return out
}

// versions are what the archives of the simulated hosts offer, oldest first.
func versions() map[string][]host.SimulatedVersion {
	one := func(v, priority, section string) []host.SimulatedVersion {
		return []host.SimulatedVersion{{Version: v, Priority: priority, Section: section}}
	}
	fixed := func(old, fix, section string, reboot bool) []host.SimulatedVersion {
		return []host.SimulatedVersion{{Version: old, Section: section}, {Version: fix, Section: section, Security: true, Reboot: reboot}}
	}
	return map[string][]host.SimulatedVersion{
		"dpkg":              one("1.21.22", "required", "admin"),
		"libc6":             one("2.36-9+deb12u13", "optional", "libs"),
		"openssh-server":    one("1:9.2p1-2+deb12u7", "optional", "net"),
		"telnetd":           one("0.17+2.4-2+deb12u1", "optional", "net"),
		"nano":              {{Version: "7.2-1", Section: "editors"}, {Version: "7.2-1+deb12u1", Section: "editors"}}, // no security update: not wanted
		"openssl":           fixed("3.0.16-1~deb12u1", "3.0.17-1~deb12u2", "utils", false),
		"nginx":             fixed("1.22.1-9+deb12u2", "1.22.1-9+deb12u3", "httpd", false),
		"postgresql-15":     fixed("15.13-0+deb12u1", "15.14-0+deb12u1", "database", false),
		"linux-image-amd64": fixed("6.1.140-1", "6.1.147-1", "kernel", true),
	}
}

// Hosts with a part of their own: on one somebody opens a port, another has a kernel that waits for a reboot.
const (
	opened   = 1
	rebooted = 2
)

// furnish makes the i-th host what somebody left: a Debian with security updates that wait, and not all alike.
func furnish(n *simulated.Node, i int) error {
	offered := versions()
	installed := map[string]host.SimulatedInstalled{}
	add := func(names ...string) {
		for _, name := range names {
			installed[name] = host.SimulatedInstalled{Version: offered[name][0].Version, State: schema.PackageInstalled}
		}
	}
	on := schema.Unit{Load: "loaded", Active: "active", Sub: "running", File: "enabled"}
	units := map[string]schema.Unit{"ssh.service": on}
	add("dpkg", "libc6", "openssh-server", "nano", "openssl")
	if n.Tags["role"] == "web" {
		add("nginx")
		units["nginx.service"] = on
	} else {
		add("postgresql-15")
		units["postgresql.service"] = on
	}
	if i == rebooted {
		add("linux-image-amd64")
	}
	if i%3 == 1 {
		add("telnetd")
		units["telnet.socket"] = schema.Unit{Load: "loaded", Active: "active", Sub: "listening", File: "enabled"}
	}
	if err := n.Host.SetArchive(host.SimulatedArchive{Arch: "amd64", Debian: "12", Installed: installed, Versions: maps.Clone(offered)}); err != nil {
		return err
	}
	if err := n.Host.SetUnits(units); err != nil {
		return err
	}
	if err := n.Host.SetSysctls(map[string]string{"net.ipv4.conf.all.accept_redirects": "1"}); err != nil {
		return err
	}
	if i%3 == 0 {
		return os.WriteFile(filepath.Join(n.Host.Root(), "etc", "motd"), []byte("Welcome!\n"), 0o644)
	}
	return nil
}
