package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// Programs that ask for JSON read standard error, too: whatever fails, however it is called, there is one object there.
func TestErrorsAreOneObject(t *testing.T) {
	t.Chdir(t.TempDir())
	for file, text := range map[string]string{
		// A policy that warns: a window is named and not there any more, a node is none of the roster.
		"policy/fleet.cue":     "package fleet\n\nfleet: {name: \"acme\", witnesses: [\"web-9\"]}\n",
		"policy/a.cue":         "package fleet\n\npolicy: a: {targets: {nodes: [\"web-9\"]}, sysctls: \"net.ipv4.ip_forward\": \"0\"}\n",
		"wrong/fleet.cue":      "package fleet\n\nfleet: {}\n",
		"facts.json":           "{}\n",
		"key.pub":              "no key\n",
		"document.json":        "{\n",
		"policy/parameter.txt": "x\n",
	} {
		if i := strings.LastIndexByte(file, '/'); i >= 0 {
			if err := os.MkdirAll(file[:i], 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Of each command calls that fail, the first words of which are its path. Those that begin with ! go on for ever or touch
	// the host once they are called as they should be: a wrong call is enough.
	calls := [][]string{
		{},
		{"validate", "nope"}, {"validate", "facts.json"},
		{"approve", "nope"}, {"trust"},
		{"trust add", "eve", "--key", "key.pub", "--role", "root", "--repo", "policy"}, {"trust anchor", "nope"}, {"trust can", "eve"},
		{"trust grants", "eve", "--repo", "policy"}, {"trust heartbeat", "nope"}, {"trust list", "nope"}, {"trust revoke", "eve", "--repo", "policy"}, {"trust verify", "a..b"},
		{"init", "policy"}, {"new", "nothing", "x"}, {"schema", "nothing"}, {"schema export", "nothing"}, {"schema vendor", "nope"}, {"fmt", "nope"},
		{"import"}, {"import ssm-baseline", "document.json"}, {"import ssm-document", "document.json"}, {"import ssm-window", "document.json"},
		{"agent"}, {"agent run", "--config", "nope"}, {"demo", "--nodes", "0"}, {"doctor", "--config", "nope"},
		{"status", "--socket", "nope"}, {"nodes", "--socket", "nope"}, {"compliance", "--socket", "nope"}, {"sync", "--socket", "nope"},
		{"reconcile", "--repo", "policy", "--node", "nope", "--dry-run", "--state", "state"}, {"reconcile", "--repo", "wrong", "--dry-run", "--state", "state"}, {"scan", "--repo", "nope"}, {"explain", "--repo", "policy", "nope", "nope"},
		{"internal-evaluate", "nope"}, {"inventory", "--type", "nope"}, {"schedule"}, {"schedule next", "nope"}, {"baseline"},
		{"baseline judge", "--baseline", "nope", "--facts", "facts.json", "--repo", "policy"}, {"baseline judge", "--baseline", "nope", "--facts", "facts.json", "--repo", "wrong"},
		{"node"}, {"node approve", "--repo", "policy"}, {"node approve", "nope", "--repo", "policy"}, {"node line", "--config", "nope"}, {"node list", "--repo", "nope"},
		{"node rename", "nope", "x", "--repo", "policy"}, {"node retire", "nope", "--repo", "policy"}, {"node tag", "nope", "a=b", "--repo", "policy"},
		{"activation"}, {"activation create", "--limit", "0", "--repo", "policy"}, {"activation list", "--repo", "nope"}, {"activation revoke", "nope", "--repo", "policy"},
		{"join", "--repo", "nope"}, {"key"}, {"key gossip"}, {"key gossip new", "nope"}, {"key gossip rotate", "--repo", "policy"},
		{"param"}, {"param nope"}, {"param get", "/nope", "--repo", "policy"}, {"param history", "/nope", "--repo", "policy"}, {"param label", "/nope", "1", "x", "--repo", "policy"}, {"param list", "/nope", "--repo", "nope"},
		{"param put", "/x", "--repo", "policy"}, {"param put", "/x", "--type", "SecureString", "--target", "all", "--repo", "policy"}, {"param rm", "/nope", "--repo", "policy"}, {"param rotate", "/nope", "--repo", "policy"},
		{"report"}, {"report commit", "--repo", "nope"}, {"report verify", "--repo", "nope"}, {"tx", "--state", "nope", "nope"},
	}
	called := map[string]bool{}
	check := func(args []string) {
		t.Helper()
		var out, errs bytes.Buffer
		code := run(t.Context(), append(args, "-o", "json"), streams{in: strings.NewReader(""), out: &out, err: &errs})
		var v struct {
			Error    string
			Hint     string
			Exit     int
			Warnings []struct{ Warning, Hint string }
		}
		d := json.NewDecoder(bytes.NewReader(errs.Bytes()))
		d.DisallowUnknownFields()
		switch err := d.Decode(&v); {
		case code == 0:
			t.Errorf("dunlin %s: exit 0: %s%s", strings.Join(args, " "), out.String(), errs.String())
		case errs.Len() == 0 && out.Len() > 0 && json.Valid(out.Bytes()): // the result says it
		case err != nil || v.Error == "" || v.Exit != code || d.More():
			t.Errorf("dunlin %s: exit %d, and on standard error is not one object: %v\n%s", strings.Join(args, " "), code, err, errs.String())
		case strings.Contains(out.String(), "Usage:"):
			t.Errorf("dunlin %s: its help is on standard output", strings.Join(args, " "))
		}
	}
	for _, call := range calls {
		if len(call) == 0 {
			check(nil)
			continue
		}
		called[call[0]] = true
		args := append(strings.Fields(call[0]), call[1:]...)
		check(args)
		if call[0] != "internal-evaluate" {
			check(append(args[:len(args):len(args)], "--no-such-flag"))
		}
	}
	a := &app{now: time.Now}
	var walk func(before string, cmds []*cobra.Command)
	walk = func(before string, cmds []*cobra.Command) {
		for _, c := range cmds {
			if name := before + c.Name(); !called[name] {
				t.Errorf("no failing call of dunlin %s is in this test", name)
			} else {
				walk(name+" ", c.Commands())
			}
		}
	}
	walk("", a.everything())
}

// What is said beside a result stands in objects of its own.
func TestNotesAreObjects(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("fleet.cue", []byte("package fleet\n\nfleet: name: \"acme\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"node", "list", "--pending", "--socket", "nope", "-o", "json"}, streams{in: strings.NewReader(""), out: &out, err: &errs})
	if code != 0 || !strings.HasPrefix(errs.String(), `{"warning":"no agent of this host was asked, `) || !json.Valid(errs.Bytes()) || !json.Valid(out.Bytes()) {
		t.Errorf("exit %d: %s; on standard error %q", code, out.String(), errs.String())
	}
	errs.Reset()
	a := &app{streams: streams{err: &errs}, output: "json"}
	a.note("warning: a \x1b[31mword", "look")
	if code = a.exit(t.Context(), "dunlin", usageError{os.ErrExist}); code != 2 || errs.String() != `{"error":"file already exists","hint":"dunlin --help shows how it is used","exit":2,"warnings":[{"warning":"a \u001b[31mword","hint":"look"}]}`+"\n" {
		t.Errorf("exit %d, on standard error %q", code, errs.String())
	}
}
