package demo

import (
	"fmt"
	"strings"
	"time"
)

// Files of the demo's repository.
const (
	baselineFile  = "baselines/debian.cue"
	hardeningFile = "policies/hardening.cue"
	windowFile    = "windows/maintenance.cue"
)

// firstFiles is the repository before anybody wants anything of a host; the roster comes with it. The keys are those of ann
// and ben.
func firstFiles(ann, ben string) map[string]string {
	return map[string]string{
		"cue.mod/module.cue": "module: \"demo.example/fleet@v0\"\nlanguage: version: \"v0.17.0\"\n",
		"schema.cue":         "package fleet\n\nimport \"dunlin.dev/schema\"\n\nclose({schema.#Repo})\n",
		"fleet.cue": `package fleet

// Asked for and reported more often than a forge would like, so that nobody has to wait.
fleet: {
	name: "demo"

	// Who may change what: no host takes what none of them has signed.
	signers: {
		ann: {keys: ["` + ann + `"], roles: ["root", "policy"]}
		ben: {keys: ["` + ben + `"], roles: ["policy"]}
	}
	sync: interval:    "1s"
	reports: interval: "1s"
}

_everywhere: all: true
`,
	}
}

// branchFiles are what the first pull request adds.
func branchFiles() map[string]string {
	return map[string]string{
		baselineFile: `package fleet

// Every security update is wanted, at once.
baseline: "debian": {
	operatingSystem: "DEBIAN"
	default:         true
	approvalRules: [{
		filters: PRIORITY: ["*"]
		approveAfterDays: 0
		complianceLevel:  "HIGH"
	}]
}
`,
		hardeningFile: `package fleet

// Nothing answers on Telnet's port, whatever may be installed.
policy: "no-telnet": {
	targets:  _everywhere
	severity: "HIGH"
	blockedPorts: [{port: 23}]
	packages: telnetd: state: "absent"
	services: "telnet.socket": {running: false, enabled: false}
}

policy: "network": {
	targets: _everywhere
	sysctls: "net.ipv4.conf.all.accept_redirects": "0"
}

policy: "web": {
	targets: tags: role: ["web"]
	services: "nginx.service": {running: true, enabled: true}
}

policy: "motd": {
	targets: _everywhere
	files: "/etc/motd": {
		content: "` + motd + `\n"
		mode:    "0644"
		owner:   "root"
		group:   "root"
	}
}
`,
	}
}

const motd = "This host is kept by Dunlin. Change it with a pull request."

// windowFiles open a maintenance window that has begun an hour ago, by UTC.
func windowFiles(now time.Time) (files map[string]string, opened time.Time) {
	opened = now.UTC().Truncate(time.Hour).Add(-time.Hour)
	return map[string]string{
		windowFile: fmt.Sprintf(`package fleet

// Open for four hours a day, and now. Updates are installed inside it and at no other time.
window: "maintenance": {
	schedule: "cron(0 %d ? * * *)"
	timezone: "UTC"
	duration: "4h"
	targets:  _everywhere
	tasks: patch: {
		document: "AWS-RunPatchBaseline"
		parameters: {Operation: "Install", RebootOption: "NoReboot"}
		maxConcurrency: "100%%"
		maxErrors:      "100%%"
	}
}
`, opened.Hour()),
	}, opened
}

// openFiles open Telnet's port, and nothing is wrong with how that is written.
func openFiles() map[string]string {
	text := branchFiles()[hardeningFile]
	return map[string]string{hardeningFile: strings.Replace(text, "\tblockedPorts: [{port: 23}]\n", "", 1)}
}

// brokenFiles misspell a severity and, were that not a fault, would open Telnet's port.
func brokenFiles() map[string]string {
	text := branchFiles()[hardeningFile]
	text = strings.Replace(text, "\"HIGH\"\n\tblockedPorts: [{port: 23}]\n", "\"HIHG\"\n", 1)
	return map[string]string{hardeningFile: text}
}
