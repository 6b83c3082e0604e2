package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// paramLab is a policy repository with nodes that have keys.
type paramLab struct {
	t        *testing.T
	dir      string
	recovery [2]string // files of keys
	now      time.Time
}

func newParamLab(t *testing.T) *paramLab {
	t.Helper()
	l := &paramLab{t: t, dir: filepath.Join(t.TempDir(), "policy"), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	l.recover()
	return l
}

// recover begins the repository with two keys of recovery.
func (l *paramLab) recover() {
	t := l.t
	t.Helper()
	var public []string
	for i := range l.recovery {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		l.recovery[i] = filepath.Join(t.TempDir(), "key.txt")
		l.write(l.recovery[i], "# recovery\n"+id.String()+"\n")
		public = append(public, id.Recipient().String())
	}
	l.write(filepath.Join(l.dir, "fleet.cue"), fmt.Sprintf("package fleet\n\nfleet: {name: \"acme\", recovery: [%q, %q]}\n", public[0], public[1]))
}

func (l *paramLab) write(path, text string) {
	l.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// node adds or changes a node of the roster, and gives its state folder.
func (l *paramLab) node(name, role string, state schema.NodeState) string {
	l.t.Helper()
	dir := filepath.Join(filepath.Dir(l.dir), "state-"+name)
	k, err := identity.Open(dir)
	if err != nil {
		l.t.Fatal(err)
	}
	line := k.Line(name, "debian", map[string]string{"role": role}, l.now)
	line.State = state
	b, err := json.Marshal(line)
	if err != nil {
		l.t.Fatal(err)
	}
	path := filepath.Join(l.dir, "nodes", line.ID[:2]+".jsonl")
	l.write(path, string(b)+"\n")
	if code, _, stderr := l.run("", "fmt", path); code != 0 {
		l.t.Fatal(stderr)
	}
	return dir
}

func (l *paramLab) run(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	if args[0] == "param" && !slices.Contains(args, "--help") {
		args = append(args, "--repo", l.dir)
	}
	a := &app{streams: streams{in: strings.NewReader(stdin), out: &out, err: &errs}, now: func() time.Time { return l.now }, evaluate: load.InProcess(loadOptions())}
	code = a.execute(context.Background(), args)
	return code, out.String(), errs.String()
}

// ok runs a command that succeeds, and gives what it printed.
func (l *paramLab) ok(stdin string, args ...string) string {
	l.t.Helper()
	code, out, errs := l.run(stdin, args...)
	if code != 0 {
		l.t.Fatalf("dunlin %q: exit %d: %s%s", args, code, out, errs)
	}
	return out
}

// fails runs a command that fails with a code and a word on standard error.
func (l *paramLab) fails(code int, word, stdin string, args ...string) {
	l.t.Helper()
	got, out, errs := l.run(stdin, args...)
	if got != code || !strings.Contains(errs, word) {
		l.t.Errorf("dunlin %q: exit %d: %s%s; want exit %d and %q", args, got, out, errs, code, word)
	}
	if len(stdin) > 8 && strings.Contains(out+errs, strings.TrimSpace(stdin)) {
		l.t.Errorf("dunlin %q shows the value: %s%s", args, out, errs)
	}
}

func (l *paramLab) file(name string) string {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b)
}

const hunter = "hunter2 is a canary"

func TestParametersOfText(t *testing.T) {
	l := newParamLab(t)
	out := l.ok("", "param", "put", "/prod/port", "8443", "--type", "String", "--allowed-pattern", "[0-9]+", "--description", "where it listens")
	if !strings.Contains(out, "/prod/port version 1") {
		t.Errorf("put prints %q", out)
	}
	l.fails(1, "does not match", "x"+hunter, "param", "put", "/prod/port")
	l.fails(1, "the value is empty", "\n", "param", "put", "/prod/port")
	l.fails(1, "placeholder", "{{ssm:/x}}", "param", "put", "/prod/port")
	l.fails(1, "type of a parameter does not change", "1", "param", "put", "/prod/port", "--type", "StringList")
	l.fails(2, "--type is missing", "1", "param", "put", "/prod/other")
	l.fails(2, "not one of String", "1", "param", "put", "/prod/other", "--type", "Text")
	l.fails(2, "readable for all", "1", "param", "put", "/prod/port", "--target", "all")
	l.fails(2, "levels", "1", "param", "put", "prod", "--type", "String")
	l.fails(2, "levels", "1", "param", "put", "/aws/x", "--type", "String")
	l.ok("9443\n", "param", "put", "/prod/port", "--label", "next")
	l.ok("a,b", "param", "put", "/prod/hosts", "--type", "StringList")
	if got := l.ok("", "param", "get", "/prod/port"); got != "9443\n" {
		t.Errorf("get = %q", got)
	}
	for selector, want := range map[string]string{":1": "8443\n", ":next": "9443\n", ":2": "9443\n"} {
		if got := l.ok("", "param", "get", "/prod/port"+selector); got != want {
			t.Errorf("get %s = %q, want %q", selector, got, want)
		}
	}
	l.fails(9, `has no version or label "prod"`, "", "param", "get", "/prod/port:prod")
	l.fails(9, `did you mean "/prod/port"?`, "", "param", "get", "/prod/porf")
	l.ok("", "param", "label", "/prod/port", "1", "next", "prod")
	if got := l.ok("", "param", "get", "/prod/port:next"); got != "8443\n" {
		t.Errorf("a label that was moved: get = %q", got)
	}
	l.fails(2, "", "", "param", "label", "/prod/port", "1", "1st")
	l.fails(9, "has no label", "", "param", "label", "/prod/port", "2", "next", "--remove")
	l.ok("", "param", "label", "/prod/port", "1", "next", "--remove")
	var list []listedParam
	if err := json.Unmarshal([]byte(l.ok("", "param", "list", "/prod", "-o", "json")), &list); err != nil || len(list) != 2 || list[1].Labels["prod"] != 1 || list[1].Version != 2 {
		t.Errorf("list = %+v, %v", list, err)
	}
	if got := l.ok("", "param", "list"); !strings.Contains(got, "/prod/port") || strings.Contains(got, "9443") {
		t.Errorf("list prints %s", got)
	}
	if got := l.ok("", "param", "history", "/prod/port"); !strings.Contains(got, "prod") || strings.Contains(got, "8443") {
		t.Errorf("history prints %s", got)
	}
	// What uses it keeps it.
	l.write(filepath.Join(l.dir, "documents", "d.cue"), "package fleet\n\ndocument: d: {schemaVersion: \"2.2\", mainSteps: [{action: \"aws:runShellScript\", name: \"a\", inputs: runCommand: [\"true {{ssm:/prod/port:1}}\"]}]}\n")
	l.fails(3, "documents/d.cue", "", "param", "rm", "/prod/port")
	l.fails(1, "label prod", "", "param", "rm", "/prod/port", "--version", "1")
	if err := os.RemoveAll(filepath.Join(l.dir, "documents")); err != nil {
		t.Fatal(err)
	}
	l.fails(1, "is the current one", "", "param", "rm", "/prod/port", "--version", "2")
	l.ok("", "param", "rm", "/prod/port")
	if _, err := os.Stat(filepath.Join(l.dir, "parameters/prod/port.cue")); err == nil {
		t.Error("the file of a removed parameter is still there")
	}
	if code, out, errs := l.run("", "validate", l.dir); code != 0 {
		t.Errorf("validate: %s%s", out, errs)
	}
}

func TestAHundredVersionsAreKept(t *testing.T) {
	l := newParamLab(t)
	var b strings.Builder
	b.WriteString("package fleet\n\nparameter: \"/a\": {type: \"String\", versions: {\n\"1\": {value: \"1\", labels: [\"first\"]}\n")
	for i := 2; i <= 100; i++ {
		fmt.Fprintf(&b, "\"%d\": value: \"%d\"\n", i, i)
	}
	l.write(filepath.Join(l.dir, "parameters/a.cue"), b.String()+"}}\n")
	l.fails(1, "the oldest, 1, has the label first", "x", "param", "put", "/a")
	l.ok("", "param", "label", "/a", "2", "first")
	if out := l.ok("101", "param", "put", "/a"); !strings.Contains(out, "version 101") || !strings.Contains(out, "version 1 is gone") {
		t.Errorf("put prints %q", out)
	}
	l.fails(9, "no version", "", "param", "get", "/a:1")
}

func TestSecretsAreForTheirReaders(t *testing.T) {
	l := newParamLab(t)
	web, db := l.node("web-1", "web", schema.NodeActive), l.node("db-1", "db", schema.NodeActive)
	l.fails(2, "--target is missing", hunter, "param", "put", "/db/pass", "--type", "SecureString")
	code, out, errs := l.run("", "param", "put", "/db/pass", hunter, "--type", "SecureString", "--target", "tag:role=db")
	if code != 2 || !strings.Contains(errs, "command line") || strings.Contains(out+errs, "hunter2") {
		t.Errorf("a secret as an argument: exit %d, %s%s", code, out, errs)
	}
	code, out, errs = l.run("", "param", "put", "/db/pass", "hunter2", "is a canary", "--type", "SecureString")
	if code != 2 || strings.Contains(out+errs, "hunter2") {
		t.Errorf("a secret as several arguments: exit %d, %s%s", code, out, errs)
	}
	if out := l.ok(hunter+"\n", "param", "put", "/db/pass", "--type", "SecureString", "--target", "tag:role=db", "--label", "prod"); !strings.Contains(out, "encrypted to 1 node and 2 keys of recovery") {
		t.Errorf("put prints %q", out)
	}
	text := l.file("parameters/db/pass.cue")
	if strings.Contains(text, "hunter2") || !strings.Contains(text, "BEGIN AGE") || strings.Count(text, "\"age1") != 3 {
		t.Errorf("the file is\n%s", text)
	}
	if got := l.ok("", "param", "get", "/db/pass"); got != "[secret /db/pass@1]\n" {
		t.Errorf("get = %q", got)
	}
	if got := l.ok("", "param", "get", "/db/pass", "-o", "json"); strings.Contains(got, "value") {
		t.Errorf("get -o json = %s", got)
	}
	for name, args := range map[string][]string{"its reader": {"--state", db}, "recovery": {"--identity", l.recovery[0]}, "the other": {"--identity", l.recovery[1]}} {
		if got := l.ok("", append([]string{"param", "get", "/db/pass:prod", "--reveal"}, args...)...); got != hunter+"\n" {
			t.Errorf("%s: get --reveal = %q", name, got)
		}
	}
	l.fails(4, "not encrypted to this key", "", "param", "get", "/db/pass", "--reveal", "--state", web)
	l.fails(1, "no key yet", "", "param", "get", "/db/pass", "--reveal", "--state", filepath.Join(t.TempDir(), "none"))
	l.fails(1, "no age key in it", "", "param", "get", "/db/pass", "--reveal", "--identity", "/dev/null")
	l.fails(2, "give one", "", "param", "get", "/db/pass", "--reveal", "--identity", "x", "--state", db)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o611} { // who can write it chooses with which key
		if err := os.Chmod(l.recovery[0], mode); err != nil {
			t.Fatal(err)
		}
		l.fails(1, fmt.Sprintf("has mode %04o: others may read it", mode), "", "param", "get", "/db/pass", "--reveal", "--identity", l.recovery[0])
		l.fails(1, "hint: chmod 0600 ", "", "param", "get", "/db/pass", "--reveal", "--identity", l.recovery[0])
	}
	if err := os.Chmod(l.recovery[0], 0o400); err != nil {
		t.Fatal(err)
	}
	if got := l.ok("", "param", "rotate"); !strings.Contains(got, "all are encrypted") {
		t.Errorf("rotate prints %s", got)
	}

	// The age tool reads what stands in the repository.
	var got []struct{ Version int }
	_ = json.Unmarshal([]byte(l.ok("", "param", "history", "/db/pass", "-o", "json")), &got)
	begin, end := strings.Index(text, "-----BEGIN"), strings.Index(text, "\t\"\"\"\n")
	sealed := strings.ReplaceAll(text[begin:end], "\t", "")
	cmd := exec.Command("age", "--decrypt", "-i", l.recovery[0])
	cmd.Stdin = strings.NewReader(sealed)
	plain, err := cmd.Output()
	if want := "dunlin-parameter/v1\nacme\n/db/pass\n1\n19\n" + hunter; err != nil || string(plain) != want {
		t.Errorf("age --decrypt = %q, %v; want %q", plain, err, want)
	}

	// A sealed value in another place is refused.
	l.write(filepath.Join(l.dir, "parameters/moved.cue"), strings.Replace(text, `"/db/pass"`, `"/web/pass"`, 1))
	l.fails(1, `sealed as parameter "/db/pass"`, "", "param", "get", "/web/pass", "--reveal", "--identity", l.recovery[0])
}

