package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	slash "path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// rosterEdit is a change of the roster in a work tree. It is committed, and signed where git is set to sign.
type rosterEdit struct {
	p     *policyFolder
	texts map[string][]byte // by file; those that are changed
}

// rosterFlags are where a roster is, and what becomes of a change of it.
type rosterFlags struct {
	repo     string
	noCommit bool
	push     bool
}

func (f *rosterFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.repo, "repo", "", repoAround)
	cmd.Flags().BoolVar(&f.noCommit, "no-commit", false, "change the files and commit nothing")
	cmd.Flags().BoolVar(&f.push, "push", false, "git push the commit")
}

// nodes reads the roster as the work tree has it.
func (e *rosterEdit) nodes() ([]schema.RosterLine, error) {
	var out []schema.RosterLine
	entries, err := fs.ReadDir(e.p.root.FS(), "nodes")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %q: %w", e.p.show("nodes"), cause(err))
	}
	for _, entry := range entries {
		name := "nodes/" + entry.Name()
		if slash.Ext(name) != ".jsonl" || entry.IsDir() {
			continue
		}
		text, err := e.text(name)
		if err != nil {
			return nil, err
		}
		n := 0
		for line := range bytes.Lines(text) {
			n++
			var l schema.RosterLine
			if err := json.Unmarshal(line, &l); err != nil {
				return nil, exitWith{code: exitFaults, err: fmt.Errorf("%s:%d: not a line of the roster", e.p.show(name), n), hint: "dunlin validate says what is wrong with it"}
			}
			out = append(out, l)
		}
	}
	return out, nil
}

// text is a file as the change leaves it; nil where there is none.
func (e *rosterEdit) text(name string) ([]byte, error) {
	if t, ok := e.texts[name]; ok {
		return t, nil
	}
	t, _, err := e.p.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return t, err
}

