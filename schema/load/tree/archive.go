package tree

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// The tree crosses to the child as magic, then counted lists: of faults (file,
// line, column, message), of sizes (name, bytes), of contents (name, bytes). Numbers are
// uvarints, texts have their length before them. The child trusts none of it.
const archiveMagic = "dunlin tree 1\n"

// Write writes the tree as ReadArchive reads it.
func (t *Tree) Write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	number := func(n int64) { b.Write(binary.AppendUvarint(nil, uint64(n))) } // bufio keeps the error for Flush
	text := func(s string) { number(int64(len(s))); b.WriteString(s) }
	b.WriteString(archiveMagic)
	number(int64(len(t.Faults)))
	for _, f := range t.Faults {
		text(f.File)
		number(int64(f.Line))
		number(int64(f.Column))
		text(f.Message)
	}
	number(int64(len(t.Size)))
	for _, name := range slices.Sorted(maps.Keys(t.Size)) {
		text(name)
		number(t.Size[name])
	}
	number(int64(len(t.Content)))
	for _, name := range slices.Sorted(maps.Keys(t.Content)) {
		text(name)
		number(int64(len(t.Content[name])))
		b.Write(t.Content[name])
	}
	return b.Flush()
}

// archiveReader keeps the first error; after it everything reads as zero.
type archiveReader struct {
	r   *bufio.Reader
	err error
	sum int64 // bytes of texts so far
}

func (a *archiveReader) number(limit int64) int64 {
	if a.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(a.r)
	if err == nil && n > uint64(limit) {
		err = fmt.Errorf("%d is more than %d", n, limit)
	}
	if a.err = err; err != nil {
		return 0
	}
	return int64(n)
}

func (a *archiveReader) bytes(limit int64) []byte {
	n := a.number(limit)
	if a.sum += n; a.err == nil && a.sum > 2*MaxTotal {
		a.err = fmt.Errorf("more than %d bytes", 2*MaxTotal)
	}
	if a.err != nil {
		return nil
	}
	b := make([]byte, n)
	_, a.err = io.ReadFull(a.r, b)
	return b
}

// MaxName is the longest path of a file.
const MaxName = 4096

func (a *archiveReader) name() string {
	s := string(a.bytes(MaxName))
	if a.err == nil && !fs.ValidPath(s) {
		a.err = fmt.Errorf("%q is not a path", s)
	}
	return s
}

// ReadArchive reads what Write wrote. Anything else is an error.
func ReadArchive(r io.Reader) (*Tree, error) {
	a := &archiveReader{r: bufio.NewReaderSize(r, 64<<10)}
	magic := make([]byte, len(archiveMagic))
	if _, err := io.ReadFull(a.r, magic); err != nil || string(magic) != archiveMagic {
		return nil, fmt.Errorf("read tree: not a tree of this version")
	}
	t := &Tree{Content: map[string][]byte{}, Size: map[string]int64{}}
	for range a.number(MaxFiles + 1) {
		if a.err != nil {
			break
		}
		f := schema.Fault{File: string(a.bytes(MaxName)), Severity: schema.SeverityError}
		f.Line, f.Column = int(a.number(MaxFile+1)), int(a.number(MaxFile+1))
		f.Message = string(a.bytes(MaxName))
		t.Faults = append(t.Faults, f)
	}
	for range a.number(MaxFiles + 1) {
		if a.err != nil {
			break
		}
		name := a.name()
		t.Size[name] = a.number(1 << 62)
	}
	for range a.number(MaxFiles + 1) {
		if a.err != nil {
			break
		}
		name := a.name()
		t.Content[name] = a.bytes(MaxFile)
	}
	if a.err != nil {
		return nil, fmt.Errorf("read tree: %w", a.err)
	}
	return t, nil
}
