package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	slash "path"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

func (a *app) paramCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "param",
		Short: "Parameters and secrets of a policy repository",
		Long: `Write and read parameters: values that documents and policies name by path, as SSM's Parameter
Store has them. They are files of the policy repository, in parameters/, and reach the fleet
as every change does: signed, pushed, reviewed.

A SecureString is encrypted to the age keys of the nodes that its readers select, and of
fleet.recovery (at least two). No server and no agent is asked: who may read is in the
roster. get, list and history work on a node, too, under the commit in force there. Values of secrets come from standard input or a file, never from the command line,
and are printed only by get --reveal.`,
		Example: `  dunlin param put /prod/web/port 8443 --type String
  pwgen -s 32 1 | dunlin param put /prod/db/password --type SecureString --target tag:role=db
  dunlin param list /prod
  dunlin param rotate                      # what is not encrypted to its readers of today`,
		Args: groupArgs,
		RunE: a.needsCommand,
	}
	cmd.AddCommand(a.paramPutCommand(), a.paramGetCommand(), a.paramListCommand(), a.paramHistoryCommand(),
		a.paramLabelCommand(), a.paramRemoveCommand(), a.paramRotateCommand())
	return cmd
}

func addRepo(cmd *cobra.Command, repo *string) {
	cmd.Flags().StringVar(repo, "repo", "", repoAround)
}

// addReadRepo is addRepo of a command that writes nothing.
func addReadRepo(cmd *cobra.Command, repo *string) {
	cmd.Flags().StringVar(repo, "repo", "", "the policy: a folder of files or a bare Git repository (default: the one around this folder, else what is in force on this host)")
}

// paramTree is a policy repository whose parameters are changed, all of them or none.
type paramTree struct {
	p      *policyFolder // nil where it is only read, and has no files
	where  string        // what it is, for people
	commit string        // that is read; empty where files are
	repo   schema.Repo
	texts  map[string][]byte           // of files that change; nil: removed
	wanted map[string]schema.Parameter // that change
	gone   []string
	read   load.Func
}

func (a *app) openParams(ctx context.Context, dir string) (*paramTree, error) {
	p, err := findPolicy(dir)
	if errors.Is(err, errNoPolicyHere) {
		return nil, exitWith{code: exitError, err: err, hint: "this command writes files of the policy repository: go into a clone of it, or name one with --repo DIR"}
	}
	if err != nil {
		return nil, err
	}
	repo, err := a.evaluated(ctx, p.root.FS(), p.dir)
	if err != nil {
		p.root.Close()
		return nil, err
	}
	return &paramTree{p: p, where: p.dir, repo: repo, texts: map[string][]byte{}, wanted: map[string]schema.Parameter{}, read: a.evaluator()}, nil
}

// evaluated reads a policy repository that has no faults.
func (a *app) evaluated(ctx context.Context, files fs.FS, dir string) (schema.Repo, error) {
	repo, faults, err := a.evaluator()(ctx, files)
	if err == nil && schema.Refused(faults) {
		err = exitWith{code: exitFaults, err: fmt.Errorf("the repository has faults: %s", firstFaults(faults)), hint: "mend them first: dunlin validate " + safe.Shell(dir)}
	}
	return repo, err
}

