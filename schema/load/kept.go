package load

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/child"
	"github.com/dunlin-dev/dunlin/schema/load/codec"
)

// An evaluated repository is kept as: magic, the identity of what it is, the values one after the other, and the SHA-256
// of all that. Numbers are varints, texts and lists have their length before them, maps are sorted. The identity is of the
// Go types that the values are made of, of the program that judged them, and of the files that were judged: what another
// program kept, or what was kept of other files, is an error and never misread.
const cacheMagic = "dunlin policy 3\n"

// ErrCache says that bytes are not an evaluated repository of this version.
var ErrCache = errors.New("not an evaluated policy of this version")

// cached is an evaluated repository as it is kept, and as the child gives it.
type cached struct {
	Repo    schema.Repo
	Faults  []schema.Fault
	Sources []string // of a child's answer: files that hosts are given
	Known   *Known   // nil where it was not kept
}

// headSize is what stands before the values.
const headSize = int64(len(cacheMagic) + sha256.Size)

// headOf is that of what is kept of some files; of names them.
func headOf(of string) []byte {
	h := sha256.New()
	for _, part := range []string{string(codec.Types[cached]()), programName(), of} {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return h.Sum([]byte(cacheMagic))
}

// programName is this program: what it was built of, and the very file that runs, since two builds may say the same of
// themselves.
var programName = sync.OnceValue(func() string {
	var b strings.Builder
	if info, ok := debug.ReadBuildInfo(); ok {
		b.WriteString(info.String())
	}
	if self, err := child.Program(); err == nil {
		if info, err := os.Stat(self); err == nil {
			fmt.Fprintf(&b, "\n%d bytes of %d", info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
})

// Encode writes an evaluated repository; of names the files that it was made of, as Digest does. Equal values have equal bytes.
func Encode(w io.Writer, e Evaluated, of string) error {
	sum := sha256.New()
	if err := codec.Write(io.MultiWriter(w, sum), headOf(of), cached{Repo: e.Repo, Faults: e.Faults, Known: e.Known}); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// Decode reads what Encode wrote of the same files, size bytes of it. Anything else is an error that wraps ErrCache.
func Decode(r io.Reader, size int64, of string) (Evaluated, error) {
	fail := func(err error) (Evaluated, error) { return Evaluated{}, fmt.Errorf("%w: %w", ErrCache, err) }
	want := headOf(of)
	head := make([]byte, headSize)
	if size < headSize+sha256.Size {
		return Evaluated{}, ErrCache
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return fail(err)
	}
	if !bytes.Equal(head, want) {
		return Evaluated{}, ErrCache
	}
	// Texts are parts of one string, which is filled as it is read and copied no more.
	var body strings.Builder
	n := size - headSize - sha256.Size
	body.Grow(int(n))
	check := sha256.New()
	check.Write(head)
	buf := make([]byte, 32<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(&body, check)}, struct{ io.Reader }{io.LimitReader(r, n)}, buf); err != nil {
		return fail(err)
	}
	sum := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r, sum); err != nil {
		return fail(err)
	}
	if int64(body.Len()) != n || !bytes.Equal(check.Sum(nil), sum) {
		return fail(errors.New("damaged"))
	}
	c, err := codec.Read[cached](body.String())
	if err != nil {
		return fail(err)
	}
	return Evaluated{Repo: c.Repo, Faults: c.Faults, Known: c.Known}, nil
}

// encodeAs gives any value made of such types, after magic and the fingerprint of its types. It does not stay: both ends are
// one program, and the pipe between them does not change what goes through.
func encodeAs[T any](magic string, v T) []byte {
	return codec.Append(append([]byte(magic), codec.Types[T]()...), v)
}

func decodeAs[T any](magic string, b []byte) (*T, error) {
	body, ok := bytes.CutPrefix(b, append([]byte(magic), codec.Types[T]()...))
	if !ok {
		return nil, ErrCache
	}
	v, err := codec.Read[T](string(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	return v, nil
}
