package gossip

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// What comes in is looked at before memberlist sees it. Whoever holds the key is to memberlist a member that means well: it
// answers wherever a ping says, takes any number for the newest, unpacks what is packed, and ends the program over a
// message with nothing in it.
const (
	// maxPings is how many questions one packet may ask; each of ours asks one.
	maxPings = 4
	// asksOfOne and asksEvery bound the questions that are answered of one address: so many at once, then one each.
	asksOfOne = 200.0
	asksEvery = 20 * time.Millisecond
	// elsewhere and elsewhereEvery are the same for answers that go to another address than the question came from, by the
	// address they go to: behind a translator, and where one asks for another.
	elsewhere      = 50.0
	elsewhereEvery = 100 * time.Millisecond
	// packetsOfOne and packetsEvery bound what is decrypted of one address.
	packetsOfOne = 4000.0
	packetsEvery = time.Millisecond
	// rises is by how much the number of what is newest of a member may rise at once, and then by one each. Who raises it
	// to its end would have the last word of that member for ever.
	rises      = 64.0
	risesEvery = time.Second
	firstRise  = 1 << 24 // the most that is taken of a member that is not known yet
	// maxAccounts is how many addresses are counted apart; those that come when all are taken share one account.
	maxAccounts = 4096
	// maxState bounds an exchange of states, in bytes of each node of the roster, and leastState of all where there are few.
	maxState   = 512
	leastState = 64 << 10
)

// Refused counts what was not done or not taken, since the start.
type Refused struct {
	Unverified uint64 `json:"unverified"` // packets and connections to addresses that no node has signed
	Malformed  uint64 `json:"malformed"`  // packets and streams that no member sends
	TooMany    uint64 `json:"tooMany"`    // questions and packets beyond what one address may send
	Unknown    uint64 `json:"unknown"`    // what was said of names that are not in the roster
	Claims     uint64 `json:"claims"`     // addresses that are not what their node has signed
	Deaths     uint64 `json:"deaths"`     // nodes said to be gone that answered all the same
}

// counters are Refused as it is counted.
type counters struct{ unverified, malformed, tooMany, unknown, claims, deaths atomic.Uint64 }

func (c *counters) now() Refused {
	return Refused{c.unverified.Load(), c.malformed.Load(), c.tooMany.Load(), c.unknown.Load(), c.claims.Load(), c.deaths.Load()}
}

// door looks at what comes in.
type door struct {
	keys  func() [][]byte // the first seals
	label string
	known func(id string) bool // may be a member, this node itself included
	many  func() int           // how many of those there are; it bounds what one state may be
	count *counters
	heard func(ip netip.Addr, now time.Time) // somebody with the key is there; nil: nobody wants to know

	leaving atomic.Bool // it answers nobody any more

	mu        sync.Mutex
	packets   accounts[string]
	asks      accounts[string]
	elsewhere accounts[netip.AddrPort]
	newest    map[string]*rise // of names that are known
}

// rise is how new what is known of a member is.
type rise struct {
	number uint32
	room   bucket
}

// bucket fills with time.
type bucket struct {
	room float64
	at   time.Time
}

func (b *bucket) fill(most float64, every time.Duration, now time.Time) {
	if b.at.IsZero() {
		b.room = most
	} else if now.After(b.at) {
		b.room = min(most, b.room+float64(now.Sub(b.at))/float64(every))
	}
	b.at = now
}

func (b *bucket) take(n, most float64, every time.Duration, now time.Time) bool {
	b.fill(most, every, now)
	if b.room < n {
		return false
	}
	b.room -= n
	return true
}

// accounts are buckets by who is counted.
type accounts[K comparable] struct {
	of    map[K]*bucket
	swept time.Time // those that are full again were let go; looking at all for each that comes would be dear
}

