package agenttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
)

func file(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// remotes are the server's two URLs, with what an agent's configuration says of each.
func (g *GitServer) remotes(t *testing.T) map[string]gitrepo.Remote {
	return map[string]gitrepo.Remote{
		"https": {URL: g.HTTPS, Branch: "main", CredentialFile: file(t, g.User+"\n", 0o600), CAFile: file(t, g.CA, 0o644)},
		"ssh":   {URL: g.SSH, Branch: "main", CredentialFile: file(t, g.Key, 0o600), KnownHosts: file(t, g.KnownHosts+"\n", 0o644)},
	}
}

func store(t *testing.T, r gitrepo.Remote) *gitrepo.Store {
	t.Helper()
	s, err := gitrepo.OpenStore(filepath.Join(t.TempDir(), "store"), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What people push with git is fetched, and what the store pushes is there for them, over each protocol of a real server.
func TestStoreFollowsRealServers(t *testing.T) {
	for _, protocol := range []string{"https", "ssh"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			g := NewGitServer(t, nil)
			r := g.remotes(t)[protocol]
			s := store(t, r)
			if _, err := s.Fetch(ctx, "main"); !errors.Is(err, gitrepo.ErrNoBranch) || !strings.Contains(err.Error(), "empty") {
				t.Errorf("empty repository: %v", err)
			}
			g.Git("remote", "set-url", "origin", r.URL)
			first := g.Push(map[string]string{"a": "1", "d/b": "2"})
			if got, err := s.Fetch(ctx, "main"); got != first || err != nil {
				t.Fatalf("Fetch = %q, %v; want %s", got, err, first)
			}
			// A thin pack upon what is here, with a merge in it.
			g.Git("checkout", "-q", "-b", "side")
			g.Commit(map[string]string{"side": "s"})
			g.Git("checkout", "-q", "main")
			g.Commit(map[string]string{"a": "2"})
			g.Git("merge", "-q", "--no-ff", "-m", "merge", "side")
			second := g.Push(nil)
			if got, err := s.Fetch(ctx, "main"); got != second || err != nil {
				t.Fatalf("Fetch = %q, %v; want %s", got, err, second)
			}
			if b, err := s.Read(second, "side"); string(b) != "s" || err != nil {
				t.Errorf("side = %q, %v", b, err)
			}
			if follows, err := s.Descends(t.Context(), second, first); !follows || err != nil {
				t.Errorf("Descends = %t, %v", follows, err)
			}

			// Reports are pushed, and git finds nothing wrong with them.
			report, err := s.Commit(gitrepo.Change{Files: map[string][]byte{"README.md": []byte("# fleet\n"), "nodes/aa.jsonl": []byte("{}\n")},
				Message: "reports", Author: "dunlin", Email: "dunlin@acme.invalid", When: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Push(ctx, "reports", report, ""); err != nil {
				t.Fatal(err)
			}
			g.Git("fetch", "-q", "origin")
			if got := g.Git("show", "origin/reports:README.md"); got != "# fleet" {
				t.Errorf("README.md = %q", got)
			}
			g.Git("fsck", "--strict")
			// Somebody else has pushed meanwhile: their commit stays.
			g.Git("checkout", "-q", "-b", "reports", "origin/reports")
			theirs := g.Commit(map[string]string{"by-hand": "x"})
			g.Git("push", "-q", "origin", "reports")
			ours, err := s.Commit(gitrepo.Change{Parent: report, Files: map[string][]byte{"x": []byte("y")}, Message: "m", Author: "d", Email: "d", When: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Push(ctx, "reports", ours, report); !errors.Is(err, gitrepo.ErrRejected) || !strings.Contains(err.Error(), "moved") {
				t.Errorf("push beside another: %v", err)
			}
			g.Git("fetch", "-q", "origin")
			if got := g.Git("rev-parse", "origin/reports"); got != theirs {
				t.Errorf("reports is at %s, want %s", got, theirs)
			}
			// A branch that a rule protects.
			g.Refuse("reports")
			if _, err := s.Fetch(ctx, "reports"); err != nil {
				t.Fatal(err)
			}
			ours, err = s.Commit(gitrepo.Change{Parent: theirs, Files: map[string][]byte{"x": []byte("y")}, Message: "m", Author: "d", Email: "d", When: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Push(ctx, "reports", ours, theirs); !errors.Is(err, gitrepo.ErrRejected) || !strings.Contains(err.Error(), "hook") {
				t.Errorf("push that a hook refuses: %v", err)
			}
			g.Refuse()
			if err := s.Push(ctx, "reports", ours, theirs); err != nil {
				t.Errorf("push after the hook's end: %v", err)
			}

			// The server goes away and comes back; one that answers nothing costs no more than the time it is given.
			g.Down()
			if _, err := s.Head(ctx); !errors.Is(err, gitrepo.ErrUnreachable) || !strings.Contains(err.Error(), "refused") {
				t.Errorf("server down: %v", err)
			}
			g.Up()
			g.SetHang(true)
			short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			if _, err := s.Head(short); !errors.Is(err, gitrepo.ErrUnreachable) {
				t.Errorf("server that hangs: %v", err)
			}
			g.SetHang(false)
			if got, err := s.Head(ctx); got != second || err != nil {
				t.Errorf("Head = %q, %v; want %s", got, err, second)
			}
			if reads, pushes := g.Requests(); reads < 5 || pushes < 4 {
				t.Errorf("counted %d reads and %d pushes", reads, pushes)
			}
		})
	}
}

// Each fault of a real server, or of what the agent was given for it, is named with what to do, and never with a secret.
func TestFaultsOfRealServers(t *testing.T) {
	g, other := NewGitServer(t, nil), NewGitServer(t, nil)
	commit := g.Push(map[string]string{"a": "1"})
	good := g.remotes(t)
	locked := filepath.Join(t.TempDir(), "locked")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "sesame", "-f", locked).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	stranger, _, _ := strings.Cut(g.KnownHosts, " ")
	rsa := filepath.Join(t.TempDir(), "rsa")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-N", "", "-f", rsa).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	rsaKey, err := os.ReadFile(rsa + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, _ := strings.Cut(other.KnownHosts, " ")
	for name, tt := range map[string]struct {
		kind   string
		change func(*gitrepo.Remote)
		want   error
		says   string
	}{
		"https: CA of somebody else":  {"https", func(r *gitrepo.Remote) { r.CAFile = file(t, other.CA, 0o644) }, gitrepo.ErrUnknownHost, "CA file"},
		"https: the system's CAs":     {"https", func(r *gitrepo.Remote) { r.CAFile = "" }, gitrepo.ErrUnknownHost, "CA file"},
		"https: certificate's name":   {"https", func(r *gitrepo.Remote) { r.URL = strings.Replace(r.URL, "127.0.0.1", "localhost", 1) }, gitrepo.ErrUnknownHost, "a name that the certificate has"},
		"https: wrong password":       {"https", func(r *gitrepo.Remote) { r.CredentialFile = file(t, "dunlin:s3cret", 0o600) }, gitrepo.ErrAuth, "401"},
		"https: no credential":        {"https", func(r *gitrepo.Remote) { r.CredentialFile = "" }, gitrepo.ErrAuth, "401"},
		"https: no repository":        {"https", func(r *gitrepo.Remote) { r.URL = strings.Replace(r.URL, "policy", "none", 1) }, gitrepo.ErrUnreachable, "404"},
		"https: another host":         {"https", func(r *gitrepo.Remote) { r.URL = strings.Replace(r.URL, "/policy", "/elsewhere/policy", 1) }, gitrepo.ErrUnreachable, "elsewhere.example/policy.git"},
		"https: down to http":         {"https", func(r *gitrepo.Remote) { r.URL = strings.Replace(r.URL, "/policy", "/plain/policy", 1) }, gitrepo.ErrUnreachable, "http://"},
		"https: branch":               {"https", func(r *gitrepo.Remote) { r.Branch = "trunk" }, gitrepo.ErrNoBranch, "trunk"},
		"ssh: unknown host key":       {"ssh", func(r *gitrepo.Remote) { r.KnownHosts = file(t, "", 0o644) }, gitrepo.ErrUnknownHost, g.Fingerprint},
		"ssh: changed host key":       {"ssh", func(r *gitrepo.Remote) { r.KnownHosts = file(t, stranger+" "+otherKey+"\n", 0o644) }, gitrepo.ErrUnknownHost, g.Fingerprint},
		"ssh: key of another kind":    {"ssh", func(r *gitrepo.Remote) { r.KnownHosts = file(t, stranger+" "+string(rsaKey), 0o644) }, gitrepo.ErrUnknownHost, "kinds"},
		"ssh: key of somebody else":   {"ssh", func(r *gitrepo.Remote) { r.CredentialFile = file(t, other.Key, 0o600) }, gitrepo.ErrAuth, "public key"},
		"ssh: key with passphrase":    {"ssh", func(r *gitrepo.Remote) { r.CredentialFile = locked }, gitrepo.ErrAuth, "passphrase"},
		"ssh: user that is not there": {"ssh", func(r *gitrepo.Remote) { r.URL = strings.Replace(r.URL, "git@", "mallory@", 1) }, gitrepo.ErrAuth, "mallory"},
		"ssh: no repository":          {"ssh", func(r *gitrepo.Remote) { r.URL = strings.Replace(r.URL, "policy", "none", 1) }, gitrepo.ErrUnreachable, "none.git"},
		"ssh: branch":                 {"ssh", func(r *gitrepo.Remote) { r.Branch = "trunk" }, gitrepo.ErrNoBranch, "trunk"},
	} {
		r := good[tt.kind]
		tt.change(&r)
		_, err := store(t, r).Head(t.Context())
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), r.URL) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}

	// One that may read and not write.
	for kind, credential := range map[string]string{"https": g.Reader, "ssh": g.ReaderKey} {
		r := good[kind]
		r.CredentialFile = file(t, credential, 0o600)
		s := store(t, r)
		if got, err := s.Fetch(t.Context(), "main"); got != commit || err != nil {
			t.Errorf("%s, reader: Fetch = %q, %v", kind, got, err)
		}
		ours, err := s.Commit(gitrepo.Change{Files: map[string][]byte{"x": []byte("y")}, Message: "m", Author: "d", Email: "d", When: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Push(t.Context(), "reports", ours, ""); !errors.Is(err, gitrepo.ErrAuth) {
			t.Errorf("%s, reader: Push = %v", kind, err)
		}
	}
	// A repository that was archived.
	g.SetReadOnly(true)
	for kind, r := range good {
		s := store(t, r)
		ours, err := s.Commit(gitrepo.Change{Files: map[string][]byte{"x": []byte("y")}, Message: "m", Author: "d", Email: "d", When: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Push(t.Context(), "reports", ours, ""); !errors.Is(err, gitrepo.ErrAuth) {
			t.Errorf("%s, archived: Push = %v", kind, err)
		}
	}
}

// What people have in their files works: what ssh-keyscan prints, hashed names, and keys of every kind that ssh-keygen makes.
func TestKeysAndKnownHostsAsPeopleHaveThem(t *testing.T) {
	g := NewGitServer(t, nil)
	commit := g.Push(map[string]string{"a": "1"})
	good := g.remotes(t)["ssh"]
	head := func(what string, change func(*gitrepo.Remote)) {
		t.Helper()
		r := good
		change(&r)
		if got, err := store(t, r).Head(t.Context()); got != commit || err != nil {
			t.Errorf("%s: Head = %q, %v", what, got, err)
		}
	}
	scanned, err := exec.Command("ssh-keyscan", "-p", g.ports[1], g.addr).CombinedOutput()
	if err != nil || !strings.Contains(string(scanned), "ssh-ed25519") {
		t.Fatalf("ssh-keyscan: %v: %s", err, scanned)
	}
	head("ssh-keyscan", func(r *gitrepo.Remote) { r.KnownHosts = file(t, string(scanned), 0o644) })
	head("beside other hosts", func(r *gitrepo.Remote) {
		r.KnownHosts = file(t, "# ours\nother.example "+g.KnownHosts[strings.Index(g.KnownHosts, " ")+1:]+"\n\n"+g.KnownHosts+" comment\n", 0o644)
	})
	hashed := file(t, g.KnownHosts+"\n", 0o600)
	if out, err := exec.Command("ssh-keygen", "-H", "-f", hashed).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen -H: %v: %s", err, out)
	}
	head("hashed names", func(r *gitrepo.Remote) { r.KnownHosts = hashed })
	head("from the home folder", func(r *gitrepo.Remote) { r.URL = strings.Replace(r.URL, "/srv/git/", "/~/", 1) })

	keys := filepath.Join(g.dir, "git", ".ssh", "authorized_keys")
	for _, kind := range [][]string{{"rsa", "-b", "3072"}, {"rsa", "-b", "3072", "-m", "PEM"}, {"ecdsa", "-b", "256"}, {"ecdsa", "-b", "521", "-m", "PEM"}} {
		private := filepath.Join(t.TempDir(), "key")
		if out, err := exec.Command("ssh-keygen", append([]string{"-q", "-N", "", "-f", private, "-t"}, kind...)...).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen %v: %v: %s", kind, err, out)
		}
		public, err := os.ReadFile(private + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(keys, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(f, "restrict,command=\"/srv/git/.serve rw\" %s", public); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		head(fmt.Sprint(kind), func(r *gitrepo.Remote) { r.CredentialFile = private })
	}
}

// A server that moved a repository is followed to another path of its own, for pushes too; a credential goes nowhere else.
func TestRedirectsOfARealServer(t *testing.T) {
	g := NewGitServer(t, nil)
	commit := g.Push(map[string]string{"a": "1"})
	r := g.remotes(t)["https"]
	r.URL = strings.Replace(r.URL, "/policy", "/moved/policy", 1)
	s := store(t, r)
	if got, err := s.Fetch(t.Context(), "main"); got != commit || err != nil {
		t.Fatalf("Fetch = %q, %v", got, err)
	}
	ours, err := s.Commit(gitrepo.Change{Parent: commit, Files: map[string][]byte{"x": []byte("y")}, Message: "m", Author: "d", Email: "d", When: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), "reports", ours, ""); err != nil {
		t.Fatal(err)
	}
	g.Git("fetch", "-q", "origin")
	if got := g.Git("rev-parse", "origin/reports"); got != ours {
		t.Errorf("reports is at %s, want %s", got, ours)
	}
}

// A forge's repository has references of every pull request.
func TestManyReferencesOfARealServer(t *testing.T) {
	for _, protocol := range []string{"https", "ssh"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			g := NewGitServer(t, nil)
			commit := g.Push(map[string]string{"a": "1"})
			many := func(n int) {
				var packed strings.Builder
				packed.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
				for i := range n {
					fmt.Fprintf(&packed, "%s refs/pull/%07d/head\n", commit, i)
				}
				if err := os.WriteFile(filepath.Join(g.Dir, "packed-refs"), []byte(packed.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			many(100_000)
			start := time.Now()
			if got, err := store(t, g.remotes(t)[protocol]).Fetch(t.Context(), "main"); got != commit || err != nil {
				t.Errorf("with 100,000 references: Fetch = %q, %v", got, err)
			}
			t.Logf("100,000 references over %s: %v", protocol, time.Since(start).Round(time.Millisecond))
			many(300_000)
			if _, err := store(t, g.remotes(t)[protocol]).Head(t.Context()); !errors.Is(err, gitrepo.ErrTooLarge) {
				t.Errorf("with 300,000 references: %v", err)
			}
		})
	}
}

// A repository with SHA-256 names is one that this build cannot follow, and it says so.
func TestServerWithSHA256(t *testing.T) {
	g := NewGitServer(t, nil)
	_ = os.RemoveAll(g.Dir)
	if out, err := exec.Command("git", "init", "-q", "--bare", "--object-format=sha256", "-b", "main", g.Dir).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	work := t.TempDir()
	for _, args := range [][]string{{"init", "-q", "--object-format=sha256", "-b", "main", "."}, {"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"}, {"push", "-q", g.Dir, "main"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	if out, err := exec.Command("chown", "-R", fmt.Sprint(gitUser), g.Dir).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v: %s", err, out)
	}
	for kind, r := range g.remotes(t) {
		if _, err := store(t, r).Head(t.Context()); err == nil || !strings.Contains(err.Error(), "object format sha256") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
