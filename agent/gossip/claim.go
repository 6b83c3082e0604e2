package gossip

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// claimVersion begins what a member says of itself: the record that it has signed of its addresses, in few bytes, since it
// goes with every message that says that the member is there. The record's body is made anew from it.
const claimVersion = 1

// maxClaim bounds it, in bytes.
const maxClaim = 1 + 2*18 + 2*binary.MaxVarintLen64 + ed25519.SignatureSize

// packClaim writes a record of addresses.
func packClaim(r schema.Record) ([]byte, error) {
	var a schema.AddressRecord
	if err := json.Unmarshal(r.Body, &a); err != nil {
		return nil, fmt.Errorf("gossip: addresses of this node: %w", err)
	}
	b := []byte{claimVersion}
	for _, at := range []netip.AddrPort{a.Gossip, a.Peer} {
		raw, err := at.MarshalBinary() // 4 or 16 bytes, and the port
		if err != nil || len(raw) > 18 {
			return nil, fmt.Errorf("gossip: address %q of this node cannot be told to others", at)
		}
		b = append(append(b, byte(len(raw))), raw...)
	}
	b = binary.AppendUvarint(b, r.Boot)
	b = binary.AppendUvarint(b, r.Seq)
	b = append(b, r.Sig...)
	if again, _, err := readClaim(r.Node, b); err != nil || !bytes.Equal(again.Message(), r.Message()) {
		return nil, errors.New("gossip: the record of this node's addresses is not in the form that others make of it")
	}
	return b, nil
}

// errClaim is wrapped by errors about what a member says of itself.
var errClaim = errors.New("no addresses that the node has signed")

// readClaim reads it again. Nothing is verified.
func readClaim(node string, b []byte) (r schema.Record, a schema.AddressRecord, err error) {
	if len(b) == 0 || b[0] != claimVersion || len(b) > maxClaim+2 {
		return r, a, errClaim
	}
	b = b[1:]
	for _, at := range []*netip.AddrPort{&a.Gossip, &a.Peer} {
		if len(b) == 0 || len(b) < 1+int(b[0]) || b[0] != 6 && b[0] != 18 {
			return r, a, errClaim
		}
		if err := at.UnmarshalBinary(b[1 : 1+b[0]]); err != nil {
			return r, a, errClaim
		}
		b = b[1+b[0]:]
	}
	r = schema.Record{Node: node, Kind: schema.RecordAddress}
	for _, n := range []*uint64{&r.Boot, &r.Seq} {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return r, a, errClaim
		}
		*n, b = v, b[size:]
	}
	if len(b) != ed25519.SignatureSize {
		return r, a, errClaim
	}
	r.Sig = bytes.Clone(b)
	r.Body, err = json.Marshal(a)
	return r, a, err
}

// claimed is where a node is, as it has signed it.
type claimed struct {
	schema.AddressRecord
	record schema.Record
	meta   []byte // as it was told; nil where it came as a record
}

const (
	// guestFor is how long packets may go to where a pinned stream came from.
	guestFor  = time.Minute
	maxGuests = 1024
	maxLeft   = 1024
	// heardFor is how long after somebody with the key was heard from an address, or a pinned stream came from there, packets go
	// there as they come: a node signs its addresses, but may sign a stranger's. To others go blindAtOnce packets, and then one each
	// blindEvery: enough for a host that answers from another address than it says.
	heardFor    = 10 * time.Minute
	blindAtOnce = 30.0
	blindEvery  = time.Second
	// A signature costs some 60 µs. So many that were not seen yet are looked at, and then one each.
	looksAtOnce = 1024.0
	looksEvery  = 10 * time.Millisecond
)

// claims are all addresses that packets may go to.
type claims struct {
	keys func(id string) (ed25519.PublicKey, bool)
	here netip.Addr // of this node

	mu     sync.Mutex
	of     map[string]claimed
	at     map[netip.AddrPort]int // how many nodes claim an address
	ips    map[netip.Addr]*source // of these
	seeds  map[string][]netip.AddrPort
	guests map[netip.Addr]time.Time // until when
	looks  bucket
}

// source is an address without its port that nodes claim, or have claimed: else who signs two addresses in turn, at once and again,
// would have each time what goes at once. Of those that nobody claims any more maxLeft are remembered.
type source struct {
	claims int
	heard  time.Time
	blind  bucket
}

func newClaims(keys func(string) (ed25519.PublicKey, bool), here netip.Addr) *claims {
	return &claims{keys: keys, here: here, of: map[string]claimed{}, at: map[netip.AddrPort]int{}, ips: map[netip.Addr]*source{}, seeds: map[string][]netip.AddrPort{}, guests: map[netip.Addr]time.Time{}}
}

