package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// sshRemote runs one service of a server over one connection.
type sshRemote struct {
	client *ssh.Client
	in     io.WriteCloser
	out    io.Reader
	said   *bounded
	caps   string
	stop   func() bool
}

// bounded keeps the first bytes of what a server says on its error stream.
type bounded struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Write(p[:min(len(p), 1024-min(1024, b.b.Len()))])
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return clip(strings.TrimSpace(b.b.String()))
}

func openSSH(ctx context.Context, t target, service string) (_ conn, err error) {
	host := t.url.Hostname()
	port := t.url.Port()
	if port == "" {
		port = "22"
	}
	addr := net.JoinHostPort(host, port)
	cfg, err := sshConfig(t, addr)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: 20 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	// The deadline holds for the key exchange, which knows no context; closing ends every read after it.
	if end, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(end)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer func() {
		if err != nil {
			stop()
			_ = nc.Close()
		}
	}()
	var shown ssh.PublicKey
	known := cfg.HostKeyCallback
	cfg.HostKeyCallback = func(host string, remote net.Addr, key ssh.PublicKey) error {
		shown = key
		return known(host, remote, key)
	}
	cc, chans, reqs, err := ssh.NewClientConn(nc, addr, cfg)
	if err != nil {
		return nil, sshError(err, shown, t.KnownHosts)
	}
	r := &sshRemote{client: ssh.NewClient(cc, chans, reqs), said: &bounded{}, stop: stop}
	session, err := r.client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	session.Stderr = r.said
	if r.in, err = session.StdinPipe(); err != nil {
		return nil, err
	}
	if r.out, err = session.StdoutPipe(); err != nil {
		return nil, err
	}
	path := strings.TrimPrefix(t.url.Path, "/~/")
	if err := session.Start(service + " '" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return r, nil
}

func sshConfig(t target, addr string) (*ssh.ClientConfig, error) {
	if t.KnownHosts == "" {
		return nil, fmt.Errorf("%w: no known_hosts file is given (repo.knownHosts, --known-hosts); write what ssh-keyscan prints to one, once you have compared it with the server's key", ErrUnknownHost)
	}
	db, err := knownhosts.NewDB(t.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w: %w", ErrUnknownHost, err)
	}
	cfg := &ssh.ClientConfig{User: t.url.User.Username(), HostKeyCallback: db.HostKeyCallback(), HostKeyAlgorithms: db.HostKeyAlgorithms(addr)}
	key, err := t.secret()
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, fmt.Errorf("%w: ssh needs a private key; name it as the credential file", ErrAuth)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: credential file %q is not a private key without passphrase", ErrAuth, t.CredentialFile)
	}
	cfg.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	return cfg, nil
}

// sshError says what went wrong before the server was asked anything; key is the one it showed, if it came to that.
func sshError(err error, key ssh.PublicKey, file string) error {
	name := "its key"
	if key != nil {
		// As `ssh-keygen -l` shows it, for people to compare.
		name = fmt.Sprintf("its key %s %s", key.Type(), ssh.FingerprintSHA256(key))
	}
	switch {
	case knownhosts.IsHostKeyChanged(err):
		return fmt.Errorf("%w: %s is another one than %q says; somebody may be in between, ask who runs it", ErrUnknownHost, name, file)
	case knownhosts.IsHostUnknown(err), strings.Contains(err.Error(), "knownhosts:"):
		return fmt.Errorf("%w: %s is not in %q; compare it with the server's and add it", ErrUnknownHost, name, file)
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return fmt.Errorf("%w: it has no key of the kinds that %q lists for it; compare its keys and add one", ErrUnknownHost, file)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%w: the server takes none of our keys; add the public key there", ErrAuth)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// explain adds what the server said to an answer that ended early.
func (r *sshRemote) explain(err error) error {
	if err == nil || !errors.Is(err, ErrUnreachable) {
		return err
	}
	_ = r.client.Close() // its error stream is complete then
	said := r.said.String()
	switch low := strings.ToLower(said); {
	case said == "":
		return err
	case !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w (the server says %q)", err, said)
	case containsAny(low, "read only", "read-only", "denied", "not allowed", "not permitted", "unauthorized", "forbidden", "permission"):
		// Forges let every known key in and refuse in words.
		return fmt.Errorf("%w: the server says %q; its key needs the right to do this", ErrAuth, said)
	}
	return fmt.Errorf("%w: the server says %q; check the URL", ErrUnreachable, said)
}

func containsAny(s string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(s, w) })
}

func (r *sshRemote) close() {
	r.stop()
	_ = r.client.Close()
}

func (r *sshRemote) refs(context.Context) (map[string]plumbing.Hash, string, error) {
	refs, caps, err := readRefs(r.out)
	r.caps = caps
	return refs, caps, r.explain(err)
}

func (r *sshRemote) fetch(ctx context.Context, s *Store, q query) error {
	if err := wantRequest(r.in, r.caps, q); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	_ = r.in.Close()
	return r.explain(readPack(ctx, s, r.out, r.caps, q))
}

func (r *sshRemote) push(ctx context.Context, s *Store, ref plumbing.ReferenceName, commit, old plumbing.Hash) error {
	// A server that refuses stops reading: what it says then counts more than the broken pipe.
	werr := pushRequest(ctx, r.in, s, ref, commit, old)
	_ = r.in.Close()
	if err := readReport(r.out, ref); err != nil {
		return r.explain(err)
	}
	return werr
}
