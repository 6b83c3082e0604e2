package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Remote is where the store's branch comes from.
type Remote struct {
	// URL is https://host/path, ssh://user@host/path or user@host:path, file:///path or an absolute path.
	URL    string
	Branch string
	// CredentialFile holds "user:password" or a token for https, a private key for ssh. Nobody but its owner may read it.
	CredentialFile string
	// KnownHosts is an OpenSSH known_hosts file; ssh needs it.
	KnownHosts string
	// CAFile is a PEM file of the only authorities that the https server's certificate may come from; "" is the system's.
	CAFile string
	// Tip says that only the newest commit's files matter: history is taken where the store has what comes before it, and
	// left out else, so that a branch may be far larger than MaxPack.
	Tip bool
	// Since is a commit before which nothing matters, a full hash: history is taken back to it and no further, with all its
	// own files; "" takes all there is.
	Since string
}

// longest bounds one conversation with a remote.
const longest = 5 * time.Minute

// target is a checked Remote.
type target struct {
	Remote
	scheme string // file, https, ssh; "" for none
	url    *url.URL
	path   string // of file
	shown  string // the URL as messages show it
	since  plumbing.Hash
}

// parseRemote checks a Remote without asking the network.
func parseRemote(r Remote) (target, error) {
	t := target{Remote: r}
	if r.Branch != "" {
		if _, err := branchRef(r.Branch); err != nil {
			return t, err
		}
	}
	if r.Since != "" {
		h, err := hash40(r.Since)
		if err != nil {
			return t, err
		}
		t.since = h
	}
	raw := r.URL
	refuse := func(why string) (target, error) {
		return t, fmt.Errorf("remote %q: %s; use https://, ssh:// or file://", clip(hide(raw)), why)
	}
	switch {
	case raw == "":
		return t, nil
	case len(raw) > 2048:
		return refuse("longer than 2048 characters")
	case strings.ContainsFunc(raw, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return refuse("a control character")
	case strings.HasPrefix(raw, "-"):
		return refuse("begins with a dash")
	case filepath.IsAbs(raw):
		t.scheme, t.path, t.shown = "file", filepath.Clean(raw), raw
		return t, nil
	case !strings.Contains(raw, "://"):
		user, rest, _ := strings.Cut(raw, "@")
		host, path, ok := strings.Cut(rest, ":")
		if !ok || host == "" || path == "" || strings.HasPrefix(path, ":") || strings.ContainsAny(user+host, "/:") {
			return refuse("not a URL")
		}
		if !strings.HasPrefix(path, "/") {
			path = "/~/" + path // from the home folder, as scp has it
		}
		return t.ssh(&url.URL{Scheme: "ssh", User: url.User(user), Host: host, Path: path}, refuse)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return refuse("not a URL") // the error would show the credentials
	}
	_, password := u.User.Password()
	switch {
	case password:
		return refuse("a password in the URL; write it to the credential file")
	case u.RawQuery != "" || u.Fragment != "":
		return refuse("a query or fragment")
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") {
			return refuse("not an absolute path")
		}
		t.scheme, t.path, t.shown = "file", filepath.FromSlash(u.Path), "file://"+u.Path
		if runtime.GOOS == "windows" {
			t.path = filepath.FromSlash(strings.TrimPrefix(u.Path, "/"))
		}
		return t, nil
	case "https":
		if u.Hostname() == "" || u.User != nil {
			return refuse("needs a host and no user; the user stands in the credential file")
		}
		u.Path = strings.TrimRight(u.Path, "/")
		t.scheme, t.url, t.shown = "https", u, u.String()
		return t, nil
	case "ssh":
		return t.ssh(u, refuse)
	}
	return refuse("unsupported kind of URL")
}

