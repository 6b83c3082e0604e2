package agent

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/ed25519"
	"crypto/sha1" //nolint:gosec // Git's own
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// signedChain makes a repository of an anchor and n signed commits upon it that change one file of 512 each.
func signedChain(t testing.TB, n int) (dir string, chain []string, at time.Time) {
	t.Helper()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if _, err := gitrepo.OpenStore(dir, gitrepo.Remote{}); err != nil {
		t.Fatal(err)
	}
	object := func(kind string, raw []byte) string {
		whole := append(fmt.Appendf(nil, "%s %d\x00", kind, len(raw)), raw...)
		sum := sha1.Sum(whole) //nolint:gosec // Git's own
		id := hex.EncodeToString(sum[:])
		var packed bytes.Buffer
		z := zlib.NewWriter(&packed)
		_, err := z.Write(whole)
		path := filepath.Join(dir, "objects", id[:2], id[2:])
		if err = errors.Join(err, z.Close(), os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, packed.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
		return id
	}
	entry := func(mode, name, id string) []byte {
		h, _ := hex.DecodeString(id)
		return append([]byte(mode+" "+name+"\x00"), h...)
	}
	folder := func(format string, changed, to int) string {
		var raw []byte
		for i := range 256 {
			v := i
			if i == changed {
				v = to
			}
			raw = append(raw, entry("100644", fmt.Sprintf(format, i), fmt.Sprintf("%040x", v+1))...)
		}
		return object("tree", raw)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	fleet := object("blob", fmt.Appendf(nil, "package fleet\n\nfleet: {name: \"acme\", signers: alice: {keys: [%q], roles: [\"root\", \"policy\"]}}\n", public))
	nodes := folder("%02x.jsonl", -1, 0)
	at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n + 1 {
		at = at.Add(time.Minute)
		tree := object("tree", slices.Concat(entry("100644", "fleet.cue", fleet), entry("40000", "nodes", nodes), entry("40000", "policies", folder("%03d.cue", i%256, 1000+i))))
		raw := "tree " + tree + "\n"
		if i > 0 {
			raw += "parent " + chain[i-1] + "\n"
		}
		who := fmt.Sprintf("a <a@example.org> %d +0000\n", at.Unix())
		raw += "author " + who + "committer " + who
		sig, err := sshsig.Sign(strings.NewReader(raw+"\nchange\n"), key, sshsig.HashSHA512, trust.NamespaceCommit)
		if err != nil {
			t.Fatal(err)
		}
		raw += "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(string(sshsig.Armor(sig)), "\n"), "\n", "\n ") + "\n\nchange\n"
		chain = append(chain, object("commit", []byte(raw)))
	}
	return dir, chain, at
}

// BenchmarkTrust verifies chains of signed commits in a repository: all of it but the fetch. fleet.cue, which is one for all
// of them, is evaluated once before; in the loader's child that takes some 60 ms.
func BenchmarkTrust(b *testing.B) {
	const n = 1000
	dir, chain, at := signedChain(b, n)
	fleets := NewFleets(load.InProcess(load.Options{}))
	// The best of the rounds is held against the bar: others are at work on this machine.
	for _, tt := range []struct {
		steps int
		bar   time.Duration
	}{{1, 20 * time.Millisecond}, {n, time.Second}} {
		b.Run(fmt.Sprintf("commits=%d", tt.steps), func(b *testing.B) {
			best := time.Hour
			for b.Loop() {
				start := time.Now()
				src, err := gitrepo.OpenSource(dir)
				if err != nil {
					b.Fatal(err)
				}
				if got, err := trust.Verify(context.Background(), TrustSource{src, fleets}, chain[n-tt.steps], chain[n], at); err != nil || len(got) != tt.steps {
					b.Fatal(len(got), err)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(tt.bar.Seconds()/best.Seconds(), "x-bar")
			if best > tt.bar {
				b.Errorf("%d commits took %s, more than %s", tt.steps, best, tt.bar)
			}
		})
	}
}

// TestFleetAlone: fleet.cue tells who may change what without the files that it names, and a fault in just that refuses.
func TestFleetAlone(t *testing.T) {
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOlqBhz7OGr9qWEFDSOgG8fHPa/jRHTcXiEzvOOWjmM8"
	people := `fleet: {name: "acme", signers: alice: {keys: ["` + key + `"], roles: ["root", "policy"]}}` + "\n"
	asked := 0
	evaluate := load.InProcess(load.Options{Limits: schema.NotEnforced()})
	for what, tt := range map[string]struct{ text, wrong string }{
		"people":                        {people, ""},
		"roll-out that is not taken":    {people + "fleet: {rollout: {waves: [\"10%\", \"100%\"], soak: \"1h\", maxErrors: \"1\"}}\n", ""},
		"activations elsewhere":         {people + `fleet: signers: bot: {keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP9ScizMMwI5G6RqVqpd8mMfIVmMIkAr4oZLOpIEHx2F"], roles: ["enrol"]}` + "\n" + `fleet: roles: {root: {paths: ["fleet.cue"]}, policy: {paths: ["**"]}, enrol: {paths: ["nodes/**"], activations: ["act-7q2m9c"]}}` + "\n", ""},
		"a witness that is nowhere":     {people + `fleet: witnesses: ["a", "b", "c"]` + "\n", ""},
		"no name":                       {"fleet: {}\n", "fleet"},
		"no CUE":                        {"fleet: {\n", "fleet.cue:3"},
		"a key that is none":            {`fleet: {name: "acme", signers: alice: {keys: ["ssh-ed25519 AAAA"], roles: ["root", "policy"]}}` + "\n", "signers.alice.keys[0]"},
		"a role that is nowhere":        {`fleet: {name: "acme", signers: alice: {keys: ["` + key + `"], roles: ["root", "policy", "boss"]}}` + "\n", "boss"},
		"a threshold nobody reaches":    {people + `fleet: roles: {root: {paths: ["fleet.cue"], threshold: 2}, policy: {paths: ["**"]}}` + "\n", "threshold"},
		"a threshold that is no number": {people + `fleet: roles: {root: {paths: ["fleet.cue"], threshold: "none"}, policy: {paths: ["**"]}}` + "\n", "threshold"},
		"an unknown field":              {people + "fleet: master: true\n", "master"},
		"another object in it":          {people + "policy: x: {targets: all: true}\nfleet: signers: alice: roles: [...string]\n", ""},
	} {
		f := NewFleets(func(ctx context.Context, fsys fs.FS) (schema.Repo, []schema.Fault, error) {
			asked++
			return evaluate(ctx, fsys)
		})
		fleet, err := f.of(t.Context(), "x", []byte("package fleet\n\n"+tt.text))
		switch {
		case tt.wrong == "" && (err != nil || fleet.Name != "acme" || fleet.Signers["alice"].Roles[0] != "root"):
			t.Errorf("%s: %+v, %v", what, fleet, err)
		case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
			t.Errorf("%s: %+v, %v", what, fleet, err)
		}
		asked = 0
		if _, again := f.of(t.Context(), "x", nil); err == nil && (again != nil || asked != 0) {
			t.Errorf("%s: evaluated twice: %v", what, again)
		}
	}
}

// TestNoCommitWithoutFleet: root's own signature does not make hosts follow a repository that names nobody any more.
func TestNoCommitWithoutFleet(t *testing.T) {
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	store, err := gitrepo.OpenStore(t.TempDir(), gitrepo.Remote{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sign := func(commit []byte) (string, error) {
		sig, err := sshsig.Sign(bytes.NewReader(commit), key, sshsig.HashSHA512, trust.NamespaceCommit)
		return string(sshsig.Armor(sig)), err
	}
	people := fmt.Appendf(nil, "package fleet\n\nfleet: {name: \"acme\", signers: alice: {keys: [%q], roles: [\"root\", \"policy\"]}}\n", strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey()))))
	commit := func(parent string, fleet []byte) string {
		t.Helper()
		id, err := store.Commit(gitrepo.Change{Parent: parent, Files: map[string][]byte{"fleet.cue": fleet, "README": []byte("x")}, Message: "x", Author: "a", Email: "a@example.org", When: at, Sign: sign})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	anchor := commit("", people)
	for what, tt := range map[string]struct {
		fleet []byte
		kind  trust.Kind
		words string
	}{
		"no fleet.cue":  {nil, trust.Malformed, "it has none"},
		"no people":     {[]byte("package fleet\n\nfleet: name: \"acme\"\n"), trust.NotAgreed, "the new root must agree, too"},
		"nonsense":      {[]byte("package fleet\n\nfleet: {\n"), trust.Malformed, "fleet.cue:3:8"},
		"another fleet": {[]byte("package fleet\n\nfleet: name: \"other\"\n"), trust.NotAgreed, "the new root must agree, too"},
	} {
		bad := commit(anchor, tt.fleet)
		_, err = trust.Verify(t.Context(), TrustSource{store.Source(), NewFleets(load.InProcess(load.Options{}))}, anchor, bad, at)
		if r := (*trust.Refusal)(nil); !errors.As(err, &r) || r.Kind != tt.kind || r.Commit != bad || !strings.Contains(r.Reason, tt.words) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