// find gives one node by name or id, or the beginning of an id.
func (e *rosterEdit) find(word string) (schema.RosterLine, error) {
	all, err := e.nodes()
	if err != nil {
		return schema.RosterLine{}, err
	}
	var names []string
	var found []schema.RosterLine
	for _, l := range all {
		if l.Name == word || l.ID == word {
			return l, nil
		}
		if len(word) >= 6 && strings.HasPrefix(l.ID, word) {
			found = append(found, l)
		}
		names = append(names, l.Name)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	near := ""
	if n := schema.Nearest(word, names); n != "" {
		near = fmt.Sprintf(" (did you mean %q?)", n)
	}
	return schema.RosterLine{}, exitWith{code: exitNoMatch, err: fmt.Errorf("no node %q among %d in the roster of %s%s", word, len(all), e.p.dir, near), hint: "dunlin node list"}
}

// replace puts a line in the place of the node's own.
func (e *rosterEdit) replace(l schema.RosterLine) error {
	name := trust.RosterFile(l.ID)
	text, err := e.text(name)
	if err != nil {
		return err
	}
	var out []byte
	for line := range bytes.Lines(text) {
		var is schema.RosterLine
		if json.Unmarshal(line, &is) == nil && is.ID == l.ID {
			line = append(trust.EncodeLine(l), '\n')
		}
		out = append(out, line...)
	}
	e.texts[name] = out
	return nil
}

// insert adds a line to a file that is sorted by id.
func (e *rosterEdit) insert(name string, line []byte) error {
	text, err := e.text(name)
	if err != nil {
		return err
	}
	if text, err = trust.Insert(text, line); err != nil {
		return fmt.Errorf("%s: %w", e.p.show(name), err)
	}
	e.texts[name] = text
	return nil
}

// rosterChange is what is printed of a change.
type rosterChange struct {
	Nodes  []schema.RosterLine `json:"nodes"`
	Files  []string            `json:"files"`
	Commit string              `json:"commit"` // empty where nothing was committed
	Pushed bool                `json:"pushed"`
}

// commit checks and writes the change, and commits it where git signs.
func (e *rosterEdit) commit(ctx context.Context, f rosterFlags, message string, nodes []schema.RosterLine) (rosterChange, error) {
	files := slices.Sorted(maps.Keys(e.texts))
	c := rosterChange{Nodes: nodes, Files: files}
	// A roster with a fault is refused whole: it must not come as far as a commit.
	for _, name := range files {
		if slash.Dir(name) != "nodes" {
			continue
		}
		if laid, faults := load.Format(name, e.texts[name]); len(faults) > 0 || !bytes.Equal(laid, e.texts[name]) {
			return c, exitWith{code: exitFaults, err: fmt.Errorf("%s is not in order", e.p.show(name)), hint: "dunlin fmt puts it in order, dunlin validate says what is wrong"}
		}
	}
	for _, name := range files {
		if err := e.p.write(name, e.texts[name], 0o666); err != nil {
			return c, err
		}
	}
	g := git{dir: e.p.dir}
	signs, err := g.run(ctx, nil, "config", "--type=bool", "--get", "commit.gpgsign")
	if f.noCommit || err != nil || signs != "true" {
		return c, nil
	}
	if _, err := g.run(ctx, nil, append([]string{"add", "--"}, files...)...); err != nil {
		return c, err
	}
	if _, err := g.run(ctx, nil, append([]string{"commit", "--quiet", "-S", "-m", message, "--"}, files...)...); err != nil {
		return c, exitWith{code: exitError, err: err, hint: "the files are changed; commit them by hand: git commit -S"}
	}
	c.Commit, err = g.run(ctx, nil, "rev-parse", "HEAD")
	return c, err
}

func (a *app) printRosterChange(c rosterChange) error {
	if a.json() {
		return a.printJSON(c)
	}
	l := lookOf(a.out)
	for _, n := range c.Nodes {
		fmt.Fprintf(a.out, "%s %s  %s  %s  %s%s\n", l.symbol(good), n.ID, printable(n.Name), printable(n.OS), n.State, tagsText(n.Tags))
	}
	a.printCommitted(c)
	return nil
}

// printCommitted says what became of a change, and what is next.
func (a *app) printCommitted(c rosterChange) {
	switch {
	case c.Pushed:
		fmt.Fprintf(a.out, "commit %s, pushed\n", c.Commit[:12])
	case c.Commit != "":
		fmt.Fprintf(a.out, "commit %s; next: git push\n", c.Commit[:12])
	default:
		fmt.Fprintf(a.out, "changed: %s\nnext: git add nodes && git commit -S, which the role root must agree to, and push it\n", printable(strings.Join(c.Files, " ")))
	}
}

func (a *app) editRoster(ctx context.Context, f rosterFlags, change func(e *rosterEdit) (message string, nodes []schema.RosterLine, err error)) error {
	p, err := findPolicy(f.repo)
	if err != nil {
		return err
	}
	defer p.root.Close()
	e := &rosterEdit{p: p, texts: map[string][]byte{}}
	message, nodes, err := change(e)
	if err != nil {
		return err
	}
	c, err := e.commit(ctx, f, message, nodes)
	if err != nil {
		return err
	}
	if f.push && c.Commit == "" {
		return exitWith{code: exitError, err: errors.New("nothing is pushed, since nothing was committed"), hint: "git config commit.gpgsign true lets this command commit; the files are changed"}
	}
	if f.push {
		if _, err := (git{dir: p.dir}).run(ctx, nil, "push", "--quiet"); err != nil {
			return exitWith{code: exitError, err: err, hint: "the commit is made; git pull --rebase, then git push"}
		}
		c.Pushed = true
	}
	return a.printRosterChange(c)
}

func (a *app) nodeRetireCommand() *cobra.Command {
	var f rosterFlags
	cmd := &cobra.Command{
		Use:   "retire NODE ...",
		Short: "Take nodes out of the fleet",
		Long: `Set the state of nodes to retired in the roster of the work tree: from that commit on nothing is enforced there, other
nodes open no stream to it, and it gets no secrets that are encrypted anew. The line stays, so that what it
said stays checked; its proof stays, so that its activation has no more room than before. A node is a name or an id.

The change is committed where git is set to sign (commit.gpgsign), and counts once the role root has agreed to it. What
the node has read it knows: rotate the gossip key (dunlin key gossip rotate) and the secrets that it could read.`,
		Example: `  dunlin node retire web-7
  dunlin node retire web-7 web-8 --push`,
		Args: someArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.editRoster(cmd.Context(), f, func(e *rosterEdit) (string, []schema.RosterLine, error) {
				var out []schema.RosterLine
				var names []string
				for _, word := range args {
					l, err := e.find(word)
					if err != nil {
						return "", nil, err
					}
					if l.State == schema.NodeRetired {
						return "", nil, exitWith{code: exitError, err: fmt.Errorf("node %q is retired already", l.Name)}
					}
					l.State = schema.NodeRetired
					if err := e.replace(l); err != nil {
						return "", nil, err
					}
					out, names = append(out, l), append(names, l.Name)
				}
				return "nodes: retire " + listed(names, 5), out, nil
			})
		},
	}
	f.add(cmd)
	return cmd
}

// someArgs wants at least one argument.
func someArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return wrongCount(cmd, args)
	}
	return nil
}

