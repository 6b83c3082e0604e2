package secret

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxValue is how long a value may be, in bytes (SSM §10.1).
const MaxValue = 8192

// maxHeader bounds the lines before the value: a name of 1011 bytes, a fleet's of 63, and numbers.
const maxHeader = 2048

// ID says which value a sealed one is.
type ID struct {
	Fleet   string
	Name    string // path of the parameter
	Version int    // from 1
}

// String is "/prod/db/password@3".
func (i ID) String() string { return i.Name + "@" + strconv.Itoa(i.Version) }

// envelopeForm begins what is encrypted: five lines, which people can write as well, and the value.
//
//	dunlin-parameter/v1
//	FLEET
//	NAME
//	VERSION
//	LENGTH of the value in bytes
const envelopeForm = "dunlin-parameter/v1"

// CheckValue tells whether a text can be the value of a parameter of any type.
func CheckValue(v []byte) error {
	switch {
	case len(v) == 0:
		return errors.New("the value is empty")
	case len(v) > MaxValue:
		return fmt.Errorf("the value has %d bytes; at most %d are allowed", len(v), MaxValue)
	case !utf8.Valid(v):
		return errors.New("the value is not UTF-8 text; encode it, for example with base64")
	case bytes.IndexByte(v, 0) >= 0:
		return errors.New("the value has a NUL byte; encode it, for example with base64")
	case bytes.Contains(v, []byte("{{")):
		return errors.New("the value has {{, which would be read as a placeholder")
	}
	return nil
}

// check tells whether an ID can stand in an envelope, in one way only.
func (i ID) check() error {
	if i.Version < 1 || i.Version > maxVersion {
		return fmt.Errorf("version %d is not one from 1 to %d", i.Version, maxVersion)
	}
	for _, text := range []string{i.Fleet, i.Name} {
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return fmt.Errorf("%q is not the name of a fleet or parameter", clip(text))
		}
	}
	return nil
}

func encode(id ID, value []byte) ([]byte, error) {
	if err := id.check(); err != nil {
		return nil, err
	}
	if err := CheckValue(value); err != nil {
		return nil, err
	}
	b := make([]byte, 0, maxHeader+len(value)) // never grown: no copy is left behind
	b = fmt.Appendf(b, "%s\n%s\n%s\n%d\n%d\n", envelopeForm, id.Fleet, id.Name, id.Version, len(value))
	if len(b) > maxHeader {
		return nil, fmt.Errorf("name of %d bytes is too long", len(id.Name))
	}
	return append(b, value...), nil
}

// maxVersion is the highest number that a version may have (#VersionNumber).
const maxVersion = 999_999_999

// decode takes an envelope apart. The value is a part of b.
func decode(b []byte) (ID, []byte, error) {
	var id ID
	var lines [5]string
	rest := b
	for i := range lines {
		end := bytes.IndexByte(rest[:min(len(rest), maxHeader)], '\n')
		if end < 0 {
			return id, nil, errors.New("what is encrypted is not a parameter of dunlin (" + envelopeForm + ")")
		}
		if i == 0 && string(rest[:end]) != envelopeForm {
			if bytes.HasPrefix(rest, []byte("dunlin-parameter/")) {
				return id, nil, fmt.Errorf("what is encrypted is of a version other than %s: a newer dunlin sealed it", envelopeForm)
			}
			return id, nil, errors.New("what is encrypted is not a parameter of dunlin (" + envelopeForm + ")")
		}
		lines[i], rest = string(rest[:end]), rest[end+1:]
	}
	version, ok := number(lines[3])
	if !ok || version < 1 {
		return id, nil, errors.New("the version inside is not a number")
	}
	length, ok := number(lines[4])
	if !ok {
		return id, nil, errors.New("the length inside is not a number")
	}
	id = ID{Fleet: lines[1], Name: lines[2], Version: version}
	switch {
	case length > len(rest):
		return id, nil, fmt.Errorf("it says %d bytes and has %d: it is cut off", length, len(rest))
	case length < len(rest):
		return id, nil, fmt.Errorf("%d bytes follow the value", len(rest)-length)
	}
	if err := CheckValue(rest); err != nil {
		return id, nil, err
	}
	if err := id.check(); err != nil {
		return id, nil, err
	}
	return id, rest, nil
}

func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n <= maxVersion && strconv.Itoa(n) == s
}
