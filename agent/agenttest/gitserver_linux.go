package agenttest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// GitServer serves one bare repository as servers of the world do: over smart
// HTTP with TLS by git's own http-backend, and over SSH by OpenSSH's sshd. Only
// who listens is ours, so that a test can take the server away and count.
//
// Both run as a user git whom only they see: the machine gets no account, and
// no port but the two of this server.
type GitServer struct {
	// Dir is the bare repository on this machine, and Work a clone of it that Git and Push work in.
	Dir, Work string
	// HTTPS and SSH are the repository's URLs.
	HTTPS, SSH string
	// CA is the certificate, as PEM, of the authority that signed the server's.
	CA string
	// User may read and write over HTTPS, Reader only read: "user:password".
	User, Reader string
	// Key may read and write over SSH, ReaderKey only read: private keys as ssh-keygen writes them.
	Key, ReaderKey string
	// KnownHosts is the line of the server's key, and Fingerprint that key as `ssh-keygen -l` shows it.
	KnownHosts, Fingerprint string

	t     testing.TB
	dir   string // everything
	netns string // of the switch, empty for this machine's own network
	addr  string // it listens there
	ports [2]string
	cert  tls.Certificate

	readOnly atomic.Bool
	hang     atomic.Bool
	log      lockedBuffer
	reads    atomic.Int64
	writes   atomic.Int64

	mu    sync.Mutex
	https *http.Server
	sshd  net.Listener
	conns map[*os.File]struct{}
	work  sync.WaitGroup
}

// gitUser is the number of the user git, whom the machine does not know.
const gitUser = 60778

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// NewGitServer starts a server that hosts reach as sw, at 10.77.0.254, on the
// usual ports; without a host it listens on this machine's own loopback. Its
// repository is empty.
func NewGitServer(t testing.TB, h *Host) *GitServer {
	t.Helper()
	for _, tool := range []string{"git", "sshd", "unshare", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			if _, err := os.Stat("/usr/sbin/" + tool); err != nil {
				t.Fatalf("this machine lacks %s: run `make setup`", tool)
			}
		}
	}
	g := &GitServer{t: t, dir: t.TempDir(), addr: "127.0.0.1", ports: [2]string{"0", "0"}, conns: map[*os.File]struct{}{},
		User: "dunlin:sesame", Reader: "reader:look"}
	if h != nil {
		g.addr, g.ports = "10.77.0.254", [2]string{"443", "22"}
		g.netns = h.bed.switchNet(t)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("git server: %v", err)
		}
	}
	must(g.makeFolder())
	must(g.makeCertificate())
	t.Cleanup(func() {
		g.Down()
		if t.Failed() {
			t.Logf("git server:\n%s", tail([]byte(g.log.String()), 4000))
		}
	})
	g.Up()
	name := "sw"
	if h == nil {
		name = g.addr
	}
	g.HTTPS = "https://" + at(name, g.ports[0], "443") + "/policy.git"
	g.SSH = "ssh://git@" + at(name, g.ports[1], "22") + "/srv/git/policy.git"
	if known := at(name, g.ports[1], "22"); known != name {
		g.KnownHosts = "[" + name + "]:" + g.ports[1] + " " + g.KnownHosts
	} else {
		g.KnownHosts = name + " " + g.KnownHosts
	}
	must(os.MkdirAll(g.Work, 0o755))
	g.Git("init", "-q", "-b", "main")
	g.Git("config", "user.name", "Ann")
	g.Git("config", "user.email", "ann@example.org")
	g.Git("remote", "add", "origin", g.HTTPS)
	return g
}

func at(name, port, usual string) string {
	if port == usual {
		return name
	}
	return name + ":" + port
}

