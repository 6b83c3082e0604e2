package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
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
	for _, part := range []string{string(typesOf(reflect.TypeFor[cached]())), programName(), of} {
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
	if self, err := thisProgram(); err == nil {
		if info, err := os.Stat(self); err == nil {
			fmt.Fprintf(&b, "\n%d bytes of %d", info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
})

// Encode writes an evaluated repository; of names the files that it was made of, as Digest does. Equal values have equal bytes.
func Encode(w io.Writer, e Evaluated, of string) error {
	sum := sha256.New()
	enc := &encoder{b: headOf(of), to: io.MultiWriter(w, sum)}
	enc.value(reflect.ValueOf(cached{Repo: e.Repo, Faults: e.Faults, Known: e.Known}))
	if enc.flush(); enc.err != nil {
		return enc.err
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
	var c cached
	d := &decoder{s: body.String()}
	if err := d.read(reflect.ValueOf(&c).Elem()); err != nil {
		return fail(err)
	}
	if d.s != "" {
		return fail(errors.New("there is more after it"))
	}
	return Evaluated{Repo: c.Repo, Faults: c.Faults, Known: c.Known}, nil
}

// encodeAs gives any value made of such types, after magic and the fingerprint of its types. It does not stay: both ends are
// one program, and the pipe between them does not change what goes through.
func encodeAs[T any](magic string, v T) []byte {
	e := &encoder{b: append([]byte(magic), typesOf(reflect.TypeFor[T]())...)}
	e.value(reflect.ValueOf(&v).Elem())
	return e.b
}

func decodeAs[T any](magic string, b []byte) (*T, error) {
	head := append([]byte(magic), typesOf(reflect.TypeFor[T]())...)
	body, ok := bytes.CutPrefix(b, head)
	if !ok {
		return nil, ErrCache
	}
	v := new(T)
	d := &decoder{s: string(body)}
	if err := d.read(reflect.ValueOf(v).Elem()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	if d.s != "" {
		return nil, fmt.Errorf("%w: there is more after it", ErrCache)
	}
	return v, nil
}

// typesOf is the SHA-256 of the names and types of everything that is encoded.
func typesOf(t reflect.Type) []byte {
	var b strings.Builder
	describe(&b, t, map[reflect.Type]bool{})
	sum := sha256.Sum256([]byte(b.String()))
	return sum[:]
}

func describe(b *strings.Builder, t reflect.Type, seen map[reflect.Type]bool) {
	b.WriteString(t.String() + " " + t.Kind().String() + ";")
	if seen[t] || t == reflect.TypeFor[time.Time]() {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			b.WriteString(t.Field(i).Name + " ")
			describe(b, t.Field(i).Type, seen)
		}
	case reflect.Map:
		describe(b, t.Key(), seen)
		describe(b, t.Elem(), seen)
	case reflect.Slice, reflect.Pointer, reflect.Array:
		describe(b, t.Elem(), seen)
	}
}

// encoder gathers bytes, and writes them on where there is somewhere to write them to.
type encoder struct {
	b   []byte
	to  io.Writer // nil: they stay
	err error
}

// encoderRoom is how many bytes are gathered before they are written.
const encoderRoom = 64 << 10

func (e *encoder) flush() {
	if e.to != nil && e.err == nil {
		_, e.err = e.to.Write(e.b)
		e.b = e.b[:0]
	}
}

func (e *encoder) number(n int) { e.b = binary.AppendUvarint(e.b, uint64(n)) }

func (e *encoder) text(s string) {
	e.number(len(s))
	e.b = append(e.b, s...)
}

// value writes the kinds that schema has; TestEveryTypeHasACode holds that there are no others.
func (e *encoder) value(v reflect.Value) {
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		e.b = binary.AppendVarint(e.b, t.Unix())
		e.number(t.Nanosecond())
		_, offset := t.Zone()
		e.b = binary.AppendVarint(e.b, int64(offset))
		return
	}
	switch v.Kind() {
	case reflect.String:
		e.text(v.String())
	case reflect.Bool:
		n := 0
		if v.Bool() {
			n = 1
		}
		e.number(n)
	case reflect.Int, reflect.Int64:
		e.b = binary.AppendVarint(e.b, v.Int())
	case reflect.Uint16, reflect.Uint32:
		e.b = binary.AppendUvarint(e.b, v.Uint())
	case reflect.Struct:
		for i := range v.NumField() {
			e.value(v.Field(i))
		}
	case reflect.Pointer:
		if v.IsNil() {
			e.number(0)
			return
		}
		e.number(1)
		e.value(v.Elem())
	case reflect.Slice:
		e.length(v)
		for i := range v.Len() {
			e.value(v.Index(i))
		}
	case reflect.Map:
		e.length(v)
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			e.text(k.String())
			e.value(v.MapIndex(k))
			if len(e.b) > encoderRoom {
				e.flush()
			}
		}
	}
}

// length tells nil from empty.
func (e *encoder) length(v reflect.Value) {
	if v.IsNil() {
		e.number(0)
		return
	}
	e.number(v.Len() + 1)
}

// decoder reads texts as parts of s, without copying them.
type decoder struct{ s string }

var errShort = errors.New("it ends too early")

func (d *decoder) uvarint() (uint64, error) {
	var n uint64
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return n, nil
		}
	}
	return 0, errShort
}

