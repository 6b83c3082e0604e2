package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	slash "path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// repoAround is what --repo is for commands that work in a repository.
const repoAround = "the policy repository's work tree (default: the one around this folder)"

// policyFolder is a policy repository on disk that people work in. Nothing is read or written outside of it, whatever
// links there may be.
type policyFolder struct {
	dir  string // as people name it
	root *os.Root
}

// findPolicy opens the repository that dir names, or where dir is empty the one around the current folder: the nearest
// folder upwards that has fleet.cue.
func findPolicy(dir string) (*policyFolder, error) {
	if dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "fleet.cue")); err != nil {
			if at, e := gitrepo.GitDir(dir); e == nil && at == dir {
				return nil, exitWith{code: exitError, err: fmt.Errorf("%q is a repository without a work tree, and this command works on files", dir), hint: "git clone " + safe.Shell(dir) + ", and name the clone"}
			}
			return nil, noRepository(fmt.Errorf("%q is no policy repository: %w", dir, cause(err)))
		}
		return openPolicy(dir)
	}
	at, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find policy repository: %w", err)
	}
	up := "."
	for {
		if info, err := os.Lstat(filepath.Join(at, "fleet.cue")); err == nil && info.Mode().IsRegular() {
			return openPolicy(up)
		}
		next := filepath.Dir(at)
		if next == at {
			return nil, noRepository(errNoPolicyHere)
		}
		at, up = next, filepath.Join(up, "..")
	}
}

// errNoPolicyHere says that no folder was named, and there is none around.
var errNoPolicyHere = errors.New("no policy repository here: neither this folder nor one above has a fleet.cue")

func noRepository(err error) error {
	return exitWith{code: exitError, err: err, hint: "make one with dunlin init DIR, or go into one"}
}

func openPolicy(dir string) (*policyFolder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open policy repository: %w", err)
	}
	return &policyFolder{dir: dir, root: root}, nil
}

// cause is err without the path that it repeats.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// show is a file's name as people can use it from where they are.
func (p *policyFolder) show(name string) string {
	return filepath.Join(p.dir, filepath.FromSlash(name))
}

// read gives a regular file; fs.ErrNotExist where there is none.
func (p *policyFolder) read(name string) ([]byte, fs.FileMode, error) {
	if err := p.plain(name); err != nil {
		return nil, 0, err
	}
	f, err := p.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, 0, fmt.Errorf("read %q: %w", p.show(name), cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read %q: %w", p.show(name), cause(err))
	}
	const most = 4 << 20 // more than any file that is evaluated
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("read %q: %w", p.show(name), cause(err))
	case len(b) > most:
		return nil, 0, fmt.Errorf("read %q: more than %d bytes", p.show(name), most)
	}
	return b, info.Mode().Perm(), nil
}

// plain refuses what is not a regular file, or lies below what is not a folder: a link may lead anywhere.
func (p *policyFolder) plain(name string) error {
	parts := strings.Split(name, "/")
	for i := range parts {
		at := strings.Join(parts[:i+1], "/")
		info, err := p.root.Lstat(filepath.FromSlash(at))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("look at %q: %w", p.show(at), cause(err))
		case info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%q is a symbolic link; a policy repository holds folders and files only", p.show(at))
		case i < len(parts)-1 && !info.IsDir():
			return fmt.Errorf("%q is not a folder", p.show(at))
		case i == len(parts)-1 && !info.Mode().IsRegular():
			return fmt.Errorf("%q is not a file", p.show(at))
		}
	}
	return nil
}

// write makes or replaces a file whole or not at all, with its folders. A file that is replaced keeps its mode.
func (p *policyFolder) write(name string, text []byte, mode fs.FileMode) (err error) {
	if err := p.plain(name); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %q: %w", p.show(name), cause(err))
		}
	}()
	dir := filepath.FromSlash(slash.Dir(name))
	if err := p.root.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	old, statErr := p.root.Lstat(filepath.FromSlash(name))
	if statErr == nil {
		mode = old.Mode().Perm()
	}
	temp := filepath.Join(dir, ".dunlin-"+rand.Text())
	f, err := p.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = p.root.Remove(temp)
		}
	}()
	if statErr == nil {
		keepOwner(f, old)
	}
	_, err = f.Write(text)
	if err == nil && statErr == nil && runtime.GOOS != "windows" {
		err = f.Chmod(mode) // whatever the umask
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return p.root.Rename(temp, filepath.FromSlash(name))
}

// A change of one file of a repository.
type fileChange struct {
	name string
	text []byte // nil: taken away
	mode fs.FileMode
	new  bool
}

// changes compares files that should be with those that are, in the order of names given.
func (p *policyFolder) changes(names []string, want map[string][]byte) ([]fileChange, error) {
	var out []fileChange
	for _, name := range names {
		have, mode, err := p.read(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if want[name] != nil {
				out = append(out, fileChange{name, want[name], 0o666, true})
			}
		case err != nil:
			return nil, err
		case !bytes.Equal(have, want[name]):
			out = append(out, fileChange{name, want[name], mode, false})
		}
	}
	return out, nil
}

// walkFiles calls f for each file below a folder of a repository, in lexical order; a folder that is not there has none.
// Links and what else is no file are passed over.
func walkFiles(fsys fs.FS, dir string, f func(name string) error) error {
	return fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case name == dir && errors.Is(err, fs.ErrNotExist):
			return fs.SkipAll
		case err != nil:
			return fmt.Errorf("read %q: %w", name, cause(err))
		case d.IsDir() && name != dir && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		return f(name)
	})
}

// moduleFile is cue.mod/module.cue of a repository. The path is nobody's: nothing is fetched by it.
func moduleFile(fleet string) string {
	word := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(fleet)), "-")
	return "module: \"" + word + ".example/fleet@v0\"\nlanguage: version: \"v0.17.0\"\n"
}
