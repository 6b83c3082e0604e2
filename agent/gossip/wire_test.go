package gossip

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// keyOf is the key of the nth node of a test.
func keyOf(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func idOf(n byte) string { return schema.NodeID(keyOf(n).Public().(ed25519.PublicKey)) }

// keysOf are the keys of the first n.
func keysOf(n byte) func(string) (ed25519.PublicKey, bool) {
	keys := map[string]ed25519.PublicKey{}
	for i := range n {
		keys[idOf(i)] = keyOf(i).Public().(ed25519.PublicKey)
	}
	return func(id string) (ed25519.PublicKey, bool) { key, ok := keys[id]; return key, ok }
}

func claimOf(t testing.TB, n byte, boot, seq uint64, gossip, peer string) schema.Record {
	t.Helper()
	body, err := json.Marshal(schema.AddressRecord{Gossip: netip.MustParseAddrPort(gossip), Peer: netip.MustParseAddrPort(peer)})
	if err != nil {
		t.Fatal(err)
	}
	r := schema.Record{Node: idOf(n), Kind: schema.RecordAddress, Boot: boot, Seq: seq, Body: body}
	r.Sig = ed25519.Sign(keyOf(n), r.Message())
	return r
}

var wireKey = bytes.Repeat([]byte{7}, KeySize)

func doorOf(n byte) *door {
	keys := keysOf(n)
	return newDoor("dunlin", func() [][]byte { return [][]byte{wireKey} }, func(id string) bool { _, ok := keys(id); return ok }, func() int { return int(n) }, &counters{})
}

// sealed is a packet as memberlist sends it.
func sealed(t testing.TB, plain []byte) []byte {
	t.Helper()
	b, err := seal(wireKey, plain, []byte("dunlin"))
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]byte{msgLabel, 6}, "dunlin"...), b...)
}

// message writes fields as memberlist does: names in order, texts and numbers.
func message(kind byte, fields ...any) []byte {
	b := []byte{kind, 0x80 | byte(len(fields)/2)}
	text := func(s string) {
		b = append(b, 0xda, byte(len(s)>>8), byte(len(s)))
		b = append(b, s...)
	}
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			text(f)
		case []byte:
			text(string(f))
		case int:
			b = append(b, 0xce)
			b = binary.BigEndian.AppendUint32(b, uint32(f))
		}
	}
	return b
}

