package agent

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/ed25519"
	"crypto/sha1" //nolint:gosec // Git's own
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// signedChain makes a store with an anchor and n signed commits upon it that change one file each.
func signedChain(t testing.TB, n int) (*gitrepo.Store, []string, time.Time) {
	t.Helper()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	store, err := gitrepo.OpenStore(dir, gitrepo.Remote{})
	if err != nil {
		t.Fatal(err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	files := map[string][]byte{"fleet.cue": fmt.Appendf(nil, "package fleet\n\nfleet: {name: \"acme\", signers: alice: {keys: [%q], roles: [\"root\", \"policy\"]}}\n", public)}
	for i := range 256 {
		files[fmt.Sprintf("nodes/%02x.jsonl", i)] = []byte{byte(i)}
		files[fmt.Sprintf("policies/%03d.cue", i)] = []byte{byte(i)}
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var chain []string
	for i := range n + 1 {
		at = at.Add(time.Minute)
		change := gitrepo.Change{Files: files, Message: "change", Author: "a", Email: "a@b", When: at}
		if i > 0 {
			change.Parent = chain[i-1]
		}
		commit, err := store.Commit(change)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := store.Source().Commit(commit)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := sshsig.Sign(bytes.NewReader(raw), key, sshsig.HashSHA512, trust.NamespaceCommit)
		if err != nil {
			t.Fatal(err)
		}
		head, message, _ := strings.Cut(string(raw), "\n\n")
		raw = []byte(head + "\ngpgsig " + strings.ReplaceAll(strings.TrimSuffix(string(sshsig.Armor(sig)), "\n"), "\n", "\n ") + "\n\n" + message)
		whole := append(fmt.Appendf(nil, "commit %d\x00", len(raw)), raw...)
		id := fmt.Sprintf("%x", sha1.Sum(whole)) //nolint:gosec // Git's own
		var packed bytes.Buffer
		z := zlib.NewWriter(&packed)
		_, err = z.Write(whole)
		path := filepath.Join(dir, "objects", id[:2], id[2:])
		if err = errors.Join(err, z.Close(), os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, packed.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
		chain = append(chain, id)
		files = map[string][]byte{fmt.Sprintf("policies/%03d.cue", i%256): fmt.Append(nil, i)}
	}
	return store, chain, at
}

// BenchmarkTrust verifies chains of signed commits in a store: all of it but the fetch. The evaluation of fleet.cue, which
// is one for all of them, is in it where its own start is not (the child's takes some 60 ms once).
func BenchmarkTrust(b *testing.B) {
	const n = 1000
	store, chain, at := signedChain(b, n)
	if err := store.SetRef("refs/heads/main", chain[n]); err != nil {
		b.Fatal(err)
	}
	fleets := NewFleets(load.InProcess(load.Options{}))
	for _, steps := range []int{1, n} {
		b.Run(fmt.Sprintf("commits=%d", steps), func(b *testing.B) {
			for b.Loop() {
				src := TrustSource{store.Source(), fleets}
				if got, err := trust.Verify(context.Background(), src, chain[n-steps], chain[n], at); err != nil || len(got) != steps {
					b.Fatal(len(got), err)
				}
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
