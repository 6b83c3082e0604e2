//go:build unix

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// secretLab is a host whose policy makes a file of a parameter.
type secretLab struct {
	t     *testing.T
	repo  string
	local Local
	host  host.Simulated
	keys  identity.Keys
}

func newSecretLab(t *testing.T) *secretLab {
	t.Helper()
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	l := &secretLab{t: t, repo: filepath.Join(dir, "repo"), host: host.Simulated{Dir: filepath.Join(dir, "host")}}
	state := filepath.Join(dir, "state")
	if err := os.MkdirAll(filepath.Join(l.host.Root(), "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.keys, err = identity.Open(state); err != nil {
		t.Fatal(err)
	}
	l.local = Local{State: state, Root: l.host.Root(), Evaluate: load.InProcess(load.Options{Limits: schema.NotEnforced()}), Host: l.host, Packages: l.host,
		LastInstalls: l.host.LastInstalls().Read, Ceiling: reconciler.NoCeiling(), Now: func() time.Time { return now }}
	line, err := json.Marshal(l.keys.Line("web-1", "debian", map[string]string{"role": "web"}, now))
	if err != nil {
		t.Fatal(err)
	}
	l.write("nodes/"+l.keys.ID()[:2]+".jsonl", "{}")
	laid, faults := load.Format("nodes/x.jsonl", line)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	l.write("nodes/"+l.keys.ID()[:2]+".jsonl", string(laid))
	l.write("fleet.cue", "package fleet\n\nfleet: name: \"acme\"\n")
	l.write("policies/p.cue", "package fleet\n\npolicy: p: {targets: all: true, files: \"/etc/pass\": contentFrom: parameter: \"/pass\"}\n")
	return l
}

func (l *secretLab) write(name, text string) {
	l.t.Helper()
	path := filepath.Join(l.repo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// put writes the parameter, sealed to some keys.
func (l *secretLab) put(id secret.ID, value, more string, to ...string) {
	l.t.Helper()
	sealed, err := secret.Seal(id, secret.New("x", []byte(value)), to)
	if err != nil {
		l.t.Fatal(err)
	}
	l.write("parameters/p.cue", fmt.Sprintf("package fleet\n\nparameter: \"/pass\": {type: \"SecureString\", %s versions: \"%d\": value: %q}\n", more, id.Version, sealed))
}

// pass reconciles and says what became of the file.
func (l *secretLab) pass(dry bool) string {
	l.t.Helper()
	account, err := l.local.Reconcile(context.Background(), l.repo, "", dry)
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, c := range account.Changes {
		if c.Resource == "file:/etc/pass" {
			out = append(out, fmt.Sprintf("%s %s: %s <- %s: %s", c.Result, c.Action, c.Want, c.Got, c.Reason))
		}
	}
	return strings.Join(out, "; ")
}

func (l *secretLab) file() string {
	b, err := os.ReadFile(filepath.Join(l.host.Root(), "etc/pass"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestAFileIsMadeOfASecret(t *testing.T) {
	const first, second = "canary-hunter-1", "canary-hunter-2"
	l := newSecretLab(t)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	own := l.keys.Age
	id := func(version int) secret.ID { return secret.ID{Fleet: "acme", Name: "/pass", Version: version} }
	var all strings.Builder
	want := func(what, got string, words ...string) {
		t.Helper()
		all.WriteString(got)
		for _, w := range words {
			if !strings.Contains(got, w) {
				t.Errorf("%s: the pass says %q, want %q", what, got, words)
			}
		}
		if len(words) == 0 && got != "" {
			t.Errorf("%s: the pass says %q, want nothing", what, got)
		}
	}
	everybody := "readers: all: true,"
	l.put(id(1), first, everybody, own)
	want("a dry run", l.pass(true), "WouldChange create: keyed:", "mode 0600")
	if got := l.file(); !strings.Contains(got, "no such file") {
		t.Fatalf("a dry run wrote %q", got)
	}
	want("the first pass", l.pass(false), "Changed create: keyed:", "mode 0600")
	want("the second pass", l.pass(false))
	if l.file() != first {
		t.Errorf("the file is %q", l.file())
	}
	if err := os.WriteFile(filepath.Join(l.host.Root(), "etc/pass"), []byte("canary-changed!"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("drift", l.pass(false), "Changed update: keyed:", " <- keyed:")
	l.put(id(2), second, everybody, own)
	want("a new version", l.pass(false), "Changed update: keyed:")
	if l.file() != second {
		t.Errorf("after a new version the file is %q", l.file())
	}

	// What cannot be read leaves the last good file as it is.
	l.put(id(3), first, everybody, other.Recipient().String())
	want("not encrypted to this host", l.pass(false), "Failed", "version 3 is not encrypted to this host's key", "param rotate /pass")
	l.put(id(3), first, "readers: nodes: [\"db-1\"],", own)
	want("not a reader", l.pass(false), "Failed", "not among the readers")
	l.put(id(3), first, everybody+" policies: expires: \"2026-03-01T00:00:00Z\",", own)
	want("expired", l.pass(false), "Failed", `parameter "/pass" expired at 2026-03-01T00:00:00Z`)
	l.put(secret.ID{Fleet: "other", Name: "/pass", Version: 3}, first, everybody, own)
	want("of another fleet", l.pass(false), "Failed", `sealed for fleet "other"`)
	l.put(secret.ID{Fleet: "acme", Name: "/other", Version: 3}, first, everybody, own)
	want("of another parameter", l.pass(false), "Failed", `sealed as parameter "/other"`)
	key := filepath.Join(l.local.State, "keys", "age.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	l.put(id(3), first, everybody, own)
	// Its own key may not be used: the host has no id then, which ends the pass.
	if _, err := l.local.Reconcile(context.Background(), l.repo, "", true); err == nil {
		t.Error("a key that others may read was used")
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if l.file() != second {
		t.Errorf("the last good file was changed to %q", l.file())
	}
	want("mended", l.pass(false), "Changed update: keyed:")

	// What is no secret is a file as any other.
	l.write("parameters/p.cue", "package fleet\n\nparameter: \"/pass\": {type: \"String\", versions: \"1\": value: \"plain\"}\n")
	want("a String", l.pass(false), "Changed update: sha256:", "other content")
	l.write("parameters/p.cue", "package fleet\n\nparameter: \"/pass\": {type: \"String\", policies: expires: \"2026-02-01T00:00:00Z\", versions: \"1\": value: \"later\"}\n")
	want("a String that expired", l.pass(false), "Failed", "expired")
	if l.file() != "plain" {
		t.Errorf("the file is %q", l.file())
	}
	for _, value := range []string{first, second} {
		sum := sha256.Sum256([]byte(value))
		if strings.Contains(all.String(), "hunter") || strings.Contains(all.String(), hex.EncodeToString(sum[:])[:8]) {
			t.Errorf("the accounts show a value or its digest: %s", all.String())
		}
	}
}

// quoting is a host whose writes fail with words that have in them what they were given.
type quoting struct{ host.Simulated }

func (quoting) WriteFile(_ context.Context, path string, _ schema.File, content []byte) error {
	return fmt.Errorf("write %q: no room for %s (%x)", path, content, content)
}

func TestAnErrorThatQuotesASecretIsRedacted(t *testing.T) {
	const value = "canary-hunter-3"
	l := newSecretLab(t)
	l.put(secret.ID{Fleet: "acme", Name: "/pass", Version: 1}, value, "readers: all: true,", l.keys.Age)
	var told strings.Builder
	l.local.Host = quoting{l.host}
	l.local.Secrets = &Secrets{}
	l.local.Progress = func(s reconciler.Step) { fmt.Fprintf(&told, "%+v %+v\n", s, s.Done) }
	got := l.pass(false)
	if !strings.Contains(got, "no room for [secret /pass@1] ([secret /pass@1])") {
		t.Errorf("the pass says %q", got)
	}
	var journal []byte
	for _, name := range []string{"journal"} {
		_ = filepath.WalkDir(filepath.Join(l.local.State, name), func(path string, _ os.DirEntry, _ error) error {
			b, _ := os.ReadFile(path)
			journal = append(journal, b...)
			return nil
		})
	}
	for what, text := range map[string]string{"the account": got, "what it tells": told.String(), "the journal": string(journal)} {
		if strings.Contains(text, value) || strings.Contains(text, hex.EncodeToString([]byte(value))) || text == "" {
			t.Errorf("%s: %q", what, text)
		}
	}
	if text := l.local.Secrets.Redactor.Text(value); text != value {
		t.Errorf("after the pass the value is still known: %q", text)
	}
}

// Anybody can encrypt a guess to a node. Who may have it written as a file, and reads what is told of both, does not learn
// whether it is right.
func TestAGuessIsNotConfirmedByItsDigest(t *testing.T) {
	const value = "canary-hunter-1"
	l := newSecretLab(t)
	key := l.keys.Line("web-1", "debian", nil, l.local.Now()).Keys.Age
	for _, name := range []string{"/pass", "/guess"} {
		sealed, err := secret.Seal(secret.ID{Fleet: "acme", Name: name, Version: 1}, secret.New("x", []byte(value)), []string{key})
		if err != nil {
			t.Fatal(err)
		}
		l.write("parameters"+name+".cue", fmt.Sprintf("package fleet\n\nparameter: %q: {type: \"SecureString\", readers: all: true, versions: \"1\": value: %q}\n", name, sealed))
	}
	l.write("policies/guess.cue", "package fleet\n\npolicy: guess: {targets: all: true, files: \"/etc/guess\": contentFrom: parameter: \"/guess\"}\n")
	account, err := l.local.Reconcile(context.Background(), l.repo, "", true)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, c := range account.Changes {
		digest, _, _ := strings.Cut(c.Want, ",")
		told[c.Resource] = digest
	}
	if right, guess := told["file:/etc/pass"], told["file:/etc/guess"]; !strings.HasPrefix(right, "keyed:") || !strings.HasPrefix(guess, "keyed:") || right == guess {
		t.Errorf("%q is told of the secret and %q of a guess that is right", right, guess)
	}
}
