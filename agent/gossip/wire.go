package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// The kinds of memberlist's messages, see its net.go (0.7.0). Others are not sent to us, and not taken.
const (
	msgPing         = 0
	msgIndirectPing = 1
	msgAck          = 2
	msgSuspect      = 3
	msgAlive        = 4
	msgDead         = 5
	msgPushPull     = 6
	msgCompound     = 7
	msgUser         = 8
	msgEncrypted    = 10
	msgNack         = 11
	msgCRC          = 12
	msgError        = 13
	msgLabel        = 244
)

// What a message is sealed with: a byte of version, which is 1, a nonce and a tag.
const (
	sealVersion = 1
	nonceSize   = 12
	tagSize     = 16
)

// errWire is wrapped by errors about what a member sent.
var errWire = errors.New("not a message that a member sends")

// open decrypts what memberlist sealed with one of keys. It takes one version alone: the older one pads, and memberlist
// trusts the padding.
func open(keys [][]byte, b, data []byte) ([]byte, error) {
	if len(b) <= 1+nonceSize+tagSize || b[0] != sealVersion {
		return nil, fmt.Errorf("%w: %d bytes that nobody sealed", errWire, len(b))
	}
	for _, key := range keys {
		gcm, err := gcmOf(key)
		if err != nil {
			return nil, err
		}
		if plain, err := gcm.Open(nil, b[1:1+nonceSize], b[1+nonceSize:], data); err == nil {
			return plain, nil
		}
	}
	return nil, errForeign
}

// errShort is of a message that ends too early.
var errShort = fmt.Errorf("%w: a value is cut off", errWire)

// errForeign is of what was sealed with another key.
var errForeign = fmt.Errorf("%w: it is sealed with another key", errWire)

// seal is what memberlist does.
func seal(key, plain, data []byte) ([]byte, error) {
	gcm, err := gcmOf(key)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 1+nonceSize, 1+nonceSize+len(plain)+tagSize)
	b[0] = sealVersion
	if _, err := rand.Read(b[1:]); err != nil {
		return nil, err
	}
	return gcm.Seal(b, b[1:], plain, data), nil
}

