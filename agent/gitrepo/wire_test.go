package gitrepo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func file(t testing.TB, content []byte, mode os.FileMode) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, content, mode); err != nil {
		t.Fatal(err)
	}
	return p
}

// smart serves a repository as a real server does: git http-backend behind TLS and a password.
func smart(t testing.TB, bare string) (Remote, *httptest.Server) {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatalf("git: %v (apt-get install git)", err)
	}
	run(t, bare, "config", "http.receivepack", "true")
	back := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(bare), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "u" || p != "p:w" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		back.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	return Remote{URL: srv.URL + "/o.git", Branch: "main", CredentialFile: file(t, []byte("u:p:w\n"), 0o600), CAFile: file(t, ca, 0o644)}, srv
}

func TestStoreFollowsHTTPS(t *testing.T) {
	bare, work := origin(t)
	r, _ := smart(t, bare)
	follow(t, r, bare, work)
}

func TestHTTPSFaults(t *testing.T) {
	bare, work := origin(t)
	c := push(t, bare, work, map[string]string{"a": "1"})
	good, srv := smart(t, bare)
	for name, tt := range map[string]struct {
		change func(*Remote)
		want   error
	}{
		"wrong CA":            {func(r *Remote) { r.CAFile = "" }, ErrUnknownHost},
		"no CA in the file":   {func(r *Remote) { r.CAFile = file(t, []byte("x"), 0o600) }, ErrUnknownHost},
		"wrong password":      {func(r *Remote) { r.CredentialFile = file(t, []byte("u:s3cret"), 0o600) }, ErrAuth},
		"token":               {func(r *Remote) { r.CredentialFile = file(t, []byte("s3cret"), 0o600) }, ErrAuth},
		"others may read it":  {func(r *Remote) { r.CredentialFile = file(t, []byte("u:p:w"), 0o644) }, ErrAuth},
		"no credential file":  {func(r *Remote) { r.CredentialFile = "/nonexistent" }, ErrAuth},
		"no repository":       {func(r *Remote) { r.URL = srv.URL + "/none.git" }, ErrUnreachable},
		"nobody listens":      {func(r *Remote) { r.URL = "https://127.0.0.1:1/o.git" }, ErrUnreachable},
		"branch is not there": {func(r *Remote) { r.Branch = "other" }, ErrNoBranch},
	} {
		r := good
		tt.change(&r)
		_, err := open(t, r).Head(context.Background())
		if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), r.URL) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A remote that may be read and not be written.
	s := open(t, good)
	must[string](t)(s.Fetch(context.Background(), "main"))
	mine := must[string](t)(s.Commit(Change{Parent: c, Files: map[string][]byte{"n": {}}}))
	run(t, bare, "config", "http.receivepack", "false")
	if err := s.Push(context.Background(), "main", mine, c); !errors.Is(err, ErrAuth) {
		t.Errorf("read-only: %v", err)
	}
	// A hook that refuses.
	run(t, bare, "config", "http.receivepack", "true")
	if err := os.WriteFile(filepath.Join(bare, "hooks", "update"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Push(context.Background(), "main", mine, c); !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), "hook") {
		t.Errorf("hook: %v", err)
	}
}

