package load

import (
	"fmt"
	"strings"
	"testing/fstest"
)

// generated is a repository of n objects, a third of them with references.
func generated(n int) fstest.MapFS {
	m := fstest.MapFS{"fleet.cue": {Data: []byte(`package fleet

fleet: name: "acme"
_web: role: "web"
_night: {
	timezone: "Europe/Helsinki"
	duration: "3h"
	cutoff:   *"1h" | string
}
`)}}
	files := map[string]*strings.Builder{}
	add := func(dir string, i int, format string, a ...any) {
		name := fmt.Sprintf("%s/f%02d.cue", dir, i/50)
		if files[name] == nil {
			files[name] = &strings.Builder{}
			files[name].WriteString("package fleet\n")
		}
		fmt.Fprintf(files[name], "\n"+format, a...)
	}
	for i := range n - 1 {
		ref := i%3 == 0
		switch i % 5 {
		case 0, 1, 2:
			tags := `{role: "web"}`
			if ref {
				tags = "_web"
			}
			add("policies", i, `policy: "p-%05d": {
	targets: {tags: %s, exclude: tags: canary: "true"}
	severity: "HIGH"
	blockedPorts: [{port: 23}, {port: "6000-6063"}, {port: 161, protocol: "udp"}]
	packages: {curl: {}, telnetd: state: "absent"}
	services: "svc-%d": {running: true, enabled: true}
	files: "/etc/app-%d/a": {content: "key = %d\n", mode: "0644", owner: "root"}
	sysctls: "net.ipv4.ip_forward": "0"
}
`, i, tags, i, i, i)
		case 3:
			add("baselines", i, `baseline: "b-%05d": {
	operatingSystem: "DEBIAN"
	approvalRules: [
		{filters: {PRIORITY: ["Required", "Important"], SECTION: ["*"]}, approveAfterDays: 0, complianceLevel: "CRITICAL"},
		{filters: PRIORITY: ["Standard", "Optional"], approveAfterDays: 0, enableNonSecurity: true},
	]
	approvedPatches: ["openssl", "linux-image-*"]
}
`, i)
		case 4:
			night := `{timezone: "UTC", duration: "3h"}`
			if ref {
				night = "_night"
			}
			add("windows", i, `window: "w-%05d": %s & {
	schedule: "cron(%d 2 ? * SUN *)"
	targets: tags: role: "r%d"
	tasks: patch: {document: "AWS-RunPatchBaseline", parameters: Operation: "Install", maxConcurrency: "100%%", maxErrors: "100%%"}
}
`, i, night, i%60, i%9)
		}
	}
	for name, b := range files {
		m[name] = &fstest.MapFile{Data: []byte(b.String())}
	}
	return m
}
