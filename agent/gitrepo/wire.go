package gitrepo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

const (
	maxAdvertised = 16 << 20 // bytes of a remote's list of references
	maxHaves      = 256
	maxEnds       = 10_000 // commits of which a remote says that history ends there
	agentName     = "agent=dunlin"
)

func isNoBranch(err error) bool { return errors.Is(err, ErrNoBranch) }
func isMissing(err error) bool  { return errors.Is(err, plumbing.ErrObjectNotFound) }

// notGit says that what answered does not speak the protocol.
func notGit(err error) error {
	return fmt.Errorf("%w: the answer is not that of a Git server (%w); check the URL", ErrUnreachable, err)
}

// haves are commits that the store has, newest first, so that a remote sends only what follows.
func (s *Store) haves(ctx context.Context) ([]plumbing.Hash, error) {
	var tips []plumbing.Hash
	s.mu.Lock()
	iter, err := s.st.IterReferences()
	if err == nil {
		err = iter.ForEach(func(r *plumbing.Reference) error {
			if r.Type() == plumbing.HashReference && !r.Hash().IsZero() && len(tips) < 32 {
				tips = append(tips, r.Hash())
			}
			return nil
		})
	}
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("read references: %w", err)
	}
	var out []plumbing.Hash
	seen := map[plumbing.Hash]bool{}
	for _, tip := range tips {
		// A force push leaves the remote with an ancestor of ours: offer some of those as well.
		n := 0
		err := ancestors(ctx, s.objects(), tip, func(c *object.Commit) bool {
			if !seen[c.Hash] {
				seen[c.Hash] = true
				out = append(out, c.Hash)
			}
			n++
			return n < 32 && len(out) < maxHaves
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readRefs reads a remote's advertisement.
func readRefs(r io.Reader) (refs map[string]plumbing.Hash, capabilities string, err error) {
	in := &io.LimitedReader{R: r, N: maxAdvertised}
	scan := pktline.NewScanner(in)
	refs = map[string]plumbing.Hash{}
	first, named := true, false
	for scan.Scan() {
		line := bytes.TrimSuffix(scan.Bytes(), []byte("\n"))
		switch {
		case len(line) == 0 && named:
			named = false // the flush after the name of the service; the next one ends the list, also an empty one
			continue
		case len(line) == 0:
			return refs, capabilities, nil
		case first && bytes.HasPrefix(line, []byte("# service=")):
			named = true
			continue
		case bytes.HasPrefix(line, []byte("ERR ")):
			return nil, "", fmt.Errorf("the server says %q: %w", clip(string(line[4:])), ErrUnreachable)
		}
		name, caps, found := strings.Cut(string(line), "\x00")
		if first && found {
			capabilities = caps
		}
		first = false
		hex, ref, ok := strings.Cut(name, " ")
		if offers(capabilities, "object-format=sha256") {
			return nil, "", fmt.Errorf("%w: its repository has the object format sha256, this build reads sha1 only; make it anew with git init --object-format=sha1", ErrUnreachable)
		}
		h, err := hash40(hex)
		if strings.HasPrefix(name, "shallow ") {
			continue
		}
		if !ok || err != nil {
			return nil, "", notGit(fmt.Errorf("line %q", clip(name)))
		}
		if strings.HasPrefix(ref, "refs/") && !strings.HasSuffix(ref, "^{}") {
			refs[ref] = h
		}
	}
	if in.N <= 0 {
		return nil, "", fmt.Errorf("more than %d MiB of references: %w", maxAdvertised>>20, ErrTooLarge)
	}
	if err := scan.Err(); err != nil {
		return nil, "", notGit(err)
	}
	return nil, "", notGit(io.ErrUnexpectedEOF)
}

// wantRequest asks for one commit. Without multi_ack the answer has one line before the pack.
func wantRequest(w io.Writer, capabilities string, q query) error {
	var use []string
	able := offers(capabilities, "shallow")
	depth := q.deepen(capabilities)
	if !q.after.IsZero() && !q.dated(capabilities) {
		return errDated
	}
	if able && (depth > 0 || q.dated(capabilities) || len(q.cuts) > 0) {
		use = append(use, "shallow")
	}
	if q.dated(capabilities) {
		use = append(use, "deepen-since")
	}
	for _, c := range []string{"side-band-64k", "ofs-delta", "no-progress"} {
		if offers(capabilities, c) {
			use = append(use, c)
		}
	}
	use = append(use, agentName)
	e := pktline.NewEncoder(w)
	wants := q.blobs
	if len(wants) == 0 {
		wants = []plumbing.Hash{q.want}
	}
	for i, h := range wants {
		line := "want " + h.String()
		if i == 0 {
			line += " " + strings.Join(use, " ")
		}
		if err := e.EncodeString(line + "\n"); err != nil {
			return err
		}
	}
	for _, h := range q.cuts {
		if !able || depth > 0 || q.dated(capabilities) {
			break
		}
		if err := e.Encodef("shallow %s\n", h); err != nil {
			return err
		}
	}
	if depth > 0 {
		if err := e.Encodef("deepen %d\n", depth); err != nil {
			return err
		}
	}
	if q.dated(capabilities) {
		if err := e.Encodef("deepen-since %d\n", q.after.Unix()); err != nil {
			return err
		}
	}
	if err := e.Flush(); err != nil {
		return err
	}
	for _, h := range q.haves {
		if err := e.Encodef("have %s\n", h); err != nil {
			return err
		}
	}
	return e.EncodeString("done\n")
}

// deepen is how many generations of commits are asked for; 0 for all.
func (q query) deepen(capabilities string) int {
	switch {
	case !offers(capabilities, "shallow"):
		return 0
	case q.tip:
		return 1
	}
	return q.depth
}

// errDated says that a remote cannot leave out what is older than something.
var errDated = errors.New("the server does not leave out what is older than a commit")

// dated reports whether no commits are asked for that are older than something.
func (q query) dated(capabilities string) bool {
	return !q.after.IsZero() && offers(capabilities, "shallow") && offers(capabilities, "deepen-since")
}

func offers(capabilities, one string) bool {
	for c := range strings.FieldsSeq(capabilities) {
		if c == one {
			return true
		}
	}
	return false
}

// readPack takes the answer to wantRequest into the store.
func readPack(ctx context.Context, s *Store, r io.Reader, capabilities string, q query) error {
	in := bufio.NewReader(r)
	var ends []plumbing.Hash
	if q.deepen(capabilities) > 0 || q.dated(capabilities) {
		// Where history ends, as was asked for; a flush ends the list.
		for lines := 0; ; lines++ {
			scan := pktline.NewScanner(in)
			if !scan.Scan() {
				return notGit(errors.Join(scan.Err(), io.ErrUnexpectedEOF))
			}
			line := string(scan.Bytes())
			if line == "" {
				break
			}
			h, err := hash40(strings.TrimSpace(strings.TrimPrefix(line, "shallow ")))
			if ends = append(ends, h); !strings.HasPrefix(line, "shallow ") || err != nil || lines > maxEnds {
				return fmt.Errorf("the server says %q: %w", clip(strings.TrimSpace(line)), ErrUnreachable)
			}
		}
	}
	// One line says what is common, but servers repeat it for each commit that they know.
	for lines := 0; ; lines++ {
		head, err := in.Peek(7)
		if err != nil {
			return notGit(err)
		}
		tag := string(head[4:])
		known := tag == "ACK" || tag == "NAK"
		if !known && tag != "ERR" && lines > 0 {
			break
		}
		scan := pktline.NewScanner(in)
		if !scan.Scan() {
			return notGit(errors.Join(scan.Err(), io.ErrUnexpectedEOF))
		}
		if !known || lines > maxHaves+1 {
			return fmt.Errorf("the server says %q: %w", clip(strings.TrimSpace(string(scan.Bytes()))), ErrUnreachable)
		}
	}
	r = in
	if offers(capabilities, "side-band-64k") {
		r = sideband.NewDemuxer(sideband.Sideband64k, r)
	}
	if q.into != nil {
		return s.takeBlobs(ctx, r, q.into)
	}
	if q.tip {
		ends = nil // of a branch of which only the newest commit counts
	}
	return s.addIf(ctx, r, q.want, func() error { return s.reaches(ctx, q) }, ends...)
}

// pushRequest asks for one reference to be moved, and gives the pack.
func pushRequest(ctx context.Context, w io.Writer, s *Store, ref plumbing.ReferenceName, commit, old plumbing.Hash) error {
	list, err := between(ctx, s.objects(), commit, old, files)
	if err != nil {
		return err
	}
	e := pktline.NewEncoder(w)
	if err := e.Encodef("%s %s %s\x00 report-status %s\n", old, commit, ref, agentName); err != nil {
		return err
	}
	if err := e.Flush(); err != nil {
		return err
	}
	return writePack(ctx, w, s.objects(), list)
}

// readReport reads what became of a push.
func readReport(r io.Reader, ref plumbing.ReferenceName) error {
	scan := pktline.NewScanner(io.LimitReader(r, 1<<20))
	unpacked := false
	for scan.Scan() {
		line := strings.TrimSuffix(string(scan.Bytes()), "\n")
		switch {
		case line == "unpack ok":
			unpacked = true
		case strings.HasPrefix(line, "unpack "):
			return fmt.Errorf("%w: the server could not take the pack: %q", ErrRejected, clip(line[7:]))
		case line == "ok "+ref.String() && unpacked:
			return nil
		case strings.HasPrefix(line, "ng "+ref.String()+" "):
			return fmt.Errorf("%w: the server says %q; fetch and make the commit again, or ask who runs the server",
				ErrRejected, clip(strings.TrimPrefix(line, "ng "+ref.String()+" ")))
		}
	}
	if err := scan.Err(); err != nil {
		return notGit(err)
	}
	return notGit(io.ErrUnexpectedEOF)
}