func TestOversizePackOverHTTPS(t *testing.T) {
	bare, work := origin(t)
	big, err := os.Create(filepath.Join(work, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(big, rand.Reader, MaxPack+1<<20); err != nil {
		t.Fatal(err)
	}
	_ = big.Close()
	push(t, bare, work, nil)
	good, _ := smart(t, bare)
	r := good
	s := open(t, r)
	if _, err := s.Fetch(context.Background(), "main"); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	r.URL, r.CredentialFile, r.CAFile = bare, "", ""
	if _, err := open(t, r).Fetch(context.Background(), "main"); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.packFolder()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Of a branch that had it once the newest commit can be taken still.
	if err := os.Remove(big.Name()); err != nil {
		t.Fatal(err)
	}
	push(t, bare, work, map[string]string{"a": "1"})
	for _, r := range []Remote{good, r} {
		r.Tip = true
		must[string](t)(open(t, r).Fetch(context.Background(), "main"))
	}
}

func TestTipLeavesHistoryOut(t *testing.T) {
	for name, remote := range map[string]func(*testing.T, string) Remote{
		"file":  func(_ *testing.T, bare string) Remote { return Remote{URL: bare, Branch: "main"} },
		"https": func(t *testing.T, bare string) Remote { r, _ := smart(t, bare); return r },
		"ssh":   func(t *testing.T, bare string) Remote { r, _ := overSSH(t, bare); return r },
	} {
		t.Run(name, func(t *testing.T) {
			bare, work := origin(t)
			ctx, str, yes := context.Background(), must[string](t), must[bool](t)
			c1 := push(t, bare, work, map[string]string{"a": "once", "d/b": "2"})
			push(t, bare, work, map[string]string{"a": "2"})
			c3 := push(t, bare, work, map[string]string{"a": "3"})
			r := remote(t, bare)
			r.Tip = true
			s := open(t, r)
			if got := str(s.Fetch(ctx, "main")); got != c3 || !s.Has(c3) {
				t.Fatalf("Fetch = %s, want %s", got, c3)
			}
			if _, err := s.commit(c1); !isMissing(err) {
				t.Errorf("history is here too: %v", err)
			}
			c4 := push(t, bare, work, map[string]string{"e": "4"})
			c5 := push(t, bare, work, map[string]string{"e": "5"})
			if str(s.Fetch(ctx, "main")); !yes(s.Descends(context.Background(), c5, c4)) || !yes(s.Descends(context.Background(), c5, c3)) {
				t.Error("what comes after it is not here")
			}
			// What it said once it says again: the remote believes that it is here, with the history.
			c6 := push(t, bare, work, map[string]string{"a": "once"})
			if got := str(s.Fetch(ctx, "main")); got != c6 || string(must[[]byte](t)(s.Read(c6, "a"))) != "once" {
				t.Errorf("Fetch = %s, want %s", got, c6)
			}
			if err := s.SetRef("refs/dunlin/reports", c6); err != nil {
				t.Fatal(err)
			}
			if err := s.Repack(); err != nil {
				t.Fatal(err)
			}
			mine := str(s.Commit(Change{Parent: c6, Files: map[string][]byte{"n": []byte("n")}, When: time.Unix(1, 0)}))
			if err := s.Push(ctx, "main", mine, c6); err != nil {
				t.Fatal(err)
			}
			if got := run(t, bare, "rev-parse", "main"); got != mine {
				t.Errorf("remote is at %s", got)
			}
			run(t, bare, "fsck", "--strict", "--full")
			if n := run(t, bare, "rev-list", "--count", "main"); n != "7" {
				t.Errorf("%s commits on the remote", n)
			}
		})
	}
}

// overSSH serves a folder by the real git programs behind an SSH server that knows one key.
func overSSH(t *testing.T, bare string) (Remote, ssh.PublicKey) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	user := must[ssh.PublicKey](t)(ssh.NewPublicKey(pub))
	_, hostPriv, _ := ed25519.GenerateKey(rand.Reader)
	host := must[ssh.Signer](t)(ssh.NewSignerFromKey(hostPriv))
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if string(k.Marshal()) != string(user.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	cfg.AddHostKey(host)
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(c, cfg)
		}
	}()
	line := knownhosts.Line([]string{l.Addr().String()}, host.PublicKey())
	return Remote{URL: "ssh://git@" + l.Addr().String() + bare, Branch: "main", CredentialFile: file(t, pem.EncodeToMemory(block), 0o600),
		KnownHosts: file(t, []byte(line+"\n"), 0o644)}, host.PublicKey()
}

func serveSSH(c net.Conn, cfg *ssh.ServerConfig) {
	_, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go func() {
			for req := range reqs {
				if req.Type != "exec" {
					_ = req.Reply(false, nil)
					continue
				}
				_ = req.Reply(true, nil)
				cmd := exec.Command("sh", "-c", string(req.Payload[4:]))
				cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
				in, _ := cmd.StdinPipe()
				go func() { _, _ = io.Copy(in, ch); _ = in.Close() }()
				code := byte(0)
				if cmd.Run() != nil {
					code = 1
				}
				_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, code})
				_ = ch.Close()
			}
		}()
	}
}

func TestStoreFollowsSSH(t *testing.T) {
	bare, work := origin(t)
	r, _ := overSSH(t, bare)
	follow(t, r, bare, work)
}

func TestSSHFaults(t *testing.T) {
	bare, work := origin(t)
	push(t, bare, work, map[string]string{"a": "1"})
	good, key := overSSH(t, bare)
	other, _ := overSSH(t, bare)
	addr := strings.TrimPrefix(strings.TrimSuffix(good.URL, bare), "ssh://git@")
	for name, tt := range map[string]struct {
		change func(*Remote)
		want   error
	}{
		"unknown host key": {func(r *Remote) { r.KnownHosts = file(t, nil, 0o644) }, ErrUnknownHost},
		"no known_hosts":   {func(r *Remote) { r.KnownHosts = "" }, ErrUnknownHost},
		"revoked host key": {func(r *Remote) {
			r.KnownHosts = file(t, []byte("@revoked "+knownhosts.Line([]string{addr}, key)+"\n"), 0o644)
		}, ErrUnknownHost},
		"key not accepted":   {func(r *Remote) { r.CredentialFile = other.CredentialFile }, ErrAuth},
		"no key":             {func(r *Remote) { r.CredentialFile = "" }, ErrAuth},
		"others may read it": {func(r *Remote) { _ = os.Chmod(r.CredentialFile, 0o640) }, ErrAuth},
		"no repository":      {func(r *Remote) { r.URL += "-none" }, ErrUnreachable},
		"nobody listens":     {func(r *Remote) { r.URL = "ssh://git@127.0.0.1:1/x" }, ErrUnreachable},
	} {
		r := good
		b, _ := os.ReadFile(good.CredentialFile)
		r.CredentialFile = file(t, b, 0o600)
		tt.change(&r)
		if _, err := open(t, r).Head(context.Background()); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), r.URL) {
			t.Errorf("%s: %v", name, err)
		}
	}
	changed := good
	l := knownhosts.Line([]string{addr}, must[ssh.PublicKey](t)(ssh.NewPublicKey(must[ed25519.PublicKey](t)(newKey()))))
	changed.KnownHosts = file(t, []byte(l+"\n"), 0o644)
	if _, err := open(t, changed).Head(context.Background()); !errors.Is(err, ErrUnknownHost) || !strings.Contains(err.Error(), "another") {
		t.Errorf("changed host key: %v", err)
	}
}

func newKey() (ed25519.PublicKey, error) {
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	return pub, err
}
