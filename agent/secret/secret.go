// Package secret holds values that only some nodes may read: in memory, sealed
// for the repository, on their way to a program, and out of what is written
// for people.
//
// A Secret prints its name, whatever prints it. Seal encrypts one version of a
// parameter to age keys (age-encryption.org/v1, native X25519 only) with fleet,
// name and version inside the ciphertext, and Open refuses one that says
// anything else. A value reaches a program as a sealed memory file, its
// standard input, or a file in a folder of its own in memory; never as an
// argument. A Redactor takes the values that it knows, as they are and in the
// forms in which programs write them, out of a stream: the last net, not the
// control.
//
// Memory is kept as clean as Go lets one: buffers are wiped after use, what the
// runtime or age copied is not. Guard keeps the process from dumping its memory.
package secret

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strconv"
)

// Secret is a value with the name by which people know it. The zero value is an empty one without a name. Copies share
// the value. It never prints the value, by no verb, encoder or printer that looks into unexported fields.
type Secret struct {
	name string
	// value is a function, which no reflection looks into.
	value func() []byte
}

// New takes value over: nobody else writes to it any more, and Wipe clears it.
func New(name string, value []byte) Secret {
	return Secret{name: name, value: func() []byte { return value }}
}

// Name is what the secret prints as, less the brackets: "/prod/db/password@3".
func (s Secret) Name() string { return s.name }

// Reveal is the value itself, for the few places that hand it on. It is not to be kept or changed.
func (s Secret) Reveal() []byte {
	if s.value == nil {
		return nil
	}
	return s.value()
}

// Len is how long the value is, in bytes.
func (s Secret) Len() int { return len(s.Reveal()) }

// Wipe overwrites the value with zeros, in every copy.
func (s Secret) Wipe() {
	b := s.Reveal()
	clear(b)
	runtime.KeepAlive(&b)
}

// String is "[secret NAME]".
func (s Secret) String() string { return "[secret " + s.name + "]" }

// GoString is the same for %#v.
func (s Secret) GoString() string { return s.String() }

// Format writes the name for every verb.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		_, _ = io.WriteString(f, strconv.Quote(s.String()))
		return
	}
	_, _ = io.WriteString(f, s.String())
}

// LogValue is the name, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText writes the name: for XML, YAML and keys of JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON writes the name as a text.
func (s Secret) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, s.String()), nil }

// MarshalYAML gives encoders of YAML the name.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

var errSerialized = errors.New("a secret is not serialized")

// MarshalBinary refuses: what is encoded so is meant to be decoded again.
func (s Secret) MarshalBinary() ([]byte, error) { return nil, errSerialized }

// GobEncode refuses, as MarshalBinary does.
func (s Secret) GobEncode() ([]byte, error) { return nil, errSerialized }