func TestRotation(t *testing.T) {
	l := newParamLab(t)
	first := l.node("db-1", "db", schema.NodeActive)
	l.ok(hunter, "param", "put", "/db/pass", "--type", "SecureString", "--target", "tag:role=db")
	l.ok("2nd "+hunter, "param", "put", "/db/pass", "--label", "prod")

	// A node comes: it cannot read until it is encrypted anew, with the same value and version.
	second := l.node("db-2", "db", schema.NodeActive)
	if code, out, _ := l.run("", "validate", l.dir); code != 0 || !strings.Contains(out, "not encrypted to db-2") {
		t.Errorf("validate prints %s", out)
	}
	var due []rotation
	if err := json.Unmarshal([]byte(l.ok("", "param", "rotate", "--stale", "-o", "json")), &due); err != nil || len(due) != 1 || !slices.Equal(due[0].Lacks, []string{"db-2"}) || len(due[0].Seen) != 0 || len(due[0].Versions) != 2 {
		t.Errorf("rotate --stale = %+v, %v", due, err)
	}
	l.fails(6, "", "", "param", "rotate", "--stale", "--exit-status")
	l.fails(4, "not encrypted to this key", "", "param", "rotate", "/db/pass", "--state", second)
	l.ok("", "param", "rotate", "/db/pass", "--state", first)
	for selector, want := range map[string]string{"": "2nd " + hunter, ":1": hunter, ":prod": "2nd " + hunter} {
		if got := l.ok("", "param", "get", "/db/pass"+selector, "--reveal", "--state", second); got != want+"\n" {
			t.Errorf("%q after it was encrypted anew: %q, want %q", selector, got, want)
		}
	}
	l.ok("", "param", "rotate", "--stale", "--exit-status")

	// A node goes: its value was seen, so that a new one is asked for.
	l.node("db-1", "db", schema.NodeRetired)
	if code, out, _ := l.run("", "validate", l.dir); code != 0 || !strings.Contains(out, "encrypted to db-1, who should not read it any more") {
		t.Errorf("validate prints %s", out)
	}
	l.fails(1, "must change", "", "param", "rotate", "/db/pass", "--identity", l.recovery[0])
	l.fails(1, "must change", "", "param", "rotate", "--all", "--identity", l.recovery[0])
	if out := l.ok("", "param", "rotate"); !strings.Contains(out, "may have been seen by db-1") {
		t.Errorf("rotate prints %s", out)
	}
	if out := l.ok("3rd "+hunter, "param", "rotate", "/db/pass", "--value-file", "-"); !strings.Contains(out, "version 3 has a new value; the old one may have been seen by db-1") {
		t.Errorf("rotate prints %s", out)
	}
	l.fails(4, "not encrypted", "", "param", "get", "/db/pass", "--reveal", "--state", first)
	if got := l.ok("", "param", "get", "/db/pass", "--reveal", "--state", second); got != "3rd "+hunter+"\n" {
		t.Errorf("the new value is %q", got)
	}
	l.ok("", "param", "rotate", "--stale", "--exit-status")

	// The same by the other way: the value stays.
	l.node("db-2", "none", schema.NodeActive)
	l.ok("", "param", "rotate", "/db/pass", "--keep-value", "--identity", l.recovery[1])
	l.fails(4, "not encrypted", "", "param", "get", "/db/pass", "--reveal", "--state", second)
	if got := l.ok("", "param", "get", "/db/pass:3", "--reveal", "--identity", l.recovery[0]); got != "3rd "+hunter+"\n" {
		t.Errorf("the kept value is %q", got)
	}

	// What a person sealed with age is taken, and says afterwards whom it is for.
	text := l.file("parameters/db/pass.cue")
	cut := strings.Index(text, "recipients: [")
	l.write(filepath.Join(l.dir, "parameters/db/pass.cue"), text[:cut]+text[cut+strings.Index(text[cut:], "]")+1:])
	if out := l.ok("", "param", "rotate", "--all", "--identity", l.recovery[0]); !strings.Contains(out, "encrypted anew") {
		t.Errorf("rotate prints %s", out)
	}
	l.ok("", "param", "rotate", "--stale", "--exit-status")
	for _, args := range [][]string{{"--all", "/db/pass"}, {"--stale", "--all"}, {"--value-file", "-"}, {"/db/pass", "--keep-value", "--value-file", "-"}} {
		l.fails(2, "", "", append([]string{"param", "rotate"}, args...)...)
	}
}