func (t target) ssh(u *url.URL, refuse func(string) (target, error)) (target, error) {
	if u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") || strings.HasPrefix(u.User.Username(), "-") {
		return refuse("not a host")
	}
	if u.Path == "" || u.Path == "/" || strings.HasPrefix(u.Path, "/-") || strings.HasPrefix(u.Path, "/~/-") {
		return refuse("not a path")
	}
	if u.User.Username() == "" {
		u.User = url.User("git")
	}
	t.scheme, t.url, t.shown = "ssh", u, u.String()
	return t, nil
}

// hide removes what stands before the last @ of a URL's host, where credentials are.
func hide(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		if i := strings.LastIndex(raw, "@"); i >= 0 && strings.Contains(raw[:i], ":") {
			return raw[i+1:]
		}
		return raw
	}
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		rest = rest[i+1:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + "://" + rest
}

func branchRef(branch string) (plumbing.ReferenceName, error) {
	n, err := refName("refs/heads/" + branch)
	if err != nil || strings.HasPrefix(branch, "-") || strings.HasPrefix(branch, "refs/") {
		return "", fmt.Errorf("%q is not a branch name", clip(branch))
	}
	return n, nil
}

// fail names the operation and the remote.
func (t target) fail(op string, err error) error {
	return fmt.Errorf("%s %q: %w", op, t.shown, t.quiet(err))
}

// secret reads the credential file, at most 64 KiB, at each use: it may be renewed under a running agent.
func (t target) secret() ([]byte, error) {
	if t.CredentialFile == "" {
		return nil, nil
	}
	info, err := os.Stat(t.CredentialFile)
	if err != nil {
		return nil, fmt.Errorf("credential file: %w: %w", ErrAuth, err)
	}
	if !info.Mode().IsRegular() || info.Size() > 64<<10 {
		return nil, fmt.Errorf("credential file %q is not a regular file of at most 64 KiB: %w", t.CredentialFile, ErrAuth)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("credential file %q has mode %04o, others may use it: %w; chmod 600 it", t.CredentialFile, info.Mode().Perm(), ErrAuth)
	}
	b, err := os.ReadFile(t.CredentialFile)
	if err != nil {
		return nil, fmt.Errorf("credential file: %w: %w", ErrAuth, err)
	}
	return b, nil
}