func (a *accounts[K]) take(k K, most float64, every time.Duration, now time.Time) bool {
	if a.of == nil {
		a.of = map[K]*bucket{}
	}
	b := a.of[k]
	if b == nil {
		if len(a.of) >= maxAccounts && now.Sub(a.swept) >= time.Second {
			a.swept = now
			for k, b := range a.of {
				if b.fill(most, every, now); b.room >= most {
					delete(a.of, k)
				}
			}
		}
		var shared K
		if len(a.of) >= maxAccounts {
			k = shared
		}
		if b = a.of[k]; b == nil {
			b = &bucket{}
			a.of[k] = b
		}
	}
	return b.take(1, most, every, now)
}

func newDoor(label string, keys func() [][]byte, known func(string) bool, many func() int, count *counters) *door {
	return &door{keys: keys, label: label, known: known, many: many, count: count, newest: map[string]*rise{}}
}

// packet gives what memberlist may have of a packet; nil is nothing.
func (d *door) packet(b []byte, from netip.AddrPort, now time.Time) []byte {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	host := from.Addr().String()
	d.mu.Lock()
	in := d.packets.take(host, packetsOfOne, packetsEvery, now)
	d.mu.Unlock()
	if !in {
		d.count.tooMany.Add(1)
		return nil
	}
	label, sealed, err := unlabel(b)
	if err != nil || label != d.label {
		return d.foreign(b, err)
	}
	plain, err := open(d.keys(), sealed, []byte(label))
	if err != nil {
		return d.foreign(b, err)
	}
	if d.heard != nil {
		d.heard(from.Addr(), now)
	}
	kept, whole, err := d.messages(plain, from, now)
	if err != nil {
		d.count.malformed.Add(1)
		return nil
	}
	switch {
	case whole:
		return b
	case len(kept) == 0:
		return nil
	}
	sealed, err = seal(d.keys()[0], join(kept), []byte(label))
	if err != nil {
		return nil
	}
	return append(append([]byte{msgLabel, byte(len(label))}, label...), sealed...)
}

// foreign is for what was not sealed with the key: memberlist says so in its log, and takes nothing of it. What it could
// stumble over is not given to it.
func (d *door) foreign(b []byte, err error) []byte {
	if err == nil || errors.Is(err, errForeign) {
		return b
	}
	d.count.malformed.Add(1)
	return nil
}

