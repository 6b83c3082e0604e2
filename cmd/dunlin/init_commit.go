package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

// firstCommit is what becomes of the first commit of a policy: trust starts from it.
type firstCommit struct {
	dir    string
	make   bool   // there is no Git repository yet
	branch string // that is checked out, or will be
	remote bool   // there is a remote origin
	anchor string // the commit, once it is made
	why    string // why none is made; empty without a signer, where nobody asks for one
	hint   string
}

// placeFirst looks, before anything is written, whether a commit of init's own can be made in a folder.
func placeFirst(ctx context.Context, dir string) *firstCommit {
	c := &firstCommit{dir: dir, branch: "main"}
	g := git{dir: dir}
	if _, err := g.run(ctx, nil, "--version"); err != nil {
		c.why, c.hint = "git is not installed", "install it, then: git init -b main && git add -A && git commit -S"
		return c
	}
	top, err := g.run(ctx, nil, "rev-parse", "--show-toplevel")
	if err != nil {
		if strings.Contains(err.Error(), "not a git repository") {
			c.make = true
			return c
		}
		c.why = one(err)
		return c
	}
	if !sameFolder(top, dir) {
		c.why = fmt.Sprintf("it is in the work tree of another Git repository, %s", printable(top))
		c.hint = "hosts read fleet.cue at the top of a repository: move the folder out, or run git init -b main in it if it is to be a repository of its own"
		return c
	}
	if _, err := g.run(ctx, nil, "config", "--get", "remote.origin.url"); err == nil {
		c.remote = true
	}
	if c.branch, err = g.run(ctx, nil, "symbolic-ref", "--quiet", "--short", "HEAD"); err != nil {
		c.branch, c.why, c.hint = "main", "no branch is checked out there", "git switch main, then git add and git commit -S"
		return c
	}
	dirty, err := g.run(ctx, nil, "status", "--porcelain", "--untracked-files=no")
	switch {
	case err != nil:
		c.why = one(err)
	case dirty != "":
		var names []string
		for line := range strings.Lines(dirty) {
			names = append(names, strings.TrimSpace(line[min(3, len(line)):]))
		}
		c.why = fmt.Sprintf("the work tree has changes that are not committed: %s", printable(listed(names, 3)))
		c.hint = "commit those, or git stash; then git add the files above and git commit -S"
	}
	return c
}

func sameFolder(a, b string) bool {
	x, err1 := filepath.EvalSymlinks(a)
	y, err2 := filepath.Abs(b)
	if err2 == nil {
		y, err2 = filepath.EvalSymlinks(y)
	}
	return err1 == nil && err2 == nil && x == y
}

// commit commits the files that init has written, and no others, signed with the key of the first signer.
func (c *firstCommit) commit(ctx context.Context, fleet, signer, key string, names []string) {
	g := git{dir: c.dir}
	fail := func(err error, hint string) {
		c.why, c.hint = strings.Replace(one(err), "git -c: ", "git commit: ", 1), hint
	}
	abs, err := filepath.Abs(key)
	if err != nil {
		fail(err, "")
		return
	}
	if c.make {
		if _, err := g.run(ctx, nil, "init", "--quiet", "--initial-branch=main"); err != nil {
			fail(err, "git init -b main, then git add -A and git commit -S")
			return
		}
		c.make = false
	}
	if _, err := g.run(ctx, nil, append([]string{"add", "--"}, names...)...); err != nil {
		fail(err, "git add the files above, then git commit -S")
		return
	}
	args := []string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + abs, "commit", "--quiet", "-S", "-m",
		fmt.Sprintf("fleet %s: begin, with %s to sign", fleet, signer), "--"}
	if _, err := g.run(ctx, nil, append(args, names...)...); err != nil {
		hint := "is the private key beside it, or in ssh-agent (ssh-add -l)? Then: " + c.byHand(key)
		if strings.Contains(err.Error(), "user.email") || strings.Contains(err.Error(), "identity") {
			hint = "git config --global user.name NAME and user.email ADDRESS say who commits; then: " + c.byHand(key)
		}
		fail(err, hint)
		return
	}
	if c.anchor, err = g.run(ctx, nil, "rev-parse", "HEAD"); err != nil {
		fail(err, "dunlin trust anchor")
	}
}

// byHand is how somebody who has the key commits.
func (c *firstCommit) byHand(key string) string {
	return "git -c gpg.format=ssh -c user.signingkey=" + safe.Shell(strings.TrimSuffix(key, ".pub")) + " commit -S -m begin"
}