// SameServer reports whether a credential that was given for one remote goes to nobody else with the other: for https the
// same scheme, host and port, for file the same folder. With ssh no secret leaves this host, and known_hosts says who is
// spoken to; so all of ssh are alike.
func SameServer(one, other string) bool {
	a, err := parseRemote(Remote{URL: one})
	if err != nil {
		return false
	}
	b, err := parseRemote(Remote{URL: other})
	if err != nil || a.scheme != b.scheme {
		return false
	}
	switch a.scheme {
	case "https":
		return strings.EqualFold(a.url.Hostname(), b.url.Hostname()) && portOf(a.url) == portOf(b.url)
	case "ssh":
		return true
	}
	return a.path == b.path
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

// conn is one conversation with a remote's upload-pack or receive-pack.
type conn interface {
	// refs are the remote's branches and other references; capabilities are those of the protocol.
	refs(ctx context.Context) (refs map[string]plumbing.Hash, capabilities string, err error)
	// fetch takes a commit, and what comes before it, into the store.
	fetch(ctx context.Context, s *Store, q query) error
	// push sends what lies between old and commit, then moves ref if it is still at old.
	push(ctx context.Context, s *Store, ref plumbing.ReferenceName, commit, old plumbing.Hash) error
	close()
}

// query is what a fetch asks for.
type query struct {
	want  plumbing.Hash
	haves []plumbing.Hash
	all   bool            // the files of all commits
	tip   bool            // the commit and its files alone, without what comes before it; a remote that cannot gives all
	cuts  []plumbing.Hash // commits whose parents are left out; a remote that cannot, or has them not, gives all

	after time.Time // instead of cuts: no commits that are older, where it is not zero and the remote is no folder
	depth int       // instead of cuts: so many generations of commits, where it is not 0 and the remote is no folder

	blobs []plumbing.Hash // instead: these blobs, which references point at
	into  *memory.Storage // where they go
}

func (s *Store) dial(ctx context.Context, service string) (conn, error) {
	switch s.to.scheme {
	case "file":
		return openFileRemote(s.to)
	case "https":
		return openHTTPS(s.to, service)
	case "ssh":
		return openSSH(ctx, s.to, service)
	}
	return nil, fmt.Errorf("no remote is configured: %w", ErrUnreachable)
}

// Head is the commit of the remote's branch now; nothing is fetched.
func (s *Store) Head(ctx context.Context) (string, error) {
	s.count.heads.Add(1)
	done, err := s.converse(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	ref, err := branchRef(s.to.Branch)
	if err != nil {
		return "", err
	}
	c, err := s.dial(ctx, "git-upload-pack")
	if err != nil {
		return "", s.to.fail("ask", err)
	}
	defer c.close()
	refs, _, err := c.refs(ctx)
	if err != nil {
		return "", s.to.fail("ask", err)
	}
	s.note(refs)
	return s.to.branch("ask", refs, ref)
}

func (t target) branch(op string, refs map[string]plumbing.Hash, ref plumbing.ReferenceName) (string, error) {
	h, ok := refs[ref.String()]
	if ok {
		return h.String(), nil
	}
	if len(refs) == 0 {
		return "", t.fail(op, fmt.Errorf("the repository is empty: %w %q; push a first commit", ErrNoBranch, ref.Short()))
	}
	return "", t.fail(op, fmt.Errorf("%w %q; create it there or name another branch here", ErrNoBranch, ref.Short()))
}

// incoming is where Fetch keeps what the remote has, whether or not it follows on what was there.
func incoming(ref plumbing.ReferenceName) string {
	// Without slashes: a branch "a" would else stand in the way of a branch "a/b".
	return "refs/dunlin/incoming/" + strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(ref.String(), "refs/"), "heads/"), "/", "%2F")
}

// Incoming is the full name of the reference under which Fetch keeps a branch.
func Incoming(branch string) string { return incoming(plumbing.NewBranchReferenceName(branch)) }