func gcmOf(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// unlabel takes the label off a packet or the beginning of a stream.
func unlabel(b []byte) (label string, rest []byte, err error) {
	if len(b) == 0 || b[0] != msgLabel {
		return "", b, nil
	}
	if len(b) < 2 || b[1] == 0 || len(b) < 2+int(b[1]) {
		return "", nil, fmt.Errorf("%w: half a label", errWire)
	}
	return string(b[2 : 2+b[1]]), b[2+b[1]:], nil
}

// uncrc takes a checksum off.
func uncrc(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != msgCRC {
		return b, nil
	}
	if len(b) < 5 || crc32.ChecksumIEEE(b[5:]) != binary.BigEndian.Uint32(b[1:]) {
		return nil, fmt.Errorf("%w: a wrong checksum", errWire)
	}
	return b[5:], nil
}

// split gives the messages of a compound one, or the one.
func split(b []byte) ([][]byte, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: nothing", errWire)
	}
	if b[0] != msgCompound {
		return [][]byte{b}, nil
	}
	if len(b) < 2 || len(b) < 2+2*int(b[1]) {
		return nil, fmt.Errorf("%w: half a compound message", errWire)
	}
	n := int(b[1])
	lens, rest := b[2:2+2*n], b[2+2*n:]
	parts := make([][]byte, 0, n)
	for i := range n {
		size := int(binary.BigEndian.Uint16(lens[2*i:]))
		if size == 0 || size > len(rest) {
			return nil, fmt.Errorf("%w: half a part of a compound message", errWire)
		}
		parts = append(parts, rest[:size:size])
		rest = rest[size:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind a compound message", errWire, len(rest))
	}
	return parts, nil
}

// join is the other way; there are at most 255 parts.
func join(parts [][]byte) []byte {
	if len(parts) == 1 {
		return parts[0]
	}
	b := []byte{msgCompound, byte(len(parts))}
	for _, p := range parts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// fields are a message's numbers and texts by name; what is neither is left out. Texts are parts of what was read.
type fields struct {
	number map[string]uint64
	text   map[string][]byte
}

// Limits of one value. memberlist's own have at most 8 fields of flat values.
const (
	maxFields = 16
	maxDepth  = 3
)

// readFields reads one map in MessagePack and gives what comes behind it. Every length in it is held against what is
// there before anybody takes memory for it, and no name may come twice.
func readFields(b []byte) (f fields, rest []byte, err error) {
	if len(b) == 0 {
		return f, nil, fmt.Errorf("%w: no fields", errWire)
	}
	n := 0
	switch c := b[0]; {
	case c&0xf0 == 0x80:
		n, b = int(c&0x0f), b[1:]
	case c == 0xde && len(b) >= 3:
		n, b = int(binary.BigEndian.Uint16(b[1:])), b[3:]
	default:
		return f, nil, fmt.Errorf("%w: it does not name its fields", errWire)
	}
	if n > maxFields {
		return f, nil, fmt.Errorf("%w: %d fields", errWire, n)
	}
	f = fields{map[string]uint64{}, map[string][]byte{}}
	seen := map[string]bool{}
	for range n {
		var name, text []byte
		var number uint64
		var k valueKind
		if k, _, name, b, err = readValue(b, 0); err != nil {
			return f, nil, err
		}
		if k != isText || seen[string(name)] {
			return f, nil, fmt.Errorf("%w: a field without a name of its own", errWire)
		}
		seen[string(name)] = true
		if k, number, text, b, err = readValue(b, 0); err != nil {
			return f, nil, err
		}
		switch k {
		case isNumber:
			f.number[string(name)] = number
		case isText:
			f.text[string(name)] = text
		}
	}
	return f, b, nil
}

type valueKind byte

const (
	isOther valueKind = iota
	isNumber
	isText
)

// readValue reads one value.
func readValue(b []byte, depth int) (k valueKind, number uint64, text, rest []byte, err error) {
	if len(b) == 0 || depth > maxDepth {
		return 0, 0, nil, nil, errShort
	}
	c, b := b[0], b[1:]
	// size reads a length of n bytes.
	size := func(n int) (uint64, bool) {
		if len(b) < n {
			return 0, false
		}
		v := uint64(0)
		for _, x := range b[:n] {
			v = v<<8 | uint64(x)
		}
		b = b[n:]
		return v, true
	}
	take := func(n uint64, ok bool) (valueKind, uint64, []byte, []byte, error) {
		if !ok || n > uint64(len(b)) {
			return 0, 0, nil, nil, errShort
		}
		return isText, 0, b[:n:n], b[n:], nil
	}
	several := func(n uint64, ok bool, each int) (valueKind, uint64, []byte, []byte, error) {
		if !ok || n > maxFields {
			return 0, 0, nil, nil, fmt.Errorf("%w: a list or map of %d", errWire, n)
		}
		for range int(n) * each {
			if _, _, _, b, err = readValue(b, depth+1); err != nil {
				return 0, 0, nil, nil, err
			}
		}
		return isOther, 0, nil, b, nil
	}
	switch {
	case c <= 0x7f:
		return isNumber, uint64(c), nil, b, nil
	case c&0xf0 == 0x80:
		return several(uint64(c&0x0f), true, 2)
	case c&0xf0 == 0x90:
		return several(uint64(c&0x0f), true, 1)
	case c&0xe0 == 0xa0:
		return take(uint64(c&0x1f), true)
	case c == 0xc2, c == 0xc3: // false, true
		return isNumber, uint64(c - 0xc2), nil, b, nil
	case c == 0xc0, c >= 0xe0:
		return isOther, 0, nil, b, nil
	case c >= 0xc4 && c <= 0xc6:
		n, ok := size(1 << (c - 0xc4))
		return take(n, ok)
	case c >= 0xd9 && c <= 0xdb:
		n, ok := size(1 << (c - 0xd9))
		return take(n, ok)
	case c >= 0xcc && c <= 0xcf:
		n, ok := size(1 << (c - 0xcc))
		if !ok {
			return 0, 0, nil, nil, errShort
		}
		return isNumber, n, nil, b, nil
	case c >= 0xd0 && c <= 0xd3: // with a sign: memberlist has none below zero
		width := 1 << (c - 0xd0)
		n, ok := size(width)
		if !ok || n>>(8*width-1) != 0 {
			return 0, 0, nil, nil, errShort
		}
		return isNumber, n, nil, b, nil
	case c == 0xdc:
		n, ok := size(2)
		return several(n, ok, 1)
	case c == 0xde:
		n, ok := size(2)
		return several(n, ok, 2)
	}
	return 0, 0, nil, nil, fmt.Errorf("%w: a value of kind %#x", errWire, c)
}

// small is a number that fits into 32 bits.
func (f fields) small(name string) (uint32, bool) {
	n := f.number[name]
	return uint32(n), n <= math.MaxUint32
}

// pushPull makes the head of an exchange of states.
func pushPull(nodes uint32, joins bool) []byte {
	b := []byte{msgPushPull, 0x83, 0xa5}
	b = append(b, "Nodes"...)
	b = append(b, 0xce)
	b = binary.BigEndian.AppendUint32(b, nodes)
	b = append(append(b, 0xac), "UserStateLen"...)
	b = append(append(b, 0x00, 0xa4), "Join"...)
	if joins {
		return append(b, 0xc3)
	}
	return append(b, 0xc2)
}
