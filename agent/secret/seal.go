package secret

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// Limits of a sealed value.
const (
	maxRecipients = 10_000
	maxSealed     = 4 << 20 // of its armoured text, in bytes
)

// ErrNotReader says that a value is not encrypted to any of the keys that were tried.
var ErrNotReader = errors.New("it is not encrypted to this key")

// CheckRecipient tells whether a text is a native age key to encrypt to, as schema.CheckAgeKey does, without showing one that
// is private.
func CheckRecipient(recipient string) error {
	if safe.HasPrivateKey(recipient) {
		return fmt.Errorf("%q is not the public half of an age key (age1..., X25519)", clip(safe.HidePrivateKeys(recipient)))
	}
	return schema.CheckAgeKey(recipient)
}

func clip(s string) string {
	if len(s) > 70 {
		return s[:67] + "..."
	}
	return s
}

// Seal encrypts a value to recipients (age1...), each once, and gives the armoured age file without a final newline.
func Seal(id ID, value Secret, recipients []string) (string, error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("seal %s: %w", id, err) }
	to := slices.Compact(slices.Sorted(slices.Values(recipients)))
	if len(to) == 0 {
		return fail(errors.New("nobody is to read it"))
	}
	if len(to) > maxRecipients {
		return fail(fmt.Errorf("%d readers are more than %d", len(to), maxRecipients))
	}
	keys := make([]age.Recipient, len(to))
	for i, r := range to {
		if err := CheckRecipient(r); err != nil {
			return fail(err)
		}
		key, err := age.ParseX25519Recipient(r)
		if err != nil {
			return fail(err)
		}
		keys[i] = key
	}
	plain, err := encode(id, value.Reveal())
	if err != nil {
		return fail(err)
	}
	defer clear(plain)
	var out bytes.Buffer
	a := armor.NewWriter(&out)
	w, err := age.Encrypt(a, keys...)
	if err != nil {
		return fail(err)
	}
	if _, err := w.Write(plain); err != nil {
		return fail(err)
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return fail(err)
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// Open decrypts a sealed value, and refuses one that is not of id, or is followed by anything. The caller wipes it. The
// error wraps ErrNotReader where none of the keys fits; it never has anything of the value.
func Open(id ID, sealed string, keys Keys) (Secret, error) {
	fail := func(err error) (Secret, error) { return Secret{}, fmt.Errorf("open %s: %w", id, err) }
	if len(sealed) > maxSealed {
		return fail(fmt.Errorf("%d bytes are more than %d", len(sealed), maxSealed))
	}
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(sealed)), native{keys})
	var no *age.NoIdentityMatchError
	switch {
	case errors.As(err, &no):
		return fail(ErrNotReader)
	case err != nil:
		return fail(fmt.Errorf("not a whole age file: %w", err))
	}
	plain := make([]byte, maxHeader+MaxValue+1)
	n, err := io.ReadFull(r, plain)
	switch {
	case err == nil:
		clear(plain)
		return fail(fmt.Errorf("what is encrypted is longer than %d bytes", maxHeader+MaxValue))
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		clear(plain)
		return fail(fmt.Errorf("not a whole age file: %w", err))
	}
	got, value, err := decode(plain[:n])
	if err == nil {
		switch {
		case got.Fleet != id.Fleet:
			err = fmt.Errorf("it was sealed for fleet %q, this one is %q", clip(got.Fleet), id.Fleet)
		case got.Name != id.Name:
			err = fmt.Errorf("it was sealed as parameter %q: its place was exchanged", clip(got.Name))
		case got.Version != id.Version:
			err = fmt.Errorf("it was sealed as version %d: its place was exchanged", got.Version)
		}
	}
	if err != nil {
		clear(plain)
		return fail(err)
	}
	own := bytes.Clone(value)
	clear(plain)
	return New(id.String(), own), nil
}

// native takes files that are encrypted to X25519 keys alone: who else could read one would stand nowhere.
type native struct{ keys Keys }

func (n native) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) > maxRecipients {
		return nil, fmt.Errorf("encrypted to more than %d keys", maxRecipients)
	}
	for _, s := range stanzas {
		if s.Type != "X25519" && !strings.HasSuffix(s.Type, "-grease") {
			return nil, fmt.Errorf("encrypted also to a key of type %q, and only native age keys are allowed", clip(s.Type))
		}
	}
	for _, k := range n.keys.all() {
		b, err := k.Unwrap(stanzas)
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return b, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// Keys are private age keys. They print as nothing.
type Keys struct{ get func() []*age.X25519Identity } // a function, as in Secret

func (k Keys) all() []*age.X25519Identity {
	if k.get == nil {
		return nil
	}
	return k.get()
}

// String says how many keys there are.
func (k Keys) String() string { return fmt.Sprintf("[%d age keys]", len(k.all())) }

// Format writes String for every verb.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// maxKeys bounds a file of keys.
const maxKeys = 100

// ParseKeys reads a file of private age keys, as age-keygen writes it: one a line, comments begin with #. Its errors
// name lines and never quote them.
func ParseKeys(text []byte) (Keys, error) {
	var keys []*age.X25519Identity
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := age.ParseX25519Identity(line)
		if err != nil {
			return Keys{}, fmt.Errorf("line %d is not a native age key (AGE-SECRET-KEY-1...)", n)
		}
		if keys = append(keys, key); len(keys) > maxKeys {
			return Keys{}, fmt.Errorf("more than %d keys", maxKeys)
		}
	}
	switch {
	case lines.Err() != nil:
		return Keys{}, errors.New("a line is too long to be an age key")
	case len(keys) == 0:
		return Keys{}, errors.New("there is no age key in it")
	}
	return Keys{func() []*age.X25519Identity { return keys }}, nil
}

// Recipients are the public halves, in order.
func (k Keys) Recipients() []string {
	var out []string
	for _, key := range k.all() {
		out = append(out, key.Recipient().String())
	}
	return out
}

// Digest names content so that two can be told apart by who sees the names of both, and tried out by nobody who has not the
// key: HMAC-SHA-256, keyed by the first of k, over the SHA-256 of the content in hex. It is the first 128 bits in hex.
func (k Keys) Digest(sum string) (string, error) {
	all := k.all()
	if len(all) == 0 {
		return "", errors.New("there is no key to make a digest with")
	}
	key, err := hkdf.Key(sha256.New, []byte(all[0].String()), nil, "dunlin digest of secret content v1", sha256.Size)
	if err != nil {
		return "", fmt.Errorf("make key of digests: %w", err)
	}
	m := hmac.New(sha256.New, key)
	_, _ = io.WriteString(m, sum)
	return hex.EncodeToString(m.Sum(nil)[:16]), nil
}
