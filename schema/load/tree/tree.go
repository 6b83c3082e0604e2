// Package tree reads the files of a policy repository, within bounds: what of them is evaluated, how large the others are,
// and what is wrong with the tree itself. A tree also crosses to the child, which trusts none of it.
package tree

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	slash "path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// Bounds of a repository.
const (
	MaxFiles   = 20_000
	MaxFile    = 1 << 20  // bytes of a .cue file, a roster file, or a source
	MaxTotal   = 64 << 20 // bytes of all files that are evaluated
	MaxFolders = 64       // within each other
)

// A Tree is the part of a repository that is evaluated, and the size of every other file.
type Tree struct {
	Content map[string][]byte // .cue files, roster, documents
	Size    map[string]int64  // every file, by path from the root
	Faults  []schema.Fault    // what is wrong with the tree itself
}

// Read walks a repository. What is not a regular file is a fault, as is a
// file that is too large to be what its name says. Other large files are let
// be: only their size is taken. An error means that something could not be read.
func Read(fsys fs.FS) (*Tree, error) {
	t := &Tree{Content: map[string][]byte{}, Size: map[string]int64{}}
	var total int64
	err := walk(fsys, func(name string, d fs.DirEntry) error {
		if len(name) > MaxName || strings.Count(name, "/") > MaxFolders {
			t.fault(safe.Clip(strings.ToValidUTF8(name, "\uFFFD"), 200), "a path of %d bytes, %d folders deep; a policy repository has paths of at most %d bytes, %d folders deep",
				len(name), strings.Count(name, "/"), MaxName, MaxFolders)
			return nil
		}
		if !utf8.ValidString(name) {
			t.fault(safe.Clip(strings.ToValidUTF8(name, "\uFFFD"), 200), "%q: the name is not UTF-8; rename it", safe.Clip(name, 200))
			return nil
		}
		if why := notRegular(d.Type()); why != "" {
			t.fault(name, "%s", why)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("read %q: %w", name, err)
		}
		t.Size[name] = info.Size()
		if len(t.Size) > MaxFiles {
			t.fault("", "more than %d files; a policy repository has fewer", MaxFiles)
			return fs.SkipAll
		}
		if !Evaluated(name) {
			return nil
		}
		if info.Size() > MaxFile {
			t.fault(name, "%d bytes; a file that is evaluated has at most %d", info.Size(), MaxFile)
			return nil
		}
		if total += info.Size(); total > MaxTotal {
			t.fault("", "more than %d MiB of policy; split the repository", MaxTotal>>20)
			return fs.SkipAll
		}
		b, err := ReadFile(fsys, name, MaxFile)
		if err != nil {
			return err
		}
		if at := Hidden(b); at >= 0 && slash.Ext(name) != ".cue" { // of these the scan tells
			t.Faults = append(t.Faults, Turned(name, b, at))
			return nil
		}
		t.Content[name] = b
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Tree) fault(name, format string, a ...any) {
	t.Faults = append(t.Faults, schema.Fault{File: name, Message: fmt.Sprintf(format, a...), Severity: schema.SeverityError})
}

// walk calls f for everything but folders, in lexical order, without .git.
func walk(fsys fs.FS, f func(name string, d fs.DirEntry) error) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("read %q: %w", name, fs.ErrPermission)
		case err != nil:
			return fmt.Errorf("read %q: %w", name, err)
		case name == ".git":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil // a work tree's pointer to its repository
		case d.IsDir() && !utf8.ValidString(name): // no fs.FS opens it; f tells of it
			return cmp.Or(f(name, d), fs.SkipDir)
		case d.IsDir():
			if len(name) > MaxName || strings.Count(name, "/") > MaxFolders {
				return cmp.Or(f(name, d), fs.SkipDir)
			}
			return nil
		}
		return f(name, d)
	})
}

