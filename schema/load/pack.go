package load

import (
	"encoding/binary"
	"math/bits"
)

// packed is a value in a tenth of the memory that its nodes take, in a form that is read back at once. A repository's
// values are looked at two or three times, each by itself, and wait in between: they wait packed.
//
// It is how many nodes and how many fields there are, then the nodes, each before what is in it: a byte for its kind and
// for what follows, where it is written as a step from the node before it, its text or number, and its items or fields.
// Numbers are varints, texts have their length before them. It never leaves the process.
type packed string

// What the first byte of a node says beside its kind, which is in the bits below.
const (
	packedTrue  = 0x10 // of kBool
	packedText  = 0x20 // a text follows
	packedPlace = 0x40 // where it is written follows
	packedKind  = 0x0f
)

// packer makes packed values; what it needs for that it uses again.
type packer struct {
	b             []byte
	nodes, fields int
	at            int32 // where the node before is written
}

// pack gives a value in few bytes; the value itself is not kept.
func (p *packer) pack(n *value) packed {
	const head = 2 * binary.MaxVarintLen64
	p.b, p.nodes, p.fields, p.at = append(p.b[:0], make([]byte, head)...), 0, 0, 0
	p.node(n)
	count := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(p.nodes)), uint64(p.fields))
	from := head - len(count)
	copy(p.b[from:], count)
	return packed(p.b[from:])
}

func pack(n *value) packed { return (&packer{}).pack(n) }

func (p *packer) number(n int) { p.b = binary.AppendUvarint(p.b, uint64(n)) }
func (p *packer) text(s string) {
	p.number(len(s))
	p.b = append(p.b, s...)
}

func (p *packer) node(n *value) {
	p.nodes++
	first := byte(bits.TrailingZeros16(uint16(n.k)))
	if n.b {
		first |= packedTrue
	}
	if n.s != "" {
		first |= packedText
	}
	if n.off != 0 || n.val != 0 {
		first |= packedPlace
	}
	p.b = append(p.b, first)
	if first&packedPlace != 0 {
		p.b = binary.AppendVarint(p.b, int64(n.off)-int64(p.at))
		p.b = binary.AppendVarint(p.b, int64(n.val)-int64(n.off))
		p.at = n.off
	}
	if n.s != "" {
		p.text(n.s)
	}
	switch n.k {
	case kInt:
		p.b = binary.AppendVarint(p.b, n.i)
	case kStruct:
		p.number(len(n.keys))
		p.fields += len(n.keys)
		for i, name := range n.keys {
			p.text(name)
			p.node(n.kids[i])
		}
	case kList:
		p.number(len(n.kids))
		for _, kid := range n.kids {
			p.node(kid)
		}
	}
}

// value is what was packed, in nodes of its own; nil of none. Its texts are parts of p.
func (p packed) value() *value {
	if p == "" {
		return nil
	}
	u := unpacker{s: string(p)}
	nodes, fields := u.number(), u.number()
	u.room = newRoom(nodes, fields)
	return u.value()
}

type unpacker struct {
	room
	s  string
	at int32
}

func (u *unpacker) uvarint() uint64 {
	var n uint64
	for i := 0; ; i++ {
		c := u.s[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			u.s = u.s[i+1:]
			return n
		}
	}
}

func (u *unpacker) number() int { return int(u.uvarint()) }

func (u *unpacker) varint() int64 {
	n := u.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (u *unpacker) text() string {
	n := u.number()
	t := u.s[:n]
	u.s = u.s[n:]
	return t
}

func (u *unpacker) value() *value {
	n := u.node()
	first := u.s[0]
	u.s = u.s[1:]
	n.k, n.b = 1<<(first&packedKind), first&packedTrue != 0
	if first&packedPlace != 0 {
		n.off = u.at + int32(u.varint())
		n.val = n.off + int32(u.varint())
		u.at = n.off
	}
	if first&packedText != 0 {
		n.s = u.text()
	}
	switch n.k {
	case kInt:
		n.i = u.varint()
	case kStruct:
		count := u.number()
		u.parts(n, count, count)
		for i := range count {
			n.keys[i] = u.text()
			n.kids[i] = u.value()
		}
		n.reindex()
	case kList:
		u.parts(n, u.number(), 0)
		for i := range n.kids {
			n.kids[i] = u.value()
		}
	}
	return n
}