func (d *decoder) varint() (int64, error) {
	n, err := d.uvarint()
	return int64(n>>1) ^ -int64(n&1), err
}

// count reads a number of things that each take a byte at least.
func (d *decoder) count() (int, error) {
	n, err := d.uvarint()
	if err == nil && n > uint64(len(d.s))+1 {
		err = errShort
	}
	return int(n), err
}

func (d *decoder) text() (string, error) {
	n, err := d.count()
	if err != nil || n > len(d.s) {
		return "", errShort
	}
	t := d.s[:n]
	d.s = d.s[n:]
	return t, nil
}

func (d *decoder) read(v reflect.Value) error {
	if v.Type() == reflect.TypeFor[time.Time]() {
		return d.time(v)
	}
	switch v.Kind() {
	case reflect.String:
		s, err := d.text()
		v.SetString(s)
		return err
	case reflect.Bool:
		n, err := d.uvarint()
		v.SetBool(n == 1)
		return err
	case reflect.Int, reflect.Int64:
		n, err := d.varint()
		v.SetInt(n)
		return err
	case reflect.Uint16, reflect.Uint32:
		n, err := d.uvarint()
		v.SetUint(n)
		return err
	case reflect.Struct:
		for i := range v.NumField() {
			if err := d.read(v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Pointer:
		n, err := d.uvarint()
		if err != nil || n == 0 {
			return err
		}
		v.Set(reflect.New(v.Type().Elem()))
		return d.read(v.Elem())
	case reflect.Slice:
		n, err := d.count()
		if err != nil || n == 0 {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
		for i := range n - 1 {
			if err := d.read(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		return d.mapping(v)
	default:
		return fmt.Errorf("no code for %s", v.Type())
	}
	return nil
}

func (d *decoder) mapping(v reflect.Value) error {
	n, err := d.count()
	if err != nil || n == 0 {
		return err
	}
	if m, ok := v.Addr().Interface().(*map[string]schema.Position); ok { // by far the most of it
		*m = make(map[string]schema.Position, n-1)
		for range n - 1 {
			k, err := d.text()
			if err != nil {
				return err
			}
			var p schema.Position
			if p.File, err = d.text(); err != nil {
				return err
			}
			line, err1 := d.varint()
			column, err2 := d.varint()
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			p.Line, p.Column = int(line), int(column)
			(*m)[k] = p
		}
		return nil
	}
	t := v.Type()
	v.Set(reflect.MakeMapWithSize(t, n-1))
	key := reflect.New(t.Key()).Elem()
	elem := reflect.New(t.Elem()).Elem()
	for range n - 1 {
		k, err := d.text()
		if err != nil {
			return err
		}
		key.SetString(k)
		elem.SetZero()
		if err := d.read(elem); err != nil {
			return err
		}
		v.SetMapIndex(key, elem)
	}
	return nil
}

func (d *decoder) time(v reflect.Value) error {
	seconds, err1 := d.varint()
	nanos, err2 := d.uvarint()
	offset, err3 := d.varint()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	t := time.Unix(seconds, int64(nanos)).UTC()
	if offset != 0 {
		t = t.In(time.FixedZone("", int(offset)))
	}
	v.Set(reflect.ValueOf(t))
	return nil
}