func (a *app) nodeRenameCommand() *cobra.Command {
	var f rosterFlags
	cmd := &cobra.Command{
		Use:   "rename NODE NAME",
		Short: "Give a node another name",
		Long: `Change the name of a node in the roster of the work tree. Its id stays, and with it all that is known of it. Targets
that name it by its old name mean it no more. The change is committed where git is set to sign.`,
		Example: `  dunlin node rename web-7 web-fra-7`,
		Args:    exactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.editRoster(cmd.Context(), f, func(e *rosterEdit) (string, []schema.RosterLine, error) {
				l, err := e.find(args[0])
				if err != nil {
					return "", nil, err
				}
				was := l.Name
				if err := e.free(args[1]); err != nil {
					return "", nil, err
				}
				l.Name = args[1]
				return "nodes: rename " + was + " to " + l.Name, []schema.RosterLine{l}, e.replace(l)
			})
		},
	}
	f.add(cmd)
	return cmd
}

// free fails where a name can be no node's, or is one's already.
func (e *rosterEdit) free(name string) error {
	if !isNodeName(name) || matches(`^[a-z2-7]{26}$`, name) {
		return usageError{fmt.Errorf("the name %q has other characters than letters, digits, . _ and -, or the form of an id", name)}
	}
	all, err := e.nodes()
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.Name == name {
			return exitWith{code: exitError, err: fmt.Errorf("the name %q is that of node %s already", name, l.ID), hint: "names are unique in a fleet, also those of retired nodes; choose another"}
		}
	}
	return nil
}

func (a *app) nodeTagCommand() *cobra.Command {
	var f rosterFlags
	cmd := &cobra.Command{
		Use:   "tag NODE KEY=VALUE ... | KEY- ...",
		Short: "Change the tags of a node",
		Long: `Set tags of a node in the roster of the work tree (KEY=VALUE), or take some away (KEY-). Tags choose which policies,
runs and secrets are a node's. The change is committed where git is set to sign.`,
		Example: `  dunlin node tag web-7 role=web site=fra
  dunlin node tag web-7 canary-`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return wrongCount(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var set []string
			gone := map[string]bool{}
			for _, w := range args[1:] {
				if k, ok := strings.CutSuffix(w, "-"); ok && !strings.Contains(w, "=") {
					gone[k] = true
				} else if set = append(set, w); !strings.Contains(w, "=") {
					return exitWith{code: exitUsage, err: fmt.Errorf("node tag %s: %q is neither KEY=VALUE nor KEY-", args[0], w),
						hint: fmt.Sprintf("dunlin node tag %s %s=VALUE sets it, dunlin node tag %[1]s %[2]s- takes it away", safe.Shell(args[0]), safe.Shell(w))}
				}
			}
			given, err := parseTags(set)
			if err != nil {
				return err
			}
			return a.editRoster(cmd.Context(), f, func(e *rosterEdit) (string, []schema.RosterLine, error) {
				l, err := e.find(args[0])
				if err != nil {
					return "", nil, err
				}
				was := maps.Clone(l.Tags)
				if l.Tags == nil {
					l.Tags = map[string]string{}
				}
				for k := range gone {
					if _, has := l.Tags[k]; !has {
						return "", nil, exitWith{code: exitError, err: fmt.Errorf("node %q has no tag %q", l.Name, k)}
					}
					delete(l.Tags, k)
				}
				maps.Copy(l.Tags, given)
				if len(l.Tags) > maxTags {
					return "", nil, usageError{fmt.Errorf("%d tags are more than %d", len(l.Tags), maxTags)}
				}
				if maps.Equal(was, l.Tags) {
					return "", nil, exitWith{code: exitError, err: fmt.Errorf("node %q has these tags already", l.Name)}
				}
				return "nodes: tag " + l.Name + tagsText(l.Tags), []schema.RosterLine{l}, e.replace(l)
			})
		},
	}
	f.add(cmd)
	return cmd
}

// treeRoster lets package trust read the roster of a work tree. The tree has no name, and a file's hash is its path.
type treeRoster struct{ e *rosterEdit }

func (t treeRoster) Folder(_, dir string) (map[string]trust.Entry, error) {
	entries, err := fs.ReadDir(t.e.p.root.FS(), orWord(dir, "."))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", filepath.Join(t.e.p.dir, filepath.FromSlash(dir)), cause(err))
	}
	out := map[string]trust.Entry{}
	for _, e := range entries {
		switch {
		case e.IsDir():
			out[e.Name()] = trust.Entry{Mode: "40000"}
		case e.Type().IsRegular():
			out[e.Name()] = trust.Entry{Mode: "100644", Hash: slash.Join(dir, e.Name())}
		}
	}
	return out, nil
}

func (t treeRoster) Content(path string, limit int64) ([]byte, error) {
	b, err := t.e.text(path)
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%q: more than %d bytes", path, limit)
	}
	return b, err
}
