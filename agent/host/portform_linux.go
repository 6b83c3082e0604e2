package host

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/schema"
)

// The form of our table. A chain per direction lets pass what is never blocked (loopback, what belongs
// to a connection, what is not for this host, TCP that opens nothing) and then looks the packet up
// in sets: `in` holds protocol and port, `in4` and `in6` also the network of the other side, and
// the same for `out`. A block is one element; what is not confirmed is in the set's twin whose
// elements die by themselves.
//
// A set of intervals takes no overlapping ones, and two policies may well block 6000-6063 and 6010. A
// second layer of sets (`in_2`) takes what overlaps the first, so that each block stays the element it is.

// blockPriority is before destination NAT (-100), so that a published port of a container is seen as the
// port it has outside.
const blockPriority = -110

// portSet says what one set holds; it is also its place in the order of lookups.
type portSet struct {
	direction string // in or out
	family    int    // 4, 6, or 0 for blocks from any
	confirmed bool
	layer     int // from 0
}

func (s portSet) name() string {
	n := s.direction
	if s.family != 0 {
		n += strconv.Itoa(s.family)
	}
	if !s.confirmed {
		n += "_unconfirmed"
	}
	if s.layer > 0 {
		n += "_" + strconv.Itoa(s.layer+1)
	}
	return n
}

// maxLayers bounds how deep blocks of one kind may overlap, and with it the sets that a packet is looked up in.
const maxLayers = 16

// parsePortSet is the reverse of name.
func parsePortSet(name string) (portSet, bool) {
	for _, dir := range []string{"in", "out"} {
		for _, fam := range []int{0, 4, 6} {
			for _, confirmed := range []bool{false, true} {
				for layer := range maxLayers {
					if s := (portSet{dir, fam, confirmed, layer}); s.name() == name {
						return s, true
					}
				}
			}
		}
	}
	return portSet{}, false
}

// compareSets orders lookups: sets before their confirmed twins, the same in every table.
func compareSets(a, b portSet) int {
	rank := func(s portSet) int {
		r := s.family * 2 * maxLayers
		if s.direction == "out" {
			r += 1 << 16
		}
		if s.confirmed {
			r += maxLayers
		}
		return r + s.layer
	}
	return rank(a) - rank(b)
}

// setOf is the set that a block belongs in, but for the layer.
func setOf(b schema.BlockedPort, confirmed bool) portSet {
	s := portSet{direction: b.Direction, confirmed: confirmed}
	if p, err := netip.ParsePrefix(b.From); err == nil {
		s.family = 4
		if p.Addr().Is6() {
			s.family = 6
		}
	}
	return s
}

// portElement is a block in a set; expires is the time the kernel leaves it, 0 in a confirmed set.
type portElement struct {
	block   schema.BlockedPort
	expires time.Duration
}

// place gives each block its set. A block that is already in one of the right sort, for long enough, keeps
// its place; no other is put where it overlaps something that is there now.
func place(left map[schema.BlockedPort]time.Duration, now map[portSet][]portElement) (map[schema.BlockedPort]portSet, error) {
	out := make(map[schema.BlockedPort]portSet, len(left))
	full := map[portSet][]schema.BlockedPort{}
	for s, elements := range now {
		for _, e := range elements {
			full[s] = append(full[s], e.block)
			t, wanted := left[e.block]
			if wanted && s.confirmed == (t == 0) && t < e.expires+time.Second {
				out[e.block] = s
			}
		}
	}
	var rest []schema.BlockedPort
	for b := range left {
		if _, placed := out[b]; !placed {
			rest = append(rest, b)
		}
	}
	slices.SortFunc(rest, compareBlocks)
	for _, b := range rest {
		s := setOf(b, left[b] == 0)
		for slices.ContainsFunc(full[s], func(o schema.BlockedPort) bool { return collide(b, o) }) {
			if s.layer++; s.layer == maxLayers {
				return nil, fmt.Errorf("block %q: overlaps more than %d others", b.Key(), maxLayers-1)
			}
		}
		out[b] = s
		full[s] = append(full[s], b)
	}
	return out, nil
}