var (
	at  = netip.MustParseAddrPort("10.0.0.1:7950")
	far = []byte{192, 0, 2, 9}
	now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func TestWhatNoMemberSendsIsNotTaken(t *testing.T) {
	ping := message(msgPing, "SeqNo", 1, "Node", idOf(0))
	for name, plain := range map[string][]byte{
		"nothing":                      {},
		"a message of an unknown kind": {99, 0x80},
		"something packed":             message(9, "Algo", 0, "Buf", "x"),
		"something sealed twice":       {msgEncrypted, 0, 0, 0, 0},
		"a state in a packet":          message(msgPushPull, "Nodes", 0),
		"a compound in a compound":     join([][]byte{join([][]byte{ping, ping}), ping}),
		"half a compound":              {msgCompound, 2, 0, 1},
		"parts of nothing":             {msgCompound, 1, 0, 0},
		"bytes behind it":              append(bytes.Clone(ping), 0),
		"a text of 4 GiB":              append([]byte{msgSuspect, 0x81, 0xa4}, "Node\xdb\xff\xff\xff\xff"...),
		"a list of 4 G":                append([]byte{msgSuspect, 0x81, 0xa4}, "Node\xdd\xff\xff\xff\xff"...),
		"fields without names":         {msgSuspect, 0x93, 1, 2, 3},
		"a field twice":                message(msgDead, "Node", idOf(0), "Node", idOf(1)),
		"five questions":               join([][]byte{ping, ping, ping, ping, ping}),
		"a wrong checksum":             append([]byte{msgCRC, 0, 0, 0, 0}, ping...),
		"a question about nobody":      message(msgIndirectPing, "SeqNo", 1, "Port", 7950, "Node", idOf(0)),
		"an extension":                 append([]byte{msgSuspect, 0x81, 0xa4}, "Node\xd4\x01\x00"...),
		"deep lists":                   append([]byte{msgSuspect, 0x81, 0xa4}, append([]byte("Node"), bytes.Repeat([]byte{0x91}, 1000)...)...),
	} {
		d := doorOf(3)
		if got := d.packet(sealed(t, plain), at, now); got != nil || d.count.now().Malformed != 1 {
			t.Errorf("%s: %d bytes are taken, %+v", name, len(got), d.count.now())
		}
	}
	// The older way to seal pads, and who unpads nothing reads what is not there.
	old := sealed(t, ping)
	old[8] = 0
	for name, b := range map[string][]byte{"the old seal": old, "no seal": append([]byte{msgLabel, 6}, "dunlin"...), "a byte": {msgLabel}, "an empty label": {msgLabel, 0, 1}} {
		d := doorOf(3)
		if got := d.packet(b, at, now); got != nil {
			t.Errorf("%s: %d bytes are taken", name, len(got))
		}
	}
}

func TestWhatMembersSendIsTakenAsItIs(t *testing.T) {
	d := doorOf(3)
	for i, plain := range [][]byte{
		message(msgPing, "SeqNo", 1, "Node", idOf(0), "SourceAddr", at.Addr().AsSlice(), "SourcePort", 7950, "SourceNode", idOf(1)),
		message(msgAck, "SeqNo", 1, "Payload", ""),
		append([]byte{msgUser}, bytes.Repeat([]byte{1}, MaxHint)...),
		join([][]byte{message(msgAck, "SeqNo", 1), message(msgSuspect, "Incarnation", 3, "Node", idOf(2), "From", idOf(1))}),
	} {
		b := sealed(t, plain)
		if got := d.packet(b, at, now); !bytes.Equal(got, b) {
			t.Errorf("%d: %d bytes of %d are taken", i, len(got), len(b))
		}
	}
}

// What is left out of a packet takes nothing else with it.
func TestOnlyWhatIsWrongIsLeftOut(t *testing.T) {
	d := doorOf(2)
	good := message(msgAlive, "Incarnation", 3, "Node", idOf(1))
	got := d.packet(sealed(t, join([][]byte{message(msgDead, "Incarnation", 1, "Node", idOf(9), "From", idOf(1)), good})), at, now)
	if got == nil {
		t.Fatal("nothing is taken")
	}
	_, rest, err := unlabel(got)
	plain, err2 := open(d.keys(), rest, []byte("dunlin"))
	if err != nil || err2 != nil || !bytes.Equal(plain, good) {
		t.Errorf("%q is taken, %v, %v", plain, err, err2)
	}
	if n := d.count.now().Unknown; n != 1 {
		t.Errorf("%d were counted", n)
	}
	// The same by a stream.
	state := append(pushPull(2, true), message(0, "Name", idOf(9), "Incarnation", 1, "Meta", "x")[1:]...)
	state = append(state, message(0, "Name", idOf(1), "Incarnation", 4, "Meta", "y")[1:]...)
	taken, err := d.stream(state, at, now)
	if want := append(pushPull(1, true), message(0, "Name", idOf(1), "Incarnation", 4, "Meta", "y")[1:]...); err != nil || !bytes.Equal(taken, want) {
		t.Errorf("%q is taken, %v", taken, err)
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "a hint": {msgUser, 1}, "a state of too many": pushPull(4_000_000_000, false), "bytes behind": append(pushPull(0, false), 1),
		"what its sender adds": append(message(msgPushPull, "Nodes", 0, "UserStateLen", 5), "hello"...), "packed": message(9, "Buf", "x"),
	} {
		if _, err := d.stream(b, at, now); err == nil {
			t.Errorf("%s is taken by a stream", name)
		}
	}
}

// Nobody gets the last word about a member by raising its number to the end.
func TestNumbersRiseSlowly(t *testing.T) {
	d := doorOf(3)
	said := func(number int, when time.Time) bool {
		return d.packet(sealed(t, message(msgDead, "Incarnation", number, "Node", idOf(2), "From", idOf(1))), at, when) != nil
	}
	if !said(3, now) || said(1<<30, now) || !said(3, now) || !said(50, now) || said(1000, now) {
		t.Error("a number rises as somebody likes")
	}
	number, hours := 50, 3
	for i := range hours * 3600 / 10 {
		if said(number+64, now.Add(time.Duration(i)*10*time.Second)) {
			number += 64
		}
	}
	if number > hours*3600+200 {
		t.Errorf("a number rises to %d in three hours", number)
	}
	fresh := doorOf(3)
	if fresh.packet(sealed(t, message(msgDead, "Incarnation", 1<<31, "Node", idOf(2))), at, now) != nil {
		t.Error("the first number that is heard of a member may be any")
	}
}

// A question is answered to where it came from, and to somewhere else now and then.
func TestAnswersElsewhereAreFew(t *testing.T) {
	d := doorOf(3)
	ask := func(source []byte, from string) bool {
		return d.packet(sealed(t, message(msgPing, "SeqNo", 1, "Node", idOf(0), "SourceAddr", source, "SourcePort", 53)), netip.MustParseAddrPort(from), now) != nil
	}
	n := 0
	for i := range 1000 {
		if ask(far, fmt.Sprintf("10.0.%d.%d:1", i/200, i%200+1)) {
			n++
		}
	}
	if n != elsewhere {
		t.Errorf("%d of 1000 questions of many are answered elsewhere", n)
	}
	n = 0
	for range 1000 {
		if ask([]byte{10, 9, 9, 9}, "10.9.9.9:1") {
			n++
		}
	}
	if n != asksOfOne {
		t.Errorf("%d of 1000 questions of one are answered", n)
	}
	if !ask([]byte{10, 9, 9, 8}, "10.9.9.8:1") {
		t.Error("another is not answered")
	}
	d.leave()
	if ask([]byte{10, 9, 9, 7}, "10.9.9.7:1") {
		t.Error("a member that has said goodbye answers")
	}
}

func TestAFloodOfAddressesTakesLittle(t *testing.T) {
	a := &accounts[int]{}
	for i := range 100 * maxAccounts {
		a.take(i+1, 10, time.Second, now)
	}
	if len(a.of) > maxAccounts+1 {
		t.Errorf("%d accounts", len(a.of))
	}
	if !a.take(-1, 10, time.Second, now.Add(time.Hour)) {
		t.Error("nobody is counted apart again")
	}
}

func TestOnlySignedAddressesAreBelieved(t *testing.T) {
	here := netip.MustParseAddr("10.0.0.1")
	first := claimOf(t, 1, 1, 5, "10.0.0.2:7950", "10.0.0.2:7951")
	later := claimOf(t, 1, 2, 1, "10.0.0.3:7950", "10.0.0.3:7951")
	meta := func(r schema.Record) []byte {
		b, err := packClaim(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	c := newClaims(keysOf(3), here)
	tell := func(node, addr string, meta []byte) error {
		_, err := c.told(node, netip.MustParseAddrPort(addr), meta, now)
		return err
	}
	may := func(addr string) bool { return c.may(netip.MustParseAddrPort(addr), now) }
	if err := tell(idOf(1), "10.0.0.2:7950", meta(first)); err != nil || !may("10.0.0.2:7950") || may("10.0.0.2:7951") {
		t.Fatalf("a signed address: %v", err)
	}
	broken := meta(first)
	broken[len(broken)-1] ^= 1
	for name, err := range map[string]error{
		"somebody else's address":     tell(idOf(1), "10.0.0.9:7950", meta(first)),
		"another's signature":         tell(idOf(2), "10.0.0.2:7950", meta(first)),
		"a broken signature":          tell(idOf(1), "10.0.0.2:7950", broken),
		"a node that nobody knows":    tell(idOf(9), "10.0.0.2:7950", meta(claimOf(t, 9, 1, 1, "10.0.0.2:7950", "10.0.0.2:1"))),
		"nothing":                     tell(idOf(1), "10.0.0.2:7950", nil),
		"an address of all":           tell(idOf(1), "224.0.0.1:7950", meta(claimOf(t, 1, 9, 1, "224.0.0.1:7950", "10.0.0.2:1"))),
		"an address of every network": tell(idOf(1), "255.255.255.255:7950", meta(claimOf(t, 1, 9, 1, "255.255.255.255:7950", "10.0.0.2:1"))),
		"no address":                  tell(idOf(1), "0.0.0.0:7950", meta(claimOf(t, 1, 9, 1, "0.0.0.0:7950", "10.0.0.2:1"))),
		"the reader's own":            tell(idOf(1), "127.0.0.1:7950", meta(claimOf(t, 1, 9, 1, "127.0.0.1:7950", "10.0.0.2:1"))),
		"a cloud's own":               tell(idOf(1), "169.254.169.254:80", meta(claimOf(t, 1, 9, 1, "169.254.169.254:80", "10.0.0.2:1"))),
		"a peer at the reader's":      tell(idOf(1), "10.0.0.2:7950", meta(claimOf(t, 1, 9, 1, "10.0.0.2:7950", "127.0.0.1:22"))),
	} {
		if err == nil {
			t.Errorf("%s is believed", name)
		}
	}
	if at, _ := c.where(idOf(1)); at.Gossip.String() != "10.0.0.2:7950" {
		t.Errorf("node 1 is at %s by now", at.Gossip)
	}
	// What is signed later takes the place of what was before, and keeps it.
	if moved, err := c.take(later, schema.AddressRecord{Gossip: netip.MustParseAddrPort("10.0.0.3:7950"), Peer: netip.MustParseAddrPort("10.0.0.3:7951")}, nil); err != nil || !moved {
		t.Errorf("a later address: %v, %v", moved, err)
	}
	if may("10.0.0.2:7950") || !may("10.0.0.3:7950") || tell(idOf(1), "10.0.0.2:7950", meta(first)) == nil {
		t.Error("the old address is believed again")
	}
	// Who leaves the roster takes the address along.
	c.keys = keysOf(1)
	if gone := c.forget(); len(gone) != 1 || may("10.0.0.3:7950") {
		t.Errorf("%v are forgotten", gone)
	}
	// Seeds and guests: for 60 s, and not a moment longer.
	c.seed("seed", []netip.AddrPort{netip.MustParseAddrPort("10.0.0.7:7950")})
	c.guest(netip.MustParseAddr("10.0.0.8"), now)
	guest := netip.MustParseAddrPort("10.0.0.8:1")
	if !may("10.0.0.7:7950") || may("10.0.0.7:1") || !may("10.0.0.8:1") || !c.may(guest, now.Add(59*time.Second)) || c.may(guest, now.Add(60*time.Second)) {
		t.Error("seeds or guests get more or less than theirs")
	}
	for i := range 2 * maxGuests {
		c.guest(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), now)
	}
	if len(c.guests) > maxGuests {
		t.Errorf("%d guests", len(c.guests))
	}
}

// A node may sign a stranger's address. As long as nobody with the key was heard from there, little goes there; where a node is,
// all does, also when it signs its address anew.
func TestLittleGoesWhereNobodyWasHeard(t *testing.T) {
	const node = "10.0.0.2:7950"
	claim := func(boot uint64, addr string) (schema.Record, schema.AddressRecord) {
		at := netip.MustParseAddrPort(addr)
		return claimOf(t, 1, boot, 1, addr, at.Addr().String()+":7951"), schema.AddressRecord{Gossip: at, Peer: netip.AddrPortFrom(at.Addr(), 7951)}
	}
	c := newClaims(keysOf(3), at.Addr())
	takes := func(boot uint64, addr string) {
		t.Helper()
		r, a := claim(boot, addr)
		if _, err := c.take(r, a, nil); err != nil {
			t.Fatal(err)
		}
	}
	sent := func(addr string, when time.Time) (n int) {
		for range 500 {
			if c.may(netip.MustParseAddrPort(addr), when) {
				n++
			}
		}
		return n
	}
	takes(1, node)
	for i, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 30}, {0, 0}, {time.Second, 1}, {11 * time.Second, 10}, {time.Hour, 30}} {
		if n := sent(node, now.Add(tt.after)); n != tt.want {
			t.Errorf("look %d: %d packets go where nobody was heard, want %d", i, n, tt.want)
		}
	}
	later := now.Add(2 * time.Hour)
	c.heard(netip.MustParseAddr("10.0.0.9"), later) // somebody elsewhere
	if n := sent(node, later); n != 30 {
		t.Errorf("%d packets go there since somebody else was heard", n)
	}
	c.heard(netip.MustParseAddr("10.0.0.2"), later)
	takes(2, node) // signed anew: it stays where it is
	if n := sent(node, later.Add(heardFor-time.Second)); n != 500 {
		t.Errorf("%d packets go where a node was heard", n)
	}
	if n := sent(node, later.Add(heardFor)); n != 30 {
		t.Errorf("%d packets go where nobody was heard for long", n)
	}
	// What it signs next is another address, and what was heard of the old one counts for nothing.
	c.heard(netip.MustParseAddr("10.0.0.2"), later)
	takes(3, "10.0.0.3:7950")
	if n := sent("10.0.0.3:7950", later); n != 30 {
		t.Errorf("%d packets go to another address that it has signed", n)
	}
	if n := sent(node, later); n != 0 {
		t.Errorf("%d packets go to the address that it has left", n)
	}
	// Two addresses in turn get no more than each of them alone, and many make nobody remember them all.
	boot, victim := uint64(4), "10.0.1.1:7950"
	for i := range 50 {
		takes(boot, victim)
		if n := sent(victim, later); n != 0 && i > 0 || n != 30 && i == 0 {
			t.Errorf("turn %d: %d packets go to where nobody was heard", i, n)
		}
		takes(boot+1, node)
		boot += 2
	}
	for i := range maxLeft + 50 {
		takes(boot, fmt.Sprintf("10.1.%d.%d:7950", i/250, 1+i%250))
		boot++
	}
	if n := len(c.ips); n > maxLeft+2 {
		t.Errorf("%d addresses are remembered", n)
	}
	takes(boot, "10.0.3.3:7950")
	if n := sent("10.0.3.3:7950", later); n != 30 {
		t.Errorf("%d packets go to one more address", n)
	}
	takes(boot+1, "10.0.0.3:7950")
	// A pinned stream shows it too.
	c.guest(netip.MustParseAddr("10.0.0.3"), later)
	if n := sent("10.0.0.3:7950", later); n != 500 {
		t.Errorf("%d packets go to where a pinned stream came from", n)
	}
}

