package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// An evaluated repository is kept as: magic, the fingerprint of the Go types it
// is made of, the CRC-32C of the rest, and the values one after the other.
// Numbers are varints, texts and lists have their length before them, maps are
// sorted. A change of the types changes the fingerprint, so that an older cache
// is an error and never misread.
const cacheMagic = "dunlin policy 2\n"

// ErrCache says that bytes are not an evaluated repository of this version.
var ErrCache = errors.New("not an evaluated policy of this version")

// cached is what Encode keeps.
type cached struct {
	Repo    schema.Repo
	Faults  []schema.Fault
	Sources []string // of a child's answer: files that hosts are given
	Known   *Known   // nil where it was not kept
}

// Encode gives an evaluated repository as bytes. Equal values have equal bytes.
func Encode(repo schema.Repo, faults []schema.Fault) []byte {
	return encode(cached{Repo: repo, Faults: faults})
}

func encode(c cached) []byte {
	e := &encoder{b: make([]byte, headSize, headSize+int64(128*len(c.Repo.Positions)))} // places are by far the most of it
	e.value(reflect.ValueOf(c))
	sum := crc32.Checksum(e.b[headSize:], crc32.MakeTable(crc32.Castagnoli))
	copy(e.b, cacheMagic)
	copy(e.b[len(cacheMagic):], fingerprint())
	binary.BigEndian.PutUint32(e.b[headSize-crc32.Size:], sum)
	return e.b
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

// Decode reads what Encode gave, size bytes of it. Anything else is an error that wraps ErrCache.
func Decode(r io.Reader, size int64) (schema.Repo, []schema.Fault, error) {
	c, err := decode(r, size)
	if err != nil {
		return schema.Repo{}, nil, err
	}
	return c.Repo, c.Faults, nil
}

// headSize is what stands before the values.
const headSize = int64(len(cacheMagic) + sha256.Size + crc32.Size)

func decode(r io.Reader, size int64) (c cached, err error) {
	head := make([]byte, headSize)
	if size < headSize {
		return cached{}, ErrCache
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return cached{}, fmt.Errorf("%w: %w", ErrCache, err)
	}
	types, sum := head[len(cacheMagic):headSize-crc32.Size], head[headSize-crc32.Size:]
	if string(head[:len(cacheMagic)]) != cacheMagic || !bytes.Equal(types, fingerprint()) {
		return cached{}, ErrCache
	}
	// Texts are parts of one string, which is filled as it is read and copied no more.
	var body strings.Builder
	body.Grow(int(size - headSize))
	check := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	buf := make([]byte, 32<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(&body, check)}, struct{ io.Reader }{io.LimitReader(r, size-headSize)}, buf); err != nil {
		return cached{}, fmt.Errorf("%w: %w", ErrCache, err)
	}
	if int64(body.Len()) != size-headSize || check.Sum32() != binary.BigEndian.Uint32(sum) {
		return cached{}, fmt.Errorf("%w: damaged", ErrCache)
	}
	d := &decoder{s: body.String()}
	if err := d.read(reflect.ValueOf(&c).Elem()); err != nil {
		return cached{}, fmt.Errorf("%w: %w", ErrCache, err)
	}
	return c, nil
}

// fingerprint is the SHA-256 of the names and types of everything that is encoded.
var fingerprint = sync.OnceValue(func() []byte { return typesOf(reflect.TypeFor[cached]()) })

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

type encoder struct{ b []byte }

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