// collide reports whether two blocks of one set have a packet in common.
func collide(a, b schema.BlockedPort) bool {
	if a.Protocol != b.Protocol || a.Port.Last < b.Port.First || b.Port.Last < a.Port.First {
		return false
	}
	if a.From == b.From {
		return true
	}
	p, errA := netip.ParsePrefix(a.From)
	q, errB := netip.ParsePrefix(b.From)
	return errA == nil && errB == nil && p.Overlaps(q)
}

func compareBlocks(a, b schema.BlockedPort) int {
	if d := int(a.Port.First) - int(b.Port.First); d != 0 {
		return d
	}
	return strings.Compare(a.Key(), b.Key())
}

// withTwins is the sets of a table that has these and must hold those: for each direction and family in
// use both twins of the first layer, and all layers up to the highest.
func withTwins(have []portSet, used map[schema.BlockedPort]portSet) []portSet {
	all := map[portSet]bool{}
	for _, s := range have {
		all[s] = true
	}
	for _, s := range used {
		for l := range s.layer + 1 {
			all[portSet{s.direction, s.family, s.confirmed, l}] = true
		}
		all[portSet{s.direction, s.family, !s.confirmed, 0}] = true
	}
	return slices.SortedFunc(maps.Keys(all), compareSets)
}

// set is the set as the kernel is told of it.
func (s portSet) set(t *nftables.Table) *nftables.Set {
	types := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	switch s.family {
	case 4:
		types = append([]nftables.SetDatatype{nftables.TypeIPAddr}, types...)
	case 6:
		types = append([]nftables.SetDatatype{nftables.TypeIP6Addr}, types...)
	}
	return &nftables.Set{
		Table: t, Name: s.name(), KeyType: nftables.MustConcatSetType(types...),
		Interval: true, Concatenation: true, HasTimeout: !s.confirmed,
	}
}

// sameSet reports whether a set that was read is as set makes it.
func sameSet(want, got *nftables.Set) bool {
	return got.KeyType.GetNFTMagic() == want.KeyType.GetNFTMagic() && got.Interval && got.Concatenation && got.HasTimeout == want.HasTimeout &&
		got.Timeout == 0 && !got.IsMap && !got.Dynamic && !got.Constant && !got.Anonymous && got.Size == 0
}

// element is a block in its set: its first and last key. timeout 0 is for ever.
func element(b schema.BlockedPort, timeout time.Duration) (nftables.SetElement, error) {
	var first, last []byte
	if b.From != "any" {
		p, err := netip.ParsePrefix(b.From)
		if err != nil {
			return nftables.SetElement{}, fmt.Errorf("block %q: %w", b.Key(), err)
		}
		first = p.Masked().Addr().AsSlice()
		last = slices.Clone(first)
		for i := p.Bits(); i < len(last)*8; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
	}
	proto := byte(unix.IPPROTO_TCP)
	if b.Protocol == "udp" {
		proto = unix.IPPROTO_UDP
	}
	key := func(addr []byte, port uint16) []byte {
		return append(slices.Clone(addr), proto, 0, 0, 0, byte(port>>8), byte(port), 0, 0)
	}
	return nftables.SetElement{Key: key(first, b.Port.First), KeyEnd: key(last, b.Port.Last), Timeout: timeout}, nil
}

// parseElement is the reverse of element; false for what is no block.
func parseElement(s portSet, e nftables.SetElement) (schema.BlockedPort, bool) {
	addr := 0
	switch s.family {
	case 4:
		addr = 4
	case 6:
		addr = 16
	}
	if e.KeyEnd == nil {
		e.KeyEnd = e.Key
	}
	if len(e.Key) != addr+8 || len(e.KeyEnd) != addr+8 || e.Key[addr] != e.KeyEnd[addr] || e.IntervalEnd {
		return schema.BlockedPort{}, false
	}
	b := schema.BlockedPort{Direction: s.direction, From: "any", Port: schema.PortRange{
		First: binary.BigEndian.Uint16(e.Key[addr+4:]), Last: binary.BigEndian.Uint16(e.KeyEnd[addr+4:])}}
	switch e.Key[addr] {
	case unix.IPPROTO_TCP:
		b.Protocol = "tcp"
	case unix.IPPROTO_UDP:
		b.Protocol = "udp"
	}
	if addr > 0 {
		first, _ := netip.AddrFromSlice(e.Key[:addr])
		bits := 0
		for bits < addr*8 && (e.Key[bits/8]^e.KeyEnd[bits/8])&(0x80>>(bits%8)) == 0 {
			bits++
		}
		b.From = netip.PrefixFrom(first, bits).String()
		if again, err := element(b, 0); err != nil || string(again.Key) != string(e.Key) || string(again.KeyEnd) != string(e.KeyEnd) {
			return schema.BlockedPort{}, false // an interval that is no network
		}
	}
	b, err := b.Canonical()
	return b, err == nil
}

