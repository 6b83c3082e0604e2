package load

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

func (t *tree) write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	number := func(n int64) { b.Write(binary.AppendUvarint(nil, uint64(n))) } // bufio keeps the error for Flush
	text := func(s string) { number(int64(len(s))); b.WriteString(s) }
	b.WriteString(archiveMagic)
	number(int64(len(t.faults)))
	for _, f := range t.faults {
		text(f.File)
		number(int64(f.Line))
		number(int64(f.Column))
		text(f.Message)
	}
	number(int64(len(t.size)))
	for _, name := range slices.Sorted(maps.Keys(t.size)) {
		text(name)
		number(t.size[name])
	}
	number(int64(len(t.content)))
	for _, name := range slices.Sorted(maps.Keys(t.content)) {
		text(name)
		number(int64(len(t.content[name])))
		b.Write(t.content[name])
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
	if a.sum += n; a.err == nil && a.sum > 2*maxTotal {
		a.err = fmt.Errorf("more than %d bytes", 2*maxTotal)
	}
	if a.err != nil {
		return nil
	}
	b := make([]byte, n)
	_, a.err = io.ReadFull(a.r, b)
	return b
}

// maxName is the longest path of a file.
const maxName = 4096

func (a *archiveReader) name() string {
	s := string(a.bytes(maxName))
	if a.err == nil && !fs.ValidPath(s) {
		a.err = fmt.Errorf("%q is not a path", s)
	}
	return s
}

func readArchive(r io.Reader) (*tree, error) {
	a := &archiveReader{r: bufio.NewReaderSize(r, 64<<10)}
	magic := make([]byte, len(archiveMagic))
	if _, err := io.ReadFull(a.r, magic); err != nil || string(magic) != archiveMagic {
		return nil, fmt.Errorf("read tree: not a tree of this version")
	}
	t := &tree{content: map[string][]byte{}, size: map[string]int64{}}
	for range a.number(maxFiles + 1) {
		if a.err != nil {
			break
		}
		f := schema.Fault{File: string(a.bytes(maxName)), Severity: schema.SeverityError}
		f.Line, f.Column = int(a.number(maxFile+1)), int(a.number(maxFile+1))
		f.Message = string(a.bytes(maxName))
		t.faults = append(t.faults, f)
	}
	for range a.number(maxFiles + 1) {
		if a.err != nil {
			break
		}
		name := a.name()
		t.size[name] = a.number(1 << 62)
	}
	for range a.number(maxFiles + 1) {
		if a.err != nil {
			break
		}
		name := a.name()
		t.content[name] = a.bytes(maxFile)
	}
	if a.err != nil {
		return nil, fmt.Errorf("read tree: %w", a.err)
	}
	return t, nil
}
