package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// kept is of how many commits of each reference, the newest, Repack keeps the files.
const kept = 8

// judgeable is of how many commits of each reference Repack keeps the folders, so that a node that comes back after that
// many can be given what it verifies.
const judgeable = 256

// walkTree calls visit once for each object of a tree, the tree itself first; what is in seen is left out, with all
// below it. Submodules are other repositories' commits and not visited.
func walkTree(ctx context.Context, st storer.EncodedObjectStorer, root plumbing.Hash, seen map[plumbing.Hash]bool, visit func(plumbing.Hash, bool) error) error {
	stack := []plumbing.Hash{root}
	if seen[root] {
		return nil
	}
	seen[root] = true
	for len(stack) > 0 {
		h := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := object.GetTree(st, h)
		if err != nil {
			return fmt.Errorf("read tree %s: %w", h, err)
		}
		if err := visit(h, true); err != nil {
			return err
		}
		for _, e := range t.Entries {
			if e.Mode == filemode.Submodule || seen[e.Hash] {
				continue
			}
			if len(seen) > maxListed {
				return fmt.Errorf("tree %s: more than %d files and folders: %w", root, maxListed, ErrTooLarge)
			}
			seen[e.Hash] = true
			if e.Mode == filemode.Dir {
				stack = append(stack, e.Hash)
				continue
			}
			if err := visit(e.Hash, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// whole says whether a commit is here with all its files; the error names what is missing.
func whole(ctx context.Context, st storer.EncodedObjectStorer, commit plumbing.Hash) error {
	c, err := object.GetCommit(st, commit)
	if err != nil {
		return fmt.Errorf("commit %s is not here: %w", commit, err)
	}
	return walkTree(ctx, st, c.TreeHash, map[plumbing.Hash]bool{}, func(h plumbing.Hash, tree bool) error {
		if tree {
			return nil // it was just read
		}
		if err := st.HasEncodedObject(h); err != nil {
			return fmt.Errorf("commit %s is not here with all its files: object %s: %w", commit, h, err)
		}
		return nil
	})
}

// wholeBeside is whole of a commit of which another, sound, is known to be here with all its files: only what differs is
// looked for.
func wholeBeside(ctx context.Context, st storer.EncodedObjectStorer, commit, sound plumbing.Hash) error {
	c, err := object.GetCommit(st, commit)
	if err != nil {
		return fmt.Errorf("commit %s is not here: %w", commit, err)
	}
	old, err := object.GetCommit(st, sound)
	if err != nil {
		return whole(ctx, st, commit)
	}
	type pair struct{ now, old plumbing.Hash }
	seen := 0
	for stack := []pair{{c.TreeHash, old.TreeHash}}; len(stack) > 0; {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if p.now == p.old {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		now, err := object.GetTree(st, p.now)
		if err != nil {
			return fmt.Errorf("read tree %s: %w", p.now, err)
		}
		was := map[string]object.TreeEntry{}
		if !p.old.IsZero() {
			before, err := object.GetTree(st, p.old)
			if err != nil {
				return whole(ctx, st, commit)
			}
			for _, e := range before.Entries {
				was[e.Name] = e
			}
		}
		if seen += len(now.Entries); seen > maxListed {
			return fmt.Errorf("commit %s: more than %d files and folders: %w", commit, maxListed, ErrTooLarge)
		}
		for _, e := range now.Entries {
			o := was[e.Name]
			switch {
			case e.Mode == filemode.Submodule, e.Hash == o.Hash && e.Mode == o.Mode:
			case e.Mode == filemode.Dir && o.Mode == filemode.Dir:
				stack = append(stack, pair{e.Hash, o.Hash})
			case e.Mode == filemode.Dir:
				stack = append(stack, pair{now: e.Hash})
			default:
				if err := st.HasEncodedObject(e.Hash); err != nil {
					return fmt.Errorf("commit %s is not here with all its files: object %s: %w", commit, e.Hash, err)
				}
			}
		}
	}
	return nil
}

// extent is how much between lists of the commits before the one that is wanted.
type extent int

const (
	trees extent = iota // of those on its first-parent line the folders, fleet.cue, activations and roster: what it takes to judge each step
	edges               // the same, and of those where history is cut off all files
	files               // of each all files
)

// between lists what one needs who has commit have (zero: nothing) and wants commit want: the new commits, the new files
// of want, and of the other commits as much as is said. What comes before cuts is left out; they themselves are not.
func between(ctx context.Context, st storer.EncodedObjectStorer, want, have plumbing.Hash, much extent, cuts ...plumbing.Hash) ([]plumbing.Hash, error) {
	if _, err := st.EncodedObject(plumbing.BlobObject, want); err == nil {
		return []plumbing.Hash{want}, nil // a statement, which stands for itself
	}
	known := map[plumbing.Hash]bool{}
	seen := map[plumbing.Hash]bool{}
	if !have.IsZero() {
		near, err := near(ctx, st, want, have)
		if err != nil {
			return nil, err
		}
		known[have] = near
		if !near {
			// A remote is told what is before the cuts is not here. A peer, which says nothing of the kind, is not
			// given old history for asking about an old commit.
			before := cuts
			if much == trees {
				before = nil
			}
			if err := ancestorsTo(ctx, st, have, before, func(c *object.Commit) bool { known[c.Hash] = true; return true }); err != nil {
				return nil, err
			}
		}
		if c, err := object.GetCommit(st, have); err == nil {
			if err := walkTree(ctx, st, c.TreeHash, seen, func(plumbing.Hash, bool) error { return nil }); err != nil {
				return nil, err
			}
		}
	}
	fresh := map[plumbing.Hash]*object.Commit{}
	if _, err := object.GetCommit(st, want); err != nil {
		return nil, fmt.Errorf("read commit %s: %w", want, err)
	}
	var list, roots []plumbing.Hash
	queue := []plumbing.Hash{want}
	for ; len(queue) > 0; queue = queue[1:] {
		h := queue[0]
		if known[h] {
			continue
		}
		known[h] = true
		c, err := object.GetCommit(st, h)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue // history that was never here
		}
		if err != nil {
			return nil, fmt.Errorf("read commit %s: %w", h, err)
		}
		if len(known) > maxCommits {
			return nil, fmt.Errorf("history of %s: more than %d commits: %w", want, maxCommits, ErrTooLarge)
		}
		list = append(list, h)
		if much == files || h == want || much == edges && slices.Contains(cuts, h) {
			roots = append(roots, c.TreeHash)
		}
		fresh[h] = c
		if !slices.Contains(cuts, h) {
			queue = append(queue, c.ParentHashes...)
		}
	}
	for _, r := range roots {
		err := walkTree(ctx, st, r, seen, func(h plumbing.Hash, tree bool) error {
			// A repository that gave up old files still has the commits.
			if tree || much == files || r == fresh[want].TreeHash || st.HasEncodedObject(h) == nil {
				list = append(list, h)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for c := fresh[want]; c != nil && much != files && len(c.ParentHashes) > 0 && !slices.Contains(cuts, c.Hash); {
		if c = fresh[c.ParentHashes[0]]; c != nil {
			list = append(list, folders(ctx, st, c.TreeHash, seen)...)
		}
	}
	return list, nil
}

// folders lists the folders of a tree, its fleet.cue and what is in its activations and nodes, as far as they are here and
// not seen yet.
func folders(ctx context.Context, st storer.EncodedObjectStorer, root plumbing.Hash, seen map[plumbing.Hash]bool) (list []plumbing.Hash) {
	type folder struct {
		hash  plumbing.Hash
		files bool // are wanted, too
	}
	stack := []folder{{hash: root}}
	for len(stack) > 0 && ctx.Err() == nil && len(seen) <= maxListed {
		at := stack[len(stack)-1]
		h := at.hash
		stack = stack[:len(stack)-1]
		if seen[h] {
			continue
		}
		seen[h] = true
		t, err := object.GetTree(st, h)
		if err != nil {
			continue
		}
		list = append(list, h)
		for _, e := range t.Entries {
			switch {
			case e.Mode == filemode.Dir:
				stack = append(stack, folder{e.Hash, at.files || h == root && (e.Name == "activations" || e.Name == "nodes")})
			case (at.files || h == root && e.Name == "fleet.cue") && !seen[e.Hash] && st.HasEncodedObject(e.Hash) == nil:
				seen[e.Hash] = true
				list = append(list, e.Hash)
			}
		}
	}
	return list
}

// near reports whether every line back from want comes to have within a few commits, so that what comes before have need
// not be walked: most often have is want's parent, and the history is long.
func near(ctx context.Context, st storer.EncodedObjectStorer, want, have plumbing.Hash) (bool, error) {
	const few = 256
	seen := map[plumbing.Hash]bool{have: true}
	for queue := []plumbing.Hash{want}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		c, err := object.GetCommit(st, queue[0])
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read commit %s: %w", queue[0], err)
		}
		if len(seen) > few || len(c.ParentHashes) == 0 {
			return false, ctx.Err()
		}
		queue = append(queue, c.ParentHashes...)
	}
	return want != have, ctx.Err()
}

// repack is Repack under mu; also are commits kept that no reference names yet.
func (s *Store) repack(ctx context.Context, also ...plumbing.Hash) error {
	old := s.packs()
	tips := also
	iter, err := s.st.IterReferences()
	if err != nil {
		return fmt.Errorf("repack: %w", err)
	}
	err = iter.ForEach(func(r *plumbing.Reference) error {
		if r.Type() == plumbing.HashReference && !r.Hash().IsZero() {
			tips = append(tips, r.Hash())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("repack: %w", err)
	}
	list, err := s.needed(ctx, tips)
	if err != nil {
		return fmt.Errorf("repack: %w", err)
	}
	f, err := os.CreateTemp(s.packFolder(), tempPrefix)
	if err != nil {
		return fmt.Errorf("repack: %w", err)
	}
	if err := writePack(ctx, f, s.st, list); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return fmt.Errorf("repack: %w", err)
	}
	path, err := keep(s.dir, f, 0o600)
	if err != nil {
		return fmt.Errorf("repack: %w", err)
	}
	s.sound.Store(nil)
	for p := range old {
		if p != path {
			_ = os.Remove(p + ".pack")
			_ = os.Remove(p + ".idx")
		}
	}
	s.reopen()
	return s.bound() // what no reference needs was here, and is no more
}

// needed lists the objects that a repack keeps.
func (s *Store) needed(ctx context.Context, tips []plumbing.Hash) ([]plumbing.Hash, error) {
	commits, files := map[plumbing.Hash]bool{}, map[plumbing.Hash]bool{}
	var list []plumbing.Hash
	add := func(h plumbing.Hash, tree bool) error {
		if tree || s.st.HasEncodedObject(h) == nil {
			list = append(list, h)
		}
		return nil
	}
	// First all tips, which must be whole: a walk that ends early below must not hide what one of them needs.
	var here []*object.Commit
	for _, tip := range tips {
		c, err := object.GetCommit(s.st, tip)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := walkTree(ctx, s.st, c.TreeHash, files, add); err != nil {
			return nil, err
		}
		here = append(here, c)
	}
	for _, tip := range here {
		for c, n := tip, 1; n < judgeable && len(c.ParentHashes) > 0; n++ {
			p, err := object.GetCommit(s.st, c.ParentHashes[0])
			if err != nil {
				break
			}
			if n < kept {
				// An older commit may have lost its files in an earlier repack: what is left of it is kept.
				_ = walkTree(ctx, s.st, p.TreeHash, files, add)
			} else {
				list = append(list, folders(ctx, s.st, p.TreeHash, files)...)
			}
			c = p
		}
		err := ancestors(ctx, s.st, tip.Hash, func(c *object.Commit) bool {
			if !commits[c.Hash] {
				commits[c.Hash] = true
				list = append(list, c.Hash)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return list, ctx.Err()
}