// Fetch takes the branch from the remote, forced, into refs/dunlin/incoming/BRANCH and gives its commit; whether that
// follows on what is in force is for the caller to ask (Descends). refs are more branches, or full reference names,
// taken in the same way where the remote has them. A failed fetch leaves the references as they were.
func (s *Store) Fetch(ctx context.Context, branch string, refs ...string) (string, error) {
	done, err := s.converse(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	ref, err := branchRef(branch)
	if err != nil {
		return "", err
	}
	head, err := s.fetch(ctx, ref, false)
	if err != nil {
		return "", err
	}
	for _, name := range refs {
		var more plumbing.ReferenceName
		if strings.HasPrefix(name, "refs/") {
			more, err = refName(name)
		} else {
			more, err = branchRef(name)
		}
		if err != nil {
			return head, err
		}
		if _, err := s.fetch(ctx, more, false); err != nil && !isNoBranch(err) {
			return head, err
		}
	}
	return head, nil
}

// FetchWhole is Fetch of all that the branch's history has, though much of it be here: what a repack gave up, or a peer
// had not, is here then, as far as the remote has it.
func (s *Store) FetchWhole(ctx context.Context, branch string) (string, error) {
	done, err := s.converse(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	ref, err := branchRef(branch)
	if err != nil {
		return "", err
	}
	return s.fetch(ctx, ref, true)
}

func (s *Store) fetch(ctx context.Context, ref plumbing.ReferenceName, all bool) (string, error) {
	s.count.fetches.Add(1)
	c, err := s.dial(ctx, "git-upload-pack")
	if err != nil {
		return "", s.to.fail("fetch", err)
	}
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	refs, _, err := c.refs(ctx)
	if err != nil {
		return "", s.to.fail("fetch", err)
	}
	head, err := s.to.branch("fetch", refs, ref)
	if err != nil {
		return "", err
	}
	s.note(refs)
	want := refs[ref.String()]
	if all || whole(ctx, s.objects(), want) != nil {
		q := query{want: want, all: all, tip: s.to.Tip, cuts: s.cuts(all)}
		if !all {
			if q.haves, err = s.haves(ctx); err != nil {
				return "", s.to.fail("fetch", err)
			}
			q.tip = s.to.Tip && len(q.haves) == 0
		}
		err = c.fetch(ctx, s, q)
		again := func(q query) error {
			if c != nil {
				c.close()
			}
			var err error
			if c, err = s.dial(ctx, "git-upload-pack"); err != nil {
				return err
			}
			if _, _, err := c.refs(ctx); err != nil {
				return err
			}
			return c.fetch(ctx, s, q)
		}
		// The remote left out files that this store gave up in a repack, or gave a history that is too long: ask for all
		// files, and for no more than is needed.
		if err != nil && len(q.haves) > 0 && ctx.Err() == nil && (isMissing(err) || s.to.Tip && errors.Is(err, ErrTooLarge)) {
			q = query{want: want, tip: s.to.Tip, cuts: s.cuts(true)}
			err = again(q)
		}
		// One that takes what it is told of for what is here.
		if len(q.cuts) > 0 && ctx.Err() == nil && isMissing(err) {
			err = again(query{want: want, all: all})
		}
		// A line that was merged, and that began before the bound, brings its history.
		if !s.to.since.IsZero() && !s.to.Tip && errors.Is(err, ErrTooLarge) {
			for depth := leastDepth; depth <= mostDepth; depth *= 2 {
				less := again(query{want: want, cuts: s.cuts(true), depth: depth})
				if less == nil {
					err = nil
				}
				if !isMissing(less) || ctx.Err() != nil {
					break
				}
			}
			// What comes by the bound on one line may be cut after it on another, where people have signed.
			if at := s.endsLate(); err == nil && !at.IsZero() {
				_ = again(query{want: want, cuts: s.cuts(true), after: at})
			}
		}
		if err != nil {
			return "", s.to.fail("fetch", s.tooLong(err))
		}
	}
	if err := s.SetRef(incoming(ref), head); err != nil {
		return "", s.to.fail("fetch", err)
	}
	return head, nil
}

// Push moves the remote's branch from old ("" where it does not exist) to commit, which must follow on old. It wraps
// ErrRejected where the remote's branch is not at old any more.
func (s *Store) Push(ctx context.Context, branch, commit, old string) error {
	s.count.pushes.Add(1)
	done, err := s.converse(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	ref, err := branchRef(branch)
	if err != nil {
		return err
	}
	to, err := hash40(commit)
	if err != nil {
		return err
	}
	var from plumbing.Hash
	if old != "" {
		if from, err = hash40(old); err != nil {
			return err
		}
		ok, err := s.Descends(ctx, commit, old)
		if err != nil {
			return s.to.fail("push", err)
		}
		if !ok {
			return s.to.fail("push", fmt.Errorf("%w: %s does not follow on %s; fetch and make the commit again", ErrRejected, commit, old))
		}
	}
	c, err := s.dial(ctx, "git-receive-pack")
	if err != nil {
		return s.to.fail("push", err)
	}
	defer c.close()
	refs, _, err := c.refs(ctx)
	if err != nil {
		return s.to.fail("push", err)
	}
	if at := refs[ref.String()]; at != from {
		return s.to.fail("push", moved(ref, at))
	}
	if err := c.push(ctx, s, ref, to, from); err != nil {
		return s.to.fail("push", err)
	}
	return nil
}

func moved(ref plumbing.ReferenceName, at plumbing.Hash) error {
	where := at.String()
	if at.IsZero() {
		where = "nothing"
	}
	return fmt.Errorf("%w: branch %q has moved to %s; fetch and make the commit again", ErrRejected, ref.Short(), where)
}
