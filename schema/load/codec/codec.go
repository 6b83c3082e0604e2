// Package codec writes Go values as bytes and reads them back: what schema/load keeps of an evaluated repository, and what
// goes between it and its child.
//
// Numbers are varints, texts and lists have their length before them, maps are sorted, so that equal values have equal
// bytes. Nothing in the bytes says what they are of: Types does, and stands before them wherever they may be of another
// program. Bytes that end too early, or go on, are an error.
package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Types is the SHA-256 of the names and types of everything that a T is made of: what was written under other types is told
// by it, and never misread.
func Types[T any]() []byte {
	var b strings.Builder
	describe(&b, reflect.TypeFor[T](), map[reflect.Type]bool{})
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

// Write writes head, and after it v.
func Write[T any](w io.Writer, head []byte, v T) error {
	e := &encoder{b: head, to: w}
	e.value(reflect.ValueOf(&v).Elem())
	e.flush()
	return e.err
}

// Append appends v to b.
func Append[T any](b []byte, v T) []byte {
	e := &encoder{b: b}
	e.value(reflect.ValueOf(&v).Elem())
	return e.b
}

// Same reports whether two values are the same in every byte that is written of them.
func Same(a, b reflect.Value) bool {
	x, y := &encoder{}, &encoder{}
	x.value(a)
	y.value(b)
	return bytes.Equal(x.b, y.b)
}

// Read reads the one value that s is. Its texts are parts of s.
func Read[T any](s string) (*T, error) {
	v := new(T)
	d := &decoder{s: s}
	if err := d.read(reflect.ValueOf(v).Elem()); err != nil {
		return nil, err
	}
	if d.s != "" {
		return nil, errors.New("there is more after it")
	}
	return v, nil
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

// value writes the kinds that schema has; TestEveryTypeHasACode of schema/load holds that there are no others.
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