// chain is the chain of a direction.
func chain(t *nftables.Table, direction string) *nftables.Chain {
	c := &nftables.Chain{
		Table: t, Name: "prerouting", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting,
		Priority: nftables.ChainPriorityRef(blockPriority), Policy: new(nftables.ChainPolicyAccept),
	}
	if direction == "out" {
		c.Name, c.Hooknum = "output", nftables.ChainHookOutput
	}
	return c
}

func sameChain(want, got *nftables.Chain) bool {
	return got.Type == want.Type && got.Hooknum != nil && *got.Hooknum == *want.Hooknum &&
		got.Priority != nil && *got.Priority == *want.Priority && got.Policy != nil && *got.Policy == *want.Policy
}

// The registers that a key is put together in: 16 bytes each for 1 to 4, and the same in fours from 8.
const regKey = 1

// rule is one rule of the form. A rule that looks up a set has its name.
type rule struct {
	set     string
	comment string
	exprs   []expr.Any
}

// rules are the rules of a direction over these sets, in order.
func rules(direction string, sets []portSet) []rule {
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	native := binaryutil.NativeEndian.PutUint32
	iface := expr.MetaKeyIIF
	if direction == "out" {
		iface = expr.MetaKeyOIF
	}
	out := []rule{
		{comment: "loopback", exprs: []expr.Any{
			&expr.Meta{Key: iface, Register: regKey},
			&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: native(1)}, // lo is the first interface of every network namespace
			accept,
		}},
		{comment: "what belongs to a connection", exprs: []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: regKey},
			&expr.Bitwise{SourceRegister: regKey, DestRegister: regKey, Len: 4, Mask: native(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: native(0)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: native(0)},
			accept,
		}},
	}
	if direction == "in" {
		out = append(out, rule{comment: "for other hosts", exprs: []expr.Any{
			&expr.Fib{Register: regKey, ResultADDRTYPE: true, FlagDADDR: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: native(unix.RTN_UNICAST)},
			accept,
		}})
	}
	const syn, ack = 0x02, 0x10
	out = append(out, rule{comment: "TCP that opens no connection", exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regKey},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: regKey, DestRegister: regKey, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: []byte{syn}},
		accept,
	}})
	for _, s := range sets {
		if s.direction != direction {
			continue
		}
		var e []expr.Any
		next := uint32(8) // where the next part of the key goes
		if s.family != 0 {
			proto, offset, size := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
			if s.family == 6 {
				proto, offset, size = unix.NFPROTO_IPV6, 8, 16
			}
			if direction == "out" {
				offset += size // the destination follows the source
			}
			e = append(e, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: regKey},
				&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: []byte{proto}},
				&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size})
			next += size / 4
		}
		e = append(e, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(next)},
			&expr.Payload{DestRegister: register(next + 1), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Lookup{SourceRegister: regKey, SetName: s.name()},
			&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
		out = append(out, rule{set: s.name(), exprs: e})
	}
	return out
}

// register is a four-byte register by the name the kernel reads it back under.
func register(r uint32) uint32 {
	if r >= 8 && r%4 == 0 {
		return r/4 - 1
	}
	return r
}

// ruleComment is libnftnl's NFTNL_UDATA_RULE_COMMENT.
const ruleComment = userdata.Type(0)

func (r rule) userData() []byte {
	if r.comment == "" {
		return nil
	}
	return userdata.AppendString(nil, ruleComment, r.comment)
}