// told takes what memberlist heard of a node: that it is at addr and says meta of itself. It fails unless the node has
// signed that, and nothing newer. moved reports that the node was elsewhere before, or nowhere.
func (c *claims) told(node string, addr netip.AddrPort, meta []byte, now time.Time) (moved bool, err error) {
	c.mu.Lock()
	old, have := c.of[node]
	known := have && bytes.Equal(old.meta, meta)
	c.mu.Unlock()
	if known {
		if old.Gossip != addr {
			return false, fmt.Errorf("%s is at %s, as it has signed", node, old.Gossip)
		}
		return false, nil
	}
	r, a, err := readClaim(node, meta)
	if err != nil {
		return false, err
	}
	if a.Gossip != addr {
		return false, fmt.Errorf("%s is at %s, as it has signed", node, a.Gossip)
	}
	if have && old.record.Newer(r) {
		return false, fmt.Errorf("%s is at %s, as it has signed later", node, old.Gossip)
	}
	c.mu.Lock()
	look := c.looks.take(1, looksAtOnce, looksEvery, now)
	c.mu.Unlock()
	if !look {
		return false, errors.New("too many signatures to look at")
	}
	return c.take(r, a, meta)
}

// take verifies a record and keeps it, unless there is a newer one.
func (c *claims) take(r schema.Record, a schema.AddressRecord, meta []byte) (moved bool, err error) {
	key, ok := c.keys(r.Node)
	if !ok {
		return false, fmt.Errorf("%s is not in the roster", r.Node)
	}
	if err := errors.Join(r.Verify(key), a.Check(c.here)); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, have := c.of[r.Node]
	if have && old.record.Newer(r) {
		return false, fmt.Errorf("%s is at %s, as it has signed later", r.Node, old.Gossip)
	}
	if c.ips[a.Gossip.Addr()] == nil {
		c.ips[a.Gossip.Addr()] = &source{}
	}
	c.ips[a.Gossip.Addr()].claims++ // before it leaves where it was, which may be there
	c.leave(r.Node)
	if have && meta == nil && !r.Newer(old.record) {
		meta = old.meta
	}
	c.of[r.Node] = claimed{a, r, bytes.Clone(meta)}
	c.at[a.Gossip]++
	return old.AddressRecord != a, nil
}

// leave forgets a node's addresses; the caller holds mu.
func (c *claims) leave(node string) {
	old, have := c.of[node]
	if !have {
		return
	}
	if c.at[old.Gossip]--; c.at[old.Gossip] <= 0 {
		delete(c.at, old.Gossip)
	}
	if s := c.ips[old.Gossip.Addr()]; s != nil {
		if s.claims--; s.claims <= 0 {
			s.heard = time.Time{}
			for ip, other := range c.ips {
				if len(c.ips) <= len(c.of)+maxLeft {
					break
				}
				if other.claims <= 0 {
					delete(c.ips, ip)
				}
			}
		}
	}
	delete(c.of, node)
}

// newer reports whether a record is news, without looking at its signature.
func (c *claims) newer(r schema.Record) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, have := c.of[r.Node]
	return !have || r.Newer(old.record)
}

// where is where a node is.
func (c *claims) where(node string) (schema.AddressRecord, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.of[node]
	return a.AddressRecord, ok
}

// forget drops the addresses of nodes that are known no more; it gives their ids.
func (c *claims) forget() (gone []string) {
	c.mu.Lock()
	ids := slices.Collect(maps.Keys(c.of))
	c.mu.Unlock()
	gone = slices.DeleteFunc(ids, func(id string) bool { _, ok := c.keys(id); return ok })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range gone {
		c.leave(id)
	}
	return gone
}

// seed says which addresses one of the configured names has now.
func (c *claims) seed(name string, at []netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seeds[name] = at
}

// guest lets packets go to an address for a while, whatever the port.
func (c *claims) guest(ip netip.Addr, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, have := c.guests[ip]; !have && len(c.guests) >= maxGuests {
		maps.DeleteFunc(c.guests, func(_ netip.Addr, until time.Time) bool { return now.After(until) })
		if len(c.guests) >= maxGuests {
			return
		}
	}
	c.guests[ip] = now.Add(guestFor)
}

// heard notes that somebody with the key is at an address.
func (c *claims) heard(ip netip.Addr, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.ips[ip]; s != nil {
		s.heard = now
	}
}

// may reports whether anything may be sent to an address.
func (c *claims) may(to netip.AddrPort, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.guests[to.Addr()]) {
		return true
	}
	for _, at := range c.seeds {
		if slices.Contains(at, to) {
			return true
		}
	}
	s := c.ips[to.Addr()]
	return c.at[to] > 0 && s != nil && (!s.heard.IsZero() && now.Sub(s.heard) < heardFor || s.blind.take(1, blindAtOnce, blindEvery, now))
}
