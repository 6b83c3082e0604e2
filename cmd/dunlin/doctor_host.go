package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
)

// unit is dunlin.service as systemd has it, which may be another than the package's.
func (d *doctor) unit(ctx context.Context) {
	const check = "unit"
	if !host.SystemdRuns() {
		d.say(check, findingWarning, "watch over it, and start it at boot, by other means", "systemd is not this host's service manager: package transactions run in sessions of their own, and nobody starts an agent that ended")
		return
	}
	p, err := host.UnitProperties(ctx, ownUnit, "LoadState", "ActiveState", "UnitFileState", "FragmentPath", "DropInPaths", "WatchdogUSec", "Restart", "SystemCallFilter", "CapabilityBoundingSet", "ProtectClock", "NeedDaemonReload")
	if err != nil {
		d.say(check, findingUnknown, "", "%v", err)
		return
	}
	const again = "install the package again, or take the drop-in away; systemctl cat dunlin shows both"
	where := p["FragmentPath"]
	if drop := p["DropInPaths"]; drop != "" {
		where += " (changed by " + drop + ")"
	}
	var weak []string
	if strings.Trim(p["SystemCallFilter"], "~ ") == "" {
		weak = append(weak, "SystemCallFilter")
	}
	if strings.Contains(p["CapabilityBoundingSet"], "cap_sys_boot") {
		weak = append(weak, "CapabilityBoundingSet")
	}
	if p["ProtectClock"] == "no" {
		weak = append(weak, "ProtectClock")
	}
	switch {
	case p["LoadState"] == "not-found":
		d.say(check, findingProblem, "install the package: make deb", "systemd has no %s", ownUnit)
		return
	case p["LoadState"] != "loaded":
		d.say(check, findingProblem, again, "%s is %s", ownUnit, p["LoadState"])
		return
	case p["NeedDaemonReload"] == "yes":
		d.say(check, findingWarning, "systemctl daemon-reload, and restart dunlin", "%s was changed on disk, and systemd does not know it yet", where)
	case len(weak) > 0:
		d.say(check, findingWarning, again, "%s takes less from the agent than the package's does: %s", where, listed(weak, 4))
	case p["WatchdogUSec"] == "0" || p["Restart"] != "always":
		d.say(check, findingWarning, again, "%s does not start an agent again that hangs or ends", where)
	default:
		d.say(check, findingOK, "", "%s, with its limits and its watchdog", where)
	}
	switch p["UnitFileState"] {
	case "enabled", "enabled-runtime", "static", "":
	default:
		d.say(check, findingWarning, "systemctl enable dunlin", "it is %s: nothing starts the agent at the next boot", p["UnitFileState"])
	}
	if p["ActiveState"] != "active" && d.have {
		d.say(check, findingWarning, inactiveHelp(p["ActiveState"]), "it is %s", p["ActiveState"])
	}
}

// inactiveHelp is what to do about a unit in a state of systemd's that is not active.
func inactiveHelp(state string) string {
	switch state {
	case "activating", "deactivating", "reloading", "refreshing", "maintenance":
		return "wait a moment, and look again; where it stays so, journalctl -u dunlin tells why"
	}
	return "systemctl start dunlin; journalctl -u dunlin tells why it ended"
}

func (d *doctor) packages(context.Context) {
	const check = "packages"
	if _, err := os.Stat("/var/lib/dpkg/status"); err != nil {
		d.say(check, findingWarning, "", "this host has no package manager that Dunlin knows: packages and patches of a policy fail here")
		return
	}
	if who := host.PackageLock(); who != "" {
		d.say(check, findingWarning, "wait until it has ended; Dunlin waits, too", "%s", who)
		return
	}
	if entries, err := os.ReadDir("/var/lib/dpkg/updates"); err == nil && len(entries) > 0 {
		d.say(check, findingWarning, "dpkg --configure -a; before its next change Dunlin does it itself", "dpkg was interrupted and has work left")
		return
	}
	d.say(check, findingOK, "", "dpkg and apt are free")
}

// remoteAnswer bounds how long the remote is waited for.
const remoteAnswer = 30 * time.Second

// remote asks the Git server for the branch, and what the credentials here could do to it.
func (d *doctor) remote(ctx context.Context) {
	const check = "remote"
	c := d.config
	if !d.have {
		return
	}
	if d.offline {
		d.say(check, findingUnknown, "leave out --offline", "%s was not asked", c.Repo.URL)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, remoteAnswer)
	defer cancel()
	branch := c.Repo.Branch
	if branch == "" {
		branch = "main"
	}
	from := gitrepo.Remote{URL: c.Repo.URL, Branch: branch, CredentialFile: c.Repo.CredentialFile, KnownHosts: c.Repo.KnownHosts, CAFile: c.Repo.CAFile}
	head, err := remoteHead(ctx, from)
	if err != nil {
		do := "docs/remotes.md has what each kind of remote needs"
		state := findingProblem
		if errors.Is(err, os.ErrPermission) {
			state, do = findingUnknown, asRoot
		}
		d.say(check, state, do, "%v", err)
		return
	}
	d.say(check, findingOK, "", "%s answers: %s is at %s", c.Repo.URL, branch, short(head))

	type credential struct{ what, file string }
	credentials := []credential{{"the credential that it reads with", c.Repo.CredentialFile}}
	if r := c.Reports; r != nil && r.CredentialFile != "" && r.CredentialFile != c.Repo.CredentialFile {
		if r.Remote != "" && !gitrepo.SameServer(c.Repo.URL, r.Remote) {
			d.say("push", findingOK, "", "the credential for reports is another server's, and is not shown to this one")
		} else {
			credentials = append(credentials, credential{"the credential for reports", r.CredentialFile})
		}
	}
	for _, k := range credentials {
		as := from
		as.CredentialFile = k.file
		d.mayPush(ctx, as, k.what)
	}
}

// remoteHead asks for the branch, with a store of its own: the agent's is in use.
func remoteHead(ctx context.Context, r gitrepo.Remote) (string, error) {
	dir, err := os.MkdirTemp("", "dunlin-doctor-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store, err := gitrepo.OpenStore(dir, r)
	if err != nil {
		return "", err
	}
	return store.Head(ctx)
}

// mayPush tells whether a credential could move the branch of the policy.
func (d *doctor) mayPush(ctx context.Context, as gitrepo.Remote, what string) {
	const check = "push"
	right, err := gitrepo.MayPush(ctx, as)
	do := "take the right from it, or protect " + as.Branch + " on the server: reports need their own branch alone"
	switch {
	case err != nil:
		d.say(check, findingUnknown, "", "whether %s could move %s is not known: %v", what, as.Branch, err)
	case right.Sure && right.May && d.config.Trust.Unsigned:
		d.say(check, findingWarning, do+"; and sign the policy (docs/trust.md)",
			"%s could move %s: who takes this host over is root on every host of the fleet (the server: %q)", what, as.Branch, right.Says)
	case right.Sure && right.May:
		d.say(check, findingWarning, do,
			"%s could move %s: what is not signed is refused by the hosts, but who takes this host over can hide the newest policy (the server: %q)", what, as.Branch, right.Says)
	case right.Sure:
		d.say(check, findingOK, "", "%s cannot move %s (the server: %q)", what, as.Branch, right.Says)
	case as.CredentialFile == "":
		d.say(check, findingOK, "", "there is no credential here: %s", right.Says)
	default:
		d.say(check, findingUnknown, "ask who runs the server whether it could", "whether %s could move %s is not clear: %q", what, as.Branch, right.Says)
	}
}