// readParams is openParams for commands that write nothing: it takes a bare repository, too, and where none is named and
// none is around, the commit in force on this host.
func (a *app) readParams(ctx context.Context, dir string, keys keyFlags) (*paramTree, error) {
	if at, err := gitrepo.GitDir(dir); dir != "" && err == nil && at == dir {
		tree, err := openRevision(dir, "")
		if err != nil {
			return nil, err
		}
		repo, err := a.evaluated(ctx, tree, dir)
		if err != nil {
			return nil, err
		}
		return &paramTree{where: fmt.Sprintf("commit %s of %s", short(tree.Commit), dir), commit: tree.Commit, repo: repo}, nil
	}
	t, err := a.openParams(ctx, dir)
	if !errors.Is(err, errNoPolicyHere) {
		return t, err
	}
	none := err
	var p agent.Policy
	err = a.lookHere(ctx, localFlags{config: keys.config, state: keys.state}, func(l agent.Local) (err error) {
		if a.evaluate != nil {
			l.Evaluate, l.Judge = a.evaluate, nil
		}
		p, err = l.InForce(ctx)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, exitWith{code: exitError, err: fmt.Errorf("%w, and what is in force on this host may not be read: %w", errNoPolicyHere, cause(err)), hint: "use sudo; or go into a clone of the policy repository, or name one with --repo DIR"}
	case errors.Is(err, agent.ErrNoLastGood):
		if err.Error() != agent.ErrNoLastGood.Error() { // there is something, which cannot be read
			none = fmt.Errorf("%w; %w", errNoPolicyHere, err)
		}
		return nil, exitWith{code: exitError, err: none, hint: "go into a clone of the policy repository, or name one with --repo DIR; as root on a node it is what the agent put into force"}
	case err != nil:
		return nil, err
	}
	return &paramTree{where: fmt.Sprintf("commit %s, which is in force here", short(p.Commit)), commit: p.Commit, repo: p.Repo}, nil
}

func (t *paramTree) close() {
	if t.p != nil {
		t.p.root.Close()
	}
}

// foot ends a page with the commit that it is of.
func (t *paramTree) foot(p page) error {
	if t.commit != "" {
		fmt.Fprintf(p.w, "\n%s\n", p.look.dim(printable(t.where)))
	}
	return p.flush()
}

// firstFaults are the first of what makes a repository refused.
func firstFaults(faults []schema.Fault) string {
	var lines []string
	for _, f := range faults {
		if f.Severity != schema.SeverityWarning {
			lines = append(lines, f.String())
		}
	}
	const most = 3
	if more := len(lines) - most; more > 0 {
		lines = append(lines[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// get is a parameter that is there.
func (t *paramTree) get(name string) (schema.Parameter, error) {
	if p, ok := t.repo.Parameters[name]; ok {
		return p, nil
	}
	text := fmt.Sprintf("no parameter %q", name)
	if near := schema.Nearest(name, slices.Sorted(maps.Keys(t.repo.Parameters))); near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near)
	}
	hint := "dunlin param list shows all"
	switch plain, version, ok := strings.Cut(name, ":"); {
	case ok && t.repo.Parameters[plain].Versions != nil:
		text = fmt.Sprintf("%q names version %s of %q, and this command takes a name alone", name, version, plain)
		hint = "dunlin param history " + safe.Shell(plain) + " lists its versions"
	case len(t.repo.Parameters) == 0:
		text = fmt.Sprintf("no parameter %q: there are none in %s", name, t.where)
		hint = "dunlin param put NAME VALUE --type String writes one"
	}
	return schema.Parameter{}, exitWith{code: exitNoMatch, err: errors.New(text), hint: hint}
}

// file is where a parameter stands, or where a new one goes.
func (t *paramTree) file(name string) string {
	if at, ok := t.repo.Positions[load.ObjectPath("parameter", name)]; ok {
		return at.File
	}
	return objectFile("parameter", name)
}

// text is a file as it is or, where it is to change, as it will be.
func (t *paramTree) text(file string) ([]byte, error) {
	if b, ok := t.texts[file]; ok {
		return b, nil
	}
	b, _, err := t.p.read(file)
	return b, err
}

// set makes a parameter what it should be.
func (t *paramTree) set(name string, p schema.Parameter) error {
	old, there := t.repo.Parameters[name]
	file := t.file(name)
	text, err := t.text(file)
	switch {
	case there && err != nil:
		return err
	case there:
		text, err = load.EditParameter(file, text, name, old, p)
	case err == nil:
		return exitWith{code: exitError, err: fmt.Errorf("%q is there already, and does not declare %q", t.p.show(file), name), hint: "write the parameter into it by hand: dunlin new parameter " + safe.Shell(name) + " --stdout"}
	case errors.Is(err, fs.ErrNotExist):
		text, err = load.NewParameter(name, p)
	}
	if err != nil {
		return t.notLiteral(name, err)
	}
	t.texts[file], t.wanted[name] = text, p
	return nil
}

func (t *paramTree) notLiteral(name string, err error) error {
	if errors.Is(err, load.ErrNotLiteral) {
		return exitWith{code: exitError, err: err, hint: fmt.Sprintf("write it as parameter: %q: {...} with fields of its own in one place of %s, then try again", name, t.p.show(t.file(name)))}
	}
	return err
}

// remove takes a parameter away, and its file where nothing else is in it.
func (t *paramTree) remove(name string) error {
	file := t.file(name)
	text, err := t.text(file)
	if err != nil {
		return err
	}
	text, empty, err := load.RemoveParameter(file, text, name)
	if err != nil {
		return t.notLiteral(name, err)
	}
	if empty {
		text = nil
	}
	t.texts[file] = text
	t.gone = append(t.gone, name)
	return nil
}

// save writes what was changed, once the repository is seen to mean it and to be valid with it.
func (t *paramTree) save(ctx context.Context) ([]string, error) {
	repo, faults, err := t.read(ctx, changed{t.p.root.FS(), t.texts})
	if err != nil {
		return nil, err
	}
	if schema.Refused(faults) {
		return nil, exitWith{code: exitFaults, err: fmt.Errorf("nothing was written, since the repository would have faults: %s", firstFaults(faults))}
	}
	for name, want := range t.wanted {
		if got := repo.Parameters[name]; !reflect.DeepEqual(normal(got), normal(want)) {
			return nil, exitWith{code: exitError, err: fmt.Errorf("nothing was written: %q is made of more than %s says", name, t.p.show(t.file(name))), hint: "templates, or another file, have a part in it: change it by hand"}
		}
	}
	for _, name := range t.gone {
		if _, still := repo.Parameters[name]; still {
			return nil, exitWith{code: exitError, err: fmt.Errorf("nothing was written: %q is declared in more places than %s", name, t.p.show(t.file(name))), hint: "take it out by hand"}
		}
	}
	files := slices.Sorted(maps.Keys(t.texts))
	for _, file := range files {
		if t.texts[file] == nil {
			err = t.p.root.Remove(filepath.FromSlash(file))
		} else {
			err = t.p.write(file, t.texts[file], 0o666)
		}
		if err != nil {
			return nil, err
		}
	}
	t.repo = repo
	return files, nil
}

// normal is a parameter without differences that mean nothing.
func normal(p schema.Parameter) schema.Parameter {
	versions := map[string]schema.ParameterVersion{}
	for name, v := range p.Versions {
		if v.Created != nil {
			at := v.Created.UTC()
			v.Created = &at
		}
		if len(v.Labels) == 0 {
			v.Labels = nil
		}
		if len(v.Recipients) == 0 {
			v.Recipients = nil
		}
		versions[name] = v
	}
	p.Versions = versions
	if p.Policies != nil && p.Policies.Expires != nil {
		policies := *p.Policies
		at := policies.Expires.UTC()
		policies.Expires = &at
		p.Policies = &policies
	}
	p.Note = schema.Note{}
	return p
}

// changed is a file system with other content in some files; nil takes one away.
type changed struct {
	fs.FS
	texts map[string][]byte
}

func (c changed) Open(name string) (fs.File, error) {
	b, ok := c.texts[name]
	switch {
	case !ok:
		return c.FS.Open(name)
	case b == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &textFile{textInfo{name, int64(len(b))}, b}, nil
}

func (c changed) ReadDir(dir string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(c.FS, dir)
	here := map[string]fs.DirEntry{}
	for name, b := range c.texts {
		rest, below := name, true
		if dir != "." {
			rest, below = strings.CutPrefix(name, dir+"/")
		}
		if !below || b == nil {
			continue
		}
		if first, _, deeper := strings.Cut(rest, "/"); deeper {
			here[first] = folderEntry(first)
		} else {
			here[first] = fs.FileInfoToDirEntry(textInfo{name, int64(len(b))})
		}
	}
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || len(here) == 0) {
		return nil, err
	}
	var out []fs.DirEntry
	for _, e := range entries {
		if b, ok := c.texts[slash.Join(dir, e.Name())]; ok && b == nil {
			continue
		}
		if e.IsDir() || here[e.Name()] == nil {
			delete(here, e.Name())
			out = append(out, e)
		}
	}
	for _, e := range here {
		out = append(out, e)
	}
	slices.SortFunc(out, func(x, y fs.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	return out, nil
}

type textInfo struct {
	name string
	size int64
}

func (i textInfo) Name() string       { return slash.Base(i.name) }
func (i textInfo) Size() int64        { return i.size }
func (i textInfo) Mode() fs.FileMode  { return 0o644 }
func (i textInfo) ModTime() time.Time { return time.Time{} }
func (i textInfo) IsDir() bool        { return false }
func (i textInfo) Sys() any           { return nil }

type textFile struct {
	textInfo
	rest []byte
}

func (f *textFile) Stat() (fs.FileInfo, error) { return f.textInfo, nil }
func (f *textFile) Close() error               { return nil }
func (f *textFile) Read(b []byte) (int, error) {
	n := copy(b, f.rest)
	if f.rest = f.rest[n:]; n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// folderEntry is a folder that is not there yet.
type folderEntry string

func (e folderEntry) Name() string               { return string(e) }
func (e folderEntry) IsDir() bool                { return true }
func (e folderEntry) Type() fs.FileMode          { return fs.ModeDir }
func (e folderEntry) Info() (fs.FileInfo, error) { return nil, fs.ErrNotExist }

// keyFlags say with which key sealed values are opened.
type keyFlags struct {
	identity, config, state string
}

func (f *keyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.identity, "identity", "", "open secrets with the age keys in this file, which only its owner may read, such as one of fleet.recovery (default: this host's own key)")
	f.addHost(cmd)
}

// addHost adds where this host keeps its key and what is in force.
func (f *keyFlags) addHost(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "the host's own file (default "+defaultConfig+" where it exists)")
	cmd.Flags().StringVar(&f.state, "state", "", "the state folder: keys, journal and caches (default "+defaultState+")")
}

// open reads the keys.
func (f keyFlags) open() (secret.Keys, error) {
	if err := secret.Guard(); err != nil {
		return secret.Keys{}, err
	}
	if f.identity != "" {
		if f.state != "" || f.config != "" {
			return secret.Keys{}, usageError{errors.New("--identity, and --config or --state, are both given; give one")}
		}
		b, err := readPrivate(f.identity, 64<<10)
		if err != nil {
			return secret.Keys{}, err
		}
		defer clear(b)
		k, err := secret.ParseKeys(b)
		if err != nil {
			return k, exitWith{code: exitError, err: fmt.Errorf("identity %q: %w", f.identity, err), hint: "age-keygen writes such a file; keys of plugins and with passphrases are not read here: decrypt the file first"}
		}
		return k, nil
	}
	state := f.state
	if state == "" {
		_, c, err := readConfig(f.config)
		if err != nil {
			return secret.Keys{}, err
		}
		state = c.State
	}
	b, err := identity.AgeKey(state)
	var refused *identity.RefusedError
	switch {
	case errors.As(err, &refused):
		return secret.Keys{}, exitWith{code: exitError, err: err, hint: refused.Remedy}
	case errors.Is(err, fs.ErrNotExist):
		return secret.Keys{}, exitWith{code: exitError, err: fmt.Errorf("this host has no key yet: %w", err), hint: "name a file with a key of fleet.recovery: --identity FILE"}
	case err != nil:
		return secret.Keys{}, exitWith{code: exitError, err: err, hint: "this host's key is root's: use sudo, or name a file with a key of fleet.recovery: --identity FILE"}
	}
	defer clear(b)
	return secret.ParseKeys(b)
}

// readPrivate reads a file with a private key, unless others may read it: what is opened with it is theirs as well.
func readPrivate(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read identity: %w", err)
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows": // there the bits say nothing
		return nil, exitWith{code: exitError, err: fmt.Errorf("identity %q has mode %04o: others may read it", path, info.Mode().Perm()),
			hint: fmt.Sprintf("chmod 0600 %s; where others can have read it, make another key, put it in its place in fleet.recovery, and dunlin param rotate --all", safe.Shell(path))}
	}
	b, err := readAllLimited(f, path, most)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	return b, nil
}

var errTooLong = errors.New("more")

// readLimited reads a file of at most so many bytes.
func readLimited(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAllLimited(f, path, most)
}

func readAllLimited(r io.Reader, what string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		clear(b)
		return nil, fmt.Errorf("read %s: %w", what, err)
	case int64(len(b)) > most:
		clear(b)
		return nil, fmt.Errorf("read %s: %w than %d bytes", what, errTooLong, most)
	}
	return b, nil
}

// openVersion opens one version of a SecureString.
func (t *paramTree) openVersion(name, version string, v schema.ParameterVersion, keys secret.Keys) (secret.Secret, error) {
	n, err := strconv.Atoi(version)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("version %q of %s is no number", version, name)
	}
	s, err := secret.Open(secret.ID{Fleet: t.repo.Fleet.Name, Name: name, Version: n}, v.Value, keys)
	if errors.Is(err, secret.ErrNotReader) {
		return s, exitWith{code: exitNotTrusted, err: err, hint: "its readers and the keys of fleet.recovery can: --identity FILE names a file with one"}
	}
	return s, err
}

// versionNumbers are the versions of a parameter in order.
func versionNumbers(p schema.Parameter) []int {
	var out []int
	for name := range p.Versions {
		if n, err := strconv.Atoi(name); err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// choose finds the version that a selector means: a number, a label, or nothing for the current one.
func choose(name string, p schema.Parameter, selector string) (string, schema.ParameterVersion, error) {
	if selector == "" {
		n, v := p.Current()
		return strconv.Itoa(n), v, nil
	}
	if v, ok := p.Versions[selector]; ok {
		return selector, v, nil
	}
	var labels []string
	for number, v := range p.Versions {
		if slices.Contains(v.Labels, selector) {
			return number, v, nil
		}
		labels = append(labels, v.Labels...)
	}
	slices.Sort(labels)
	err := fmt.Errorf("parameter %q has no version or label %q; it has versions %s, labels %s", name, selector,
		strings.Trim(fmt.Sprint(versionNumbers(p)), "[]"), cmp.Or(strings.Join(labels, " "), "none"))
	return "", schema.ParameterVersion{}, exitWith{code: exitNoMatch, err: err}
}