// messages are those of a packet that are kept, and whether these are all.
func (d *door) messages(plain []byte, from netip.AddrPort, now time.Time) (kept [][]byte, whole bool, err error) {
	if plain, err = uncrc(plain); err != nil {
		return nil, false, err
	}
	parts, err := split(plain)
	if err != nil {
		return nil, false, err
	}
	asks := 0
	for _, p := range parts {
		if p[0] == msgPing || p[0] == msgIndirectPing {
			asks++
		}
	}
	if asks > maxPings {
		return nil, false, fmt.Errorf("%w: %d questions at once", errWire, asks)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range parts {
		ok, err := d.message(p, from, now)
		if err != nil {
			return nil, false, err
		}
		if ok {
			kept = append(kept, p)
		}
	}
	return kept, len(kept) == len(parts), nil
}

// message reports whether one message is kept. The caller holds mu.
func (d *door) message(b []byte, from netip.AddrPort, now time.Time) (bool, error) {
	if b[0] == msgUser {
		return len(b) <= 1+MaxHint, nil
	}
	switch b[0] {
	case msgPing, msgIndirectPing, msgAck, msgNack, msgSuspect, msgAlive, msgDead:
	default:
		return false, fmt.Errorf("%w: kind %d", errWire, b[0])
	}
	f, rest, err := readFields(b[1:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes too many", errWire, len(rest))
	}
	if err != nil {
		return false, err
	}
	switch b[0] {
	case msgPing:
		return d.answers(from, from, f, now), nil
	case msgIndirectPing:
		target, ok := addrPort(f.text["Target"], f.number["Port"])
		if !ok {
			return false, fmt.Errorf("%w: a question about no address", errWire)
		}
		return d.answers(from, target, f, now), nil
	case msgSuspect, msgAlive, msgDead:
		return d.news(string(f.text["Node"]), f, now), nil
	}
	return true, nil
}

// answers reports whether a question is answered: to its source, and where it is about another, to that one too. The
// caller holds mu.
func (d *door) answers(from, about netip.AddrPort, f fields, now time.Time) bool {
	to := from
	if source, ok := addrPort(f.text["SourceAddr"], f.number["SourcePort"]); ok {
		to = source
	}
	if d.leaving.Load() {
		return false
	}
	ok := d.asks.take(from.Addr().String(), asksOfOne, asksEvery, now)
	for _, a := range []netip.AddrPort{to, about} {
		if a.Addr() != from.Addr() {
			ok = ok && d.elsewhere.take(a, elsewhere, elsewhereEvery, now)
		}
	}
	if !ok {
		d.count.tooMany.Add(1)
	}
	return ok
}

// news reports whether what is said of a member is taken. The caller holds mu.
func (d *door) news(name string, f fields, now time.Time) bool {
	number, fits := f.small("Incarnation")
	if !d.known(name) || !isID(name) {
		d.count.unknown.Add(1)
		return false
	}
	r := d.newest[name]
	if r == nil {
		if len(d.newest) > 2*d.many()+64 {
			for n := range d.newest {
				if !d.known(n) {
					delete(d.newest, n)
				}
			}
		}
		if !fits || number > firstRise {
			d.count.tooMany.Add(1)
			return false
		}
		d.newest[name] = &rise{number: number}
		return true
	}
	if fits && number <= r.number {
		return true
	}
	if !fits || !r.room.take(float64(number-r.number), rises, risesEvery, now) {
		d.count.tooMany.Add(1)
		return false
	}
	r.number = number
	return true
}

// leave ends answers: others believe a goodbye when they get none.
func (d *door) leave() { d.leaving.Store(true) }

// mostState is how many bytes a stream of states may have.
func (d *door) mostState() int { return leastState + maxState*d.many() }

// stream gives what memberlist may have of the one message of a stream: its plain text, opened.
func (d *door) stream(plain []byte, from netip.AddrPort, now time.Time) ([]byte, error) {
	if len(plain) == 0 {
		return nil, fmt.Errorf("%w: nothing", errWire)
	}
	kind := plain[0]
	if kind == msgPing || kind == msgAck || kind == msgError {
		_, rest, err := readFields(plain[1:])
		if err != nil || len(rest) > 0 {
			return nil, errors.Join(err, errWire)
		}
		return plain, nil
	}
	if kind != msgPushPull {
		return nil, fmt.Errorf("%w: kind %d by a stream", errWire, kind)
	}
	head, rest, err := readFields(plain[1:])
	if err != nil {
		return nil, err
	}
	n, ok := head.small("Nodes")
	if !ok || head.number["UserStateLen"] != 0 || int(n) > len(rest) {
		return nil, fmt.Errorf("%w: a state of %d nodes", errWire, n)
	}
	kept, out := uint32(0), make([]byte, 0, len(rest))
	d.mu.Lock()
	defer d.mu.Unlock()
	for range n {
		f, behind, err := readFields(rest)
		if err != nil {
			return nil, err
		}
		if d.news(string(f.text["Name"]), f, now) {
			kept++
			out = append(out, rest[:len(rest)-len(behind)]...)
		}
		rest = behind
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind a state", errWire, len(rest))
	}
	if kept == n {
		return plain, nil
	}
	return append(pushPull(kept, head.number["Join"] != 0), out...), nil
}

// forget drops what is known of names that are known no more.
func (d *door) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := range d.newest {
		if !d.known(n) {
			delete(d.newest, n)
		}
	}
}

// addrPort is an address as memberlist writes it.
func addrPort(ip []byte, port uint64) (netip.AddrPort, bool) {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || port == 0 || port > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), true
}
