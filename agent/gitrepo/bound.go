package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// A store whose Remote has Since holds history back to that commit: the remote is told that its parents are missing here and
// not to be sent (gitprotocol-pack(5), "shallow"). The file shallow names such commits as Git's own does, so that Git's
// programs can read the store (gitrepository-layout(5)).

func (s *Store) shallowFile() string { return filepath.Join(s.dir, "shallow") }

// readEnds reads what the file shallow says; what it does not say well counts for nothing.
func (s *Store) readEnds() (ends []plumbing.Hash) {
	b, err := readSmall(s.shallowFile())
	if err != nil || !s.bounds() {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		if h, err := hash40(strings.TrimSpace(line)); err == nil {
			ends = append(ends, h)
		}
	}
	slices.SortFunc(ends, byName)
	return ends
}

func byName(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) }

// bounds reports whether the file shallow is this package's: what has no remote here may be a clone of somebody's, and of a
// branch of which only the newest commit counts nobody asks where it ends.
func (s *Store) bounds() bool { return !s.to.Tip && (s.to.scheme != "" || !s.to.since.IsZero()) }

// Where all since the bound is too large, so many generations of commits are asked for, then twice as many, until they come by
// the bound; where they end after it on another line, what is no older than the bound is asked for.
const leastDepth, mostDepth = 8, 8192

// bound sees where the history that is here ends on purpose, which may be at more commits than before, and writes that down if
// it is not where it did. What comes before an end that was here may have come since, from a peer also in part: the end is where
// that ends then. The caller holds mu.
func (s *Store) bound(more ...plumbing.Hash) error {
	if !s.bounds() {
		return nil
	}
	var ends []plumbing.Hash
	queue, seen := append(slices.Clone(s.ends), more...), map[plumbing.Hash]bool{}
	was := len(queue)
	if !s.to.since.IsZero() && !slices.Contains(queue, s.to.since) {
		queue = append(queue, s.to.since)
	}
	for i := 0; i < len(queue) && len(seen) <= maxCommits; i++ {
		h := queue[i]
		if seen[h] {
			continue
		}
		seen[h] = true
		c, err := object.GetCommit(s.st, h)
		switch {
		case err != nil:
		case slices.ContainsFunc(c.ParentHashes, func(p plumbing.Hash) bool { return s.st.HasEncodedObject(p) != nil }):
			ends = append(ends, h)
		case i != was || h != s.to.since: // that all before the bound is here was seen when it came
			queue = append(queue, c.ParentHashes...)
		}
	}
	slices.SortFunc(ends, byName)
	if slices.Equal(ends, s.ends) {
		return nil
	}
	if len(ends) == 0 {
		if err := os.Remove(s.shallowFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("write where history ends: %w", err)
		}
		s.ends = nil
		return nil
	}
	f, err := os.CreateTemp(s.dir, ".dunlin-*.lock")
	if err != nil {
		return fmt.Errorf("write where history ends: %w", err)
	}
	err = finish(f, s.shallowFile(), 0o600, func() error {
		for _, h := range ends {
			if _, err := fmt.Fprintln(f, h); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.ends = ends
	}
	return err
}

// cuts are the commits of which a remote is told that what comes before them is not wanted: where history ends here, and
// Since unless all of it is here. For who wants all, or has nothing, that is Since alone.
func (s *Store) cuts(all bool) []plumbing.Hash {
	since := s.to.since
	if all {
		if since.IsZero() {
			return nil
		}
		return []plumbing.Hash{since}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cuts := slices.Clone(s.ends)
	if !since.IsZero() && !slices.Contains(cuts, since) && s.st.HasEncodedObject(since) != nil {
		cuts = append(cuts, since)
	}
	return cuts
}

// endsAt reports whether history ends at a commit.
func (s *Store) endsAt(id string) bool {
	h, err := hash40(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := slices.BinarySearchFunc(s.ends, h, byName) // there may be many, and it is asked often
	return err == nil && is
}

// endsLate is the time of the bound where history ends at a commit that is newer: it was cut where it matters. Zero where it is
// not. A line that began before the bound and was at work after it looks the same; of that, more is here then than need be.
func (s *Store) endsLate() (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, err := object.GetCommit(s.st, s.to.since)
	if err == nil && slices.ContainsFunc(s.ends, func(h plumbing.Hash) bool {
		c, err := object.GetCommit(s.st, h)
		return err == nil && c.Committer.When.After(since.Committer.When)
	}) {
		at = since.Committer.When
	}
	return at
}

// endings are where history may end without a gap. The caller holds mu.
func (s *Store) endings() []plumbing.Hash {
	if s.to.since.IsZero() {
		return s.ends
	}
	return append(slices.Clone(s.ends), s.to.since)
}

// reaches fails where a pack for who had nothing does not go back as far as it is meant to. It is called with mu held.
func (s *Store) reaches(ctx context.Context, q query) error {
	if s.to.since.IsZero() || s.to.Tip || len(q.haves) > 0 {
		return nil
	}
	return joined(ctx, s.st, q.want, s.to.since, []plumbing.Hash{s.to.since})
}

// tooLong says of a history that is too large what can be done.
func (s *Store) tooLong(err error) error {
	if s.to.since.IsZero() || !errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w, or give this host a later anchor than %s (dunlin trust anchor): of a history only what follows on it is taken, if the remote has it and is able to", err, s.to.Since)
}

// Bounded reports whether this store's history begins at some commit that has parents elsewhere.
func (s *Store) Bounded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ends) > 0
}

// Goes reports whether what this store has goes back far enough for a peer that has commit have, or whose history is to
// begin at since; either may be "".
func (s *Store) Goes(have, since string) bool {
	return !s.Bounded() || have == "" && since == "" || have != "" && s.Knows(have) || since != "" && s.Knows(since)
}
