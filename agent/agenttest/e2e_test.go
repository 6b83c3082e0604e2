package agenttest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
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
func (a account) result(resource string) string { return a.change(resource).Result }

// reason is why that became of it.
func (a account) reason(resource string) string { return a.change(resource).Reason }

func (a account) change(resource string) change {
	i := slices.IndexFunc(a.Changes, func(c change) bool { return c.Resource == resource })
	if i < 0 {
		return change{}
	}
	return a.Changes[i]
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
