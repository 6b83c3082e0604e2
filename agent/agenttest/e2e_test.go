package agenttest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// account is what `dunlin reconcile -o json` prints.
type account struct {
	Commit     string
	Changes    []change
	Compliance string
}

type change struct {
	Resource, Want, Got, Action, Result, Reason string
}

// settled leaves out the patches that wait for a window or are held: they are
// listed in every run until they are installed.
func (a account) settled() []change {
	return slices.DeleteFunc(slices.Clone(a.Changes), func(c change) bool {
		return strings.HasPrefix(c.Resource, "patch:") && c.Result == "Waiting"
	})
}

// result is what became of a resource, or empty when it is not listed.
func (a account) result(resource string) string {
	for _, c := range a.Changes {
		if c.Resource == resource {
			return c.Result
		}
	}
	return ""
}

// judgement is what `dunlin scan -o json` prints.
type judgement struct {
	Patches []struct {
		ID, Title, State, Deployment, Reason string
	}
	Counts     map[string]int
	Compliance string
}

// patch is the line of one package.
func (j judgement) patch(t *testing.T, id string) (title, state, reason string) {
	t.Helper()
	for _, p := range j.Patches {
		if p.ID == id {
			return p.Title, p.State, p.Reason
		}
	}
	t.Errorf("scan does not list %s", id)
	return "", "", ""
}

const policyDir = "/srv/policy"

// reconcile runs the command on a host and decodes its account; wantCode is its
// exit code.
func reconcile(t *testing.T, h *Host, wantCode int, args ...string) account {
	t.Helper()
	full := append([]string{"dunlin", "reconcile", "--repo", policyDir, "-o", "json"}, args...)
	out, errs, code := h.Exec(full...)
	if code != wantCode {
		t.Fatalf("%s (%s): %q: exit code %d, want %d\n%s%s", h.Name, h.Family, full, code, wantCode, out, errs)
	}
	var a account
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%s: %v in:\n%s", h.Name, err, out)
	}
	return a
}

func scan(t *testing.T, h *Host) judgement {
	t.Helper()
	var j judgement
	out := h.MustExec("dunlin", "scan", "--repo", policyDir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &j); err != nil {
		t.Fatalf("%s: %v in:\n%s", h.Name, err, out)
	}
	return j
}

// unchanged fails the test when a run changes something, or finds anything to change.
func unchanged(t *testing.T, h *Host) {
	t.Helper()
	before := h.MustExec("dpkg-query", "-W") + h.MustExec("nft", "list", "table", "inet", "dunlin")
	if left := reconcile(t, h, 0).settled(); len(left) != 0 {
		t.Errorf("%s: a second run finds %+v, want nothing", h.Family, left)
	}
	if after := h.MustExec("dpkg-query", "-W") + h.MustExec("nft", "list", "table", "inet", "dunlin"); after != before {
		t.Errorf("%s: a second run changed the host:\n%s\nbefore:\n%s", h.Family, after, before)
	}
}

// install puts a policy repository onto the host, in place of an earlier one.
func install(h *Host, files map[string]string) {
	h.t.Helper()
	h.MustExec("rm", "-rf", policyDir)
	h.Write(policyDir+"/fleet.cue", "package fleet\n\nfleet: name: \"e2e\"\n", 0o644)
	for name, text := range files {
		h.Write(policyDir+"/"+name, "package fleet\n\n"+text, 0o644)
	}
}

// openWindow is a window that opened an hour ago and closes in two.
func openWindow() string {
	return fmt.Sprintf(`window: "now": {
	schedule: "at(%s)"
	duration: "3h"
	targets: all: true
	tasks: patch: {
		document: "AWS-RunPatchBaseline"
		parameters: {Operation: "Install", RebootOption: "NoReboot"}
		maxConcurrency: "100%%"
		maxErrors:      "100%%"
	}
}
`, time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04:05"))
}

// version is a package's installed version, or empty.
func version(h *Host, name string) string {
	h.t.Helper()
	out, _, _ := h.Exec("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name)
	if v, ok := strings.CutPrefix(out, "installed "); ok {
		return v
	}
	return ""
}