// Up starts the server again after Down, on the same ports.
func (g *GitServer) Up() {
	g.t.Helper()
	var l [2]net.Listener
	for i := range l {
		var err error
		if l[i], err = listenIn(g.netns, net.JoinHostPort(g.addr, g.ports[i])); err != nil {
			g.t.Fatalf("git server: %v", err)
		}
		_, g.ports[i], _ = net.SplitHostPort(l[i].Addr().String())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.https = &http.Server{Handler: g.handler(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{g.cert}},
		ErrorLog: log.New(&g.log, "https: ", 0), ReadHeaderTimeout: time.Minute}
	g.sshd = l[1]
	https := g.https
	g.work.Go(func() { _ = https.ServeTLS(l[0], "", "") })
	g.work.Go(func() {
		for {
			c, err := l[1].Accept()
			if err != nil {
				return
			}
			g.work.Go(func() { g.ssh(c) })
		}
	})
}

// Down ends the server as a crash does: who asks is refused, what is under way breaks off.
func (g *GitServer) Down() {
	g.mu.Lock()
	https, sshd := g.https, g.sshd
	g.https, g.sshd = nil, nil
	for f := range g.conns {
		_ = syscall.Shutdown(int(f.Fd()), syscall.SHUT_RDWR)
	}
	g.mu.Unlock()
	if https == nil {
		return
	}
	_ = https.Close()
	_ = sshd.Close()
	g.work.Wait()
}

// SetReadOnly lets nobody push, and SetHang takes connections without ever answering them.
func (g *GitServer) SetReadOnly(on bool) {
	g.t.Helper()
	g.readOnly.Store(on)
	g.flag(filepath.Join("git", ".readonly"), on, "")
}

// SetHang takes connections without ever answering them, until it is taken back.
func (g *GitServer) SetHang(on bool) { g.hang.Store(on) }

// Refuse lets a hook refuse pushes to these branches; none named ends it.
func (g *GitServer) Refuse(branches ...string) {
	g.t.Helper()
	text := ""
	for _, b := range branches {
		text += "refs/heads/" + b + "\n"
	}
	g.flag(filepath.Join("git", "policy.git", "refused"), text != "", text)
}

func (g *GitServer) flag(name string, on bool, text string) {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if on && err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		g.t.Fatalf("git server: %v", err)
	}
}

// Requests is how often the references were asked for so far, to read and to push, over both protocols.
func (g *GitServer) Requests() (reads, pushes int) {
	g.t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, "git", ".commands"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		g.t.Fatal(err)
	}
	return int(g.reads.Load()) + strings.Count(string(b), "git-upload-pack"), int(g.writes.Load()) + strings.Count(string(b), "git-receive-pack")
}

// inside is a program in the server's world, as the user git or as root.
func (g *GitServer) inside(root bool, args ...string) (path string, full []string) {
	full = []string{"--mount", "--", "/bin/sh", filepath.Join(g.dir, "enter"), g.dir}
	if !root {
		id := fmt.Sprint(gitUser)
		full = append(full, "setpriv", "--reuid="+id, "--regid="+id, "--clear-groups", "--")
	}
	return "/usr/bin/unshare", append(full, args...)
}

func (g *GitServer) handler() http.Handler {
	path, args := g.inside(false, "git", "http-backend")
	back := &cgi.Handler{Path: path, Args: args, Dir: "/", Stderr: &g.log, Logger: log.New(&g.log, "", 0), Env: []string{"GIT_PROJECT_ROOT=/srv/git", "GIT_HTTP_EXPORT_ALL=1"}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.hang.Load() {
			<-r.Context().Done()
			return
		}
		switch r.URL.Query().Get("service") {
		case "git-upload-pack":
			g.reads.Add(1)
		case "git-receive-pack":
			g.writes.Add(1)
		}
		user, pass, _ := r.BasicAuth()
		writes := strings.Contains(r.URL.Path+r.URL.RawQuery, "git-receive-pack")
		switch who := user + ":" + pass; {
		case who != g.User && who != g.Reader:
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		case writes && (who == g.Reader || g.readOnly.Load()):
			http.Error(w, "read only", http.StatusForbidden)
			return
		}
		// /moved/X is where X was once, /elsewhere/X is on another server.
		if to, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
			http.Redirect(w, r, to+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
			return
		}
		if to, ok := strings.CutPrefix(r.URL.Path, "/elsewhere"); ok {
			http.Redirect(w, r, "https://elsewhere.example"+to+"?"+r.URL.RawQuery, http.StatusFound)
			return
		}
		if to, ok := strings.CutPrefix(r.URL.Path, "/plain"); ok {
			http.Redirect(w, r, "http://"+r.Host+to+"?"+r.URL.RawQuery, http.StatusFound)
			return
		}
		back.ServeHTTP(w, r)
	})
}

// ssh lets sshd serve one connection, as inetd does.
func (g *GitServer) ssh(c net.Conn) {
	f, err := c.(*net.TCPConn).File()
	_ = c.Close()
	if err != nil {
		return
	}
	defer f.Close()
	g.mu.Lock()
	down := g.sshd == nil
	g.conns[f] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.conns, f)
		g.mu.Unlock()
	}()
	if down {
		return
	}
	if g.hang.Load() {
		_, _ = io.Copy(io.Discard, f)
		return
	}
	path, args := g.inside(true, "/usr/sbin/sshd", "-i", "-e", "-f", filepath.Join(g.dir, "sshd_config"))
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, &g.log
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		_, _ = fmt.Fprintf(&g.log, "sshd: %v\n", err)
	}
}