// Hidden finds the first character that turns the direction of text around (Unicode UAX 9: embeddings, overrides and
// isolates): with these a reviewer is shown another text than is evaluated (CVE-2021-42574). -1 is none.
func Hidden(b []byte) int {
	for at := 0; ; at++ {
		i := bytes.IndexByte(b[at:], 0xE2)
		if i < 0 {
			return -1
		}
		at += i
		if r := firstRune(b[at:]); r >= '\u202A' && r <= '\u202E' || r >= '\u2066' && r <= '\u2069' {
			return at
		}
	}
}

// Turned is the fault of a hidden character.
func Turned(name string, text []byte, at int) schema.Fault {
	before := text[:at]
	return schema.Fault{File: name, Line: 1 + bytes.Count(before, []byte("\n")), Column: len(before) - bytes.LastIndexByte(before, '\n'), Severity: schema.SeverityError,
		Message: fmt.Sprintf("%U turns the direction of text around, so that people read another text than is evaluated; take it out", firstRune(text[at:]))}
}

func firstRune(b []byte) rune {
	r, _ := utf8.DecodeRune(b)
	return r
}

func notRegular(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return ""
	case m&fs.ModeSymlink != 0:
		return "a symbolic link; a policy repository holds folders and files only"
	}
	return "neither a folder nor a file"
}

// Evaluated reports whether the loader needs what is in a file.
func Evaluated(name string) bool {
	switch slash.Ext(name) {
	case ".cue":
		return true
	case ".jsonl":
		return slash.Dir(name) == "nodes"
	case ".json", ".yaml", ".yml":
		return slash.Dir(name) == "documents"
	}
	return false
}

// Files are the files of a repository that are evaluated, in lexical order.
func Files(fsys fs.FS) ([]string, error) {
	var names []string
	err := walk(fsys, func(name string, d fs.DirEntry) error {
		if d.Type().IsRegular() && Evaluated(name) && utf8.ValidString(name) {
			names = append(names, name)
		}
		if len(names) > MaxFiles {
			return fs.SkipAll
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// ReadFile reads at most limit bytes; more is an error.
func ReadFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, cause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %q: not a regular file any more", name)
	}
	b := make([]byte, 0, min(info.Size(), limit)+1)
	for {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > limit:
			return nil, fmt.Errorf("read %q: more than %d bytes", name, limit)
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, fmt.Errorf("read %q: %w", name, cause(err))
		case len(b) == cap(b):
			b = slices.Grow(b, 4096)
		}
	}
}

// cause is err without the path that it repeats.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Blobs reads the files that policies take as their source, which the evaluation has found to exist.
func Blobs(fsys fs.FS, sources []string) (map[string]schema.Blob, error) {
	if len(sources) == 0 {
		return nil, nil
	}
	out := make(map[string]schema.Blob, len(sources))
	for _, name := range sources {
		b, err := ReadFile(fsys, name, MaxFile)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		out[name] = schema.Blob{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
	}
	return out, nil
}

// Digest is the SHA-256, in hex, of all that the meaning of a repository can
// depend on: the path and kind of everything in it, and what is in each file of
// at most 1 MiB (of a larger one its size). Equal digests evaluate alike. It
// reads each file once.
func Digest(fsys fs.FS) (string, error) {
	h := sha256.New()
	var buf []byte
	n := 0
	err := walk(fsys, func(name string, d fs.DirEntry) error {
		if n++; n > MaxFiles {
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("read %q: %w", name, cause(err))
		}
		fmt.Fprintf(h, "%q %v %d\n", name, d.Type(), info.Size())
		if !d.Type().IsRegular() || info.Size() > MaxFile || !utf8.ValidString(name) { // the last is a fault, and cannot be opened
			return nil
		}
		f, err := fsys.Open(name)
		if err != nil {
			return fmt.Errorf("read %q: %w", name, cause(err))
		}
		defer f.Close()
		if buf == nil {
			buf = make([]byte, 64<<10)
		}
		// The size above frames the content: a file that changed its size meanwhile is an error.
		got, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{io.LimitReader(f, MaxFile+1)}, buf)
		switch {
		case err != nil:
			return fmt.Errorf("read %q: %w", name, cause(err))
		case got != info.Size():
			return fmt.Errorf("read %q: it changed while it was read", name)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