// A flood of wrong signatures costs a bounded number of looks.
func TestSignaturesAreLookedAtWithinBounds(t *testing.T) {
	c := newClaims(keysOf(3), at.Addr())
	r := claimOf(t, 1, 1, 1, "10.0.0.2:7950", "10.0.0.2:7951")
	looked := 0
	for i := range 4096 {
		r.Seq = uint64(i) + 2
		b, err := packClaim(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.told(idOf(1), netip.MustParseAddrPort("10.0.0.2:7950"), b, now); err == nil {
			t.Fatal("a wrong signature is believed")
		} else if strings.Contains(err.Error(), "signature is wrong") {
			looked++
		}
	}
	if looked > looksAtOnce {
		t.Errorf("%d signatures were looked at", looked)
	}
}

func FuzzDoor(f *testing.F) {
	f.Add(message(msgPing, "SeqNo", 1, "Node", idOf(0), "SourceAddr", far, "SourcePort", 53))
	f.Add(join([][]byte{message(msgAlive, "Incarnation", 3, "Node", idOf(1)), message(msgDead, "Incarnation", 3, "Node", idOf(9))}))
	f.Add(append(pushPull(1, true), message(0, "Name", idOf(1), "Incarnation", 4)[1:]...))
	f.Fuzz(func(t *testing.T, plain []byte) {
		d := doorOf(3)
		if kept, whole, err := d.messages(plain, at, now); err == nil && len(kept) > 0 && !whole {
			again, whole, err := d.messages(join(kept), at, now)
			if err != nil || !whole || len(again) != len(kept) {
				t.Errorf("what was kept is not kept: %v", err)
			}
		}
		if taken, err := d.stream(plain, at, now); err == nil {
			if again, err := d.stream(taken, at, now); err != nil || len(again) != len(taken) {
				t.Errorf("what was taken by a stream is not taken: %v", err)
			}
		}
		_ = d.packet(plain, at, now)
		for d := range 3 {
			_, _, _, _, _ = readValue(plain[min(d, len(plain)):], 0)
		}
	})
}

func FuzzClaim(f *testing.F) {
	b, err := packClaim(claimOf(f, 1, 1, 5, "10.0.0.2:7950", "[fd00::1]:7951"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, a, err := readClaim(idOf(1), b)
		if err != nil || a.Check(at.Addr()) != nil {
			return
		}
		again, err := packClaim(r)
		if err != nil {
			t.Fatal(err)
		}
		if r2, a2, err := readClaim(idOf(1), again); err != nil || a2 != a || !bytes.Equal(r2.Message(), r.Message()) {
			t.Errorf("%x is read as %v, and then as %v", b, a, a2)
		}
	})
}