func TestSecretsNeedRecovery(t *testing.T) {
	l := newParamLab(t)
	l.node("db-1", "db", schema.NodeActive)
	l.write(filepath.Join(l.dir, "fleet.cue"), "package fleet\n\nfleet: {name: \"acme\", recovery: [\"age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g\", \"age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g\"]}\n")
	l.fails(3, "fleet.recovery[1]: the same key as recovery[0]", hunter, "param", "put", "/a", "--type", "SecureString", "--target", "all")
	l.write(filepath.Join(l.dir, "fleet.cue"), "package fleet\n\nfleet: {name: \"acme\", recovery: [\"age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g\"]}\n")
	l.fails(1, "fleet.recovery has 1 keys", hunter, "param", "put", "/a", "--type", "SecureString", "--target", "all")
	l.write(filepath.Join(l.dir, "fleet.cue"), "package fleet\n\nfleet: {name: \"acme\", recovery: [\"age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6q\"]}\n")
	l.fails(3, "is mistyped", hunter, "param", "put", "/a", "--type", "SecureString", "--target", "all")
	l.write(filepath.Join(l.dir, "fleet.cue"), "package fleet\n\nfleet: {name: \"acme\", recovery: [\"age1aaa\", \"age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g\"]}\n")
	l.fails(3, `fleet.recovery[0]: "age1aaa" has 7 characters`, hunter, "param", "put", "/a", "--type", "SecureString", "--target", "all")
	if entries, err := os.ReadDir(filepath.Join(l.dir, "parameters")); err == nil {
		t.Errorf("something was written: %v", entries)
	}
}

func TestParametersThatAreDue(t *testing.T) {
	l := newParamLab(t)
	l.ok("x", "param", "put", "/a", "--type", "String", "--expires", "90d", "--notify-before", "14d", "--no-change-notify-after", "30d")
	due := func() string {
		var list []listedParam
		if err := json.Unmarshal([]byte(l.ok("", "param", "list", "--due", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range list {
			for _, d := range p.Due {
				out = append(out, string(d.What))
			}
		}
		return strings.Join(out, " ")
	}
	begin := l.now
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{
		{0, ""}, {30*24*time.Hour - time.Second, ""}, {30 * 24 * time.Hour, "unchanged"},
		{76 * 24 * time.Hour, "expires unchanged"}, {90*24*time.Hour - time.Second, "expires unchanged"}, {90 * 24 * time.Hour, "expired unchanged"},
	} {
		if l.now = begin.Add(tt.after); due() != tt.want {
			t.Errorf("after %v: due is %q, want %q", tt.after, due(), tt.want)
		}
	}
	l.fails(9, "expired at 2026-05-30T12:00:00Z", "", "param", "get", "/a")
	if out := l.ok("", "param", "list"); !strings.Contains(out, "nobody can read it any more") {
		t.Errorf("list prints %s", out)
	}
	l.ok("y", "param", "put", "/a", "--expires", "2027-01-01T00:00:00+01:00")
	if due() != "" {
		t.Errorf("after a new value and date: due is %q", due())
	}
	l.ok("z", "param", "put", "/a", "--expires", "never")
	l.fails(2, "--expires", "z", "param", "put", "/a", "--expires", "soon")
	if code, _, errs := l.run("z", "param", "put", "/a", "--expires", "2020-01-01T00:00:00Z"); code != 0 || !strings.Contains(errs, "warning: /a expired at 2020-01-01T00:00:00Z: nobody can read it; give --expires") {
		t.Errorf("put what is over: exit %d: %s", code, errs)
	}
	if code, _, errs := l.run("z", "param", "put", "/a"); code != 0 || !strings.Contains(errs, "nobody can read it") {
		t.Errorf("put a value of what is over: exit %d: %s", code, errs)
	}
	if code, _, errs := l.run("z", "param", "put", "/a", "--expires", "never"); code != 0 || errs != "" {
		t.Errorf("put what lives again: exit %d: %s", code, errs)
	}
	l.fails(2, `"12bad" is not a label`, "", "param", "label", "/a", "1", "12bad")
	l.fails(2, `"awsome" is not a label`, "z", "param", "put", "/a", "--label", "awsome")
	l.fails(1, "more than 8192 bytes", strings.Repeat("x", 9000), "param", "put", "/a")
	l.fails(2, "--notify-before", "z", "param", "put", "/a", "--notify-before", "soon")
}

func TestOnlyTheParameterIsChanged(t *testing.T) {
	l := newParamLab(t)
	const text = "package fleet\n\n// Two of them.\nparameter: \"/a\": {\n\ttype: \"String\" // text\n\tversions: \"1\": value: \"x\"\n}\nparameter: \"/b\": {type: \"String\", versions: \"1\": value: \"b\"}\n_t: versions: \"1\": value: \"c\"\nparameter: \"/c\": _t & {type: \"String\"}\n"
	l.write(filepath.Join(l.dir, "parameters/all.cue"), text)
	l.ok("y", "param", "put", "/a")
	if got := l.file("parameters/all.cue"); !strings.Contains(got, "// Two of them.") || !strings.Contains(got, "// text") || !strings.Contains(got, `parameter: "/b": {type: "String", versions: "1": value: "b"}`) {
		t.Errorf("the file is\n%s", got)
	}
	l.fails(1, "literal", "z", "param", "put", "/c")
	l.ok("", "param", "rm", "/b")
	if got := l.file("parameters/all.cue"); strings.Contains(got, `"/b"`) || !strings.Contains(got, `"/a"`) {
		t.Errorf("the file is\n%s", got)
	}
	l.write(filepath.Join(l.dir, "broken.cue"), "package fleet\n\npolicy: x: {}\n")
	l.fails(3, "the repository has faults", "y", "param", "put", "/a")
}

// TestANodeReadsWhatIsInForce reads a secret as root does on a node: no clone is around, and the store of the agent has it.
func TestANodeReadsWhatIsInForce(t *testing.T) {
	l := newParamLab(t)
	db, web := l.node("db-1", "db", schema.NodeActive), l.node("web-1", "web", schema.NodeActive)
	l.ok(hunter, "param", "put", "/db/pass", "--type", "SecureString", "--target", "tag:role=db")
	g := git{dir: l.dir}
	do := func(args ...string) string {
		t.Helper()
		out, err := g.run(t.Context(), nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	do("init", "-q", "-b", "main")
	do("add", "-A")
	do("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "one")
	head := strings.TrimSpace(do("rev-parse", "HEAD"))
	for _, state := range []string{db, web} {
		do("clone", "-q", "--bare", l.dir, filepath.Join(state, "policy.git"))
		do("--git-dir", filepath.Join(state, "policy.git"), "update-ref", "refs/dunlin/trusted", head)
	}
	l.write(filepath.Join(l.dir, "parameters/db/pass.cue"), "this is not what is in force")
	t.Chdir(t.TempDir())
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		a := &app{streams: streams{in: strings.NewReader(""), out: &out, err: &errs}, now: func() time.Time { return l.now }, evaluate: load.InProcess(loadOptions())}
		code := a.execute(context.Background(), append([]string{"param"}, args...))
		return code, out.String(), errs.String()
	}
	if code, out, errs := run("get", "/db/pass", "--reveal", "--state", db); code != 0 || out != hunter+"\n" || errs != "commit "+short(head)+", which is in force here\n" {
		t.Errorf("its reader: exit %d, %q, %s", code, out, errs)
	}
	if code, out, errs := run("get", "/db/pass", "--state", db, "-o", "json"); code != 0 || errs != "" || strings.Contains(out, "value") || !strings.Contains(out, `"commit": "`+head+`"`) {
		t.Errorf("without --reveal: exit %d, %s%s", code, out, errs)
	}
	if code, out, errs := run("get", "/db/pass", "--reveal", "--state", web); code != exitNotTrusted || out != "" || !strings.Contains(errs, "not encrypted to this key") {
		t.Errorf("no reader: exit %d, %s%s", code, out, errs)
	}
	// Keys that others may exchange are refused here as well.
	if err := os.Chmod(filepath.Join(db, identity.Folder), 0o777); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := run("get", "/db/pass", "--reveal", "--state", db); code != exitError || out != "" {
		t.Errorf("keys in a folder that others may write: exit %d, %s", code, out)
	}
}
