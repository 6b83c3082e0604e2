// Package record keeps what the nodes of a fleet tell about themselves.
//
// A node writes its own records and nobody else's, and of two for one place
// (node, kind and key) the newer stands. So stores that have seen the same
// records, in any order and any number of times, hold the same: there is
// nothing to coordinate. What comes from a peer counts only when the key that
// the roster names has signed it.
package record

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/dunlin-dev/dunlin/schema"
)

// Limits of what one node may make the others keep.
const (
	MaxPlaces = 64        // records of different kind and key
	MaxBytes  = 256 << 10 // of all their bodies
	// maxBoot keeps room above every boot that can be heard, so that a node can always rise above its own past.
	maxBoot = 1 << 53
)

// Errors that callers tell apart.
var (
	// ErrUnknownNode is wrapped where a record's node is not in the roster.
	ErrUnknownNode = errors.New("not a node of the roster")
	// ErrTooMany is wrapped where a node's records pass MaxPlaces or MaxBytes.
	ErrTooMany = errors.New("more records than a node may have")
)

// Config says whose store it is.
type Config struct {
	Key  ed25519.PrivateKey // signs what this node publishes
	Boot uint64             // of this start, see NextBoot
	// Keys gives the signing key of a node of the roster.
	Keys func(node string) (ed25519.PublicKey, bool)
	// Jump makes a higher boot durable before the first record carries it.
	Jump func(boot uint64) error
}

// place is where of many records one stands.
type place struct {
	node string
	kind schema.RecordKind
	key  string
}

// Store holds the newest record of every place. Its methods may be called from many goroutines.
type Store struct {
	config  Config
	self    string
	changed chan struct{}

	mu       sync.Mutex
	boot     uint64
	seq      uint64
	jumps    int
	standing map[place]held
	places   map[string]place // by digest
	clones   map[string]uint64
	buckets  [256]bucket
}

type held struct {
	record schema.Record
	digest string
}

// bucket is the digests that begin with one byte.
type bucket struct {
	digests map[string]struct{}
	hash    [32]byte
	stale   bool
}

// New makes an empty store.
func New(c Config) *Store {
	return &Store{
		config: c, self: schema.NodeID(c.Key.Public().(ed25519.PublicKey)), boot: c.Boot,
		changed: make(chan struct{}, 1), standing: map[place]held{}, places: map[string]place{}, clones: map[string]uint64{},
	}
}

// Digest names a record: 32 hex characters of SHA-256 over what its owner signed.
func Digest(r schema.Record) string {
	sum := sha256.Sum256(r.Message())
	return hex.EncodeToString(sum[:16])
}

// Changed gets a value after records have changed; many changes may share one.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Publish signs body, as JSON, as this node's record of that kind and key. Nothing happens where the body has not
// changed: fresh is false.
func (s *Store) Publish(kind schema.RecordKind, key string, body any) (fresh bool, err error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return false, fmt.Errorf("publish %s: %w", kind, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{s.self, kind, key}
	if old, ok := s.standing[at]; ok && string(old.record.Body) == string(raw) {
		return false, nil
	}
	r := s.sign(at, raw)
	if err := r.Verify(s.config.Key.Public().(ed25519.PublicKey)); err != nil {
		return false, fmt.Errorf("publish: %w", err)
	}
	if err := s.room(at, len(raw)); err != nil {
		return false, fmt.Errorf("publish: %w", err)
	}
	s.set(at, r)
	return true, nil
}

func (s *Store) sign(at place, body []byte) schema.Record {
	s.seq++
	r := schema.Record{Node: at.node, Kind: at.kind, Key: at.key, Boot: s.boot, Seq: s.seq, Body: body}
	r.Sig = ed25519.Sign(s.config.Key, r.Message())
	return r
}

// Put takes a record that came from elsewhere; fresh reports whether it stands now. It fails for a record that the
// roster's key has not signed, and for one more than its node may have.
func (s *Store) Put(r schema.Record) (fresh bool, err error) {
	key, ok := s.config.Keys(r.Node)
	if r.Node == s.self {
		key, ok = s.config.Key.Public().(ed25519.PublicKey), true
	}
	if !ok {
		return false, fmt.Errorf("record %q of %q: %w", r.Kind, r.Node, ErrUnknownNode)
	}
	if err := r.Verify(key); err != nil {
		return false, err
	}
	if r.Boot > maxBoot {
		return false, fmt.Errorf("record %q of %q: boot %d is out of range", r.Kind, r.Node, r.Boot)
	}
	digest, at := Digest(r), place{r.Node, r.Kind, r.Key}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, have := s.places[digest]; have {
		return false, nil
	}
	if r.Node == s.self {
		return false, s.heardSelf(at, r)
	}
	old, have := s.standing[at]
	same := have && old.record.Boot == r.Boot && old.record.Seq == r.Seq
	if same && s.clones[r.Node] < r.Boot+1 {
		// Two hosts count alike under one key. Which of both records stands must not depend on the order they came in.
		s.clones[r.Node] = r.Boot + 1
		s.notify()
	}
	if have && !r.Newer(old.record) && (!same || digest < old.digest) {
		return false, nil
	}
	if err := s.room(at, len(r.Body)); err != nil {
		return false, err
	}
	if s.clones[r.Node] <= r.Boot {
		delete(s.clones, r.Node) // it has risen above what was counted twice
	}
	s.set(at, r)
	return true, nil
}

// heardSelf deals with a record under this node's own key that this start has not written. An older one is the past.
// A newer one, or another with the same number, is a past that the state folder has forgotten (a host restored from
// a snapshot), or another host with the same key. The first time the node rises above it; when it happens again, another lives.
func (s *Store) heardSelf(at place, r schema.Record) error {
	mine, have := s.standing[at]
	ahead := r.Boot > s.boot || r.Boot == s.boot && (r.Seq > s.seq || have && mine.record.Seq == r.Seq)
	if !ahead {
		return nil
	}
	boot := max(s.boot, r.Boot) + 1
	if err := s.config.Jump(boot); err != nil {
		return fmt.Errorf("rise above boot %d: %w", r.Boot, err)
	}
	s.boot, s.seq = boot, 0
	s.jumps++
	var own []place
	for p := range s.standing {
		if p.node == s.self {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b place) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.key, b.key)) })
	for _, p := range own {
		s.set(p, s.sign(p, s.standing[p].record.Body))
	}
	s.notify()
	return nil
}

// room fails where the node of at may not have so many bytes more.
func (s *Store) room(at place, size int) error {
	places := 0
	for p, h := range s.standing {
		if p.node == at.node && p != at {
			places++
			size += len(h.record.Body)
		}
	}
	if places >= MaxPlaces || size > MaxBytes {
		return fmt.Errorf("record %q of %q: %w (%d records, %d bytes)", at.kind, at.node, ErrTooMany, MaxPlaces, MaxBytes)
	}
	return nil
}

func (s *Store) set(at place, r schema.Record) {
	s.remove(at)
	digest := Digest(r)
	s.standing[at], s.places[digest] = held{r, digest}, at
	b := s.bucketOf(digest)
	if b.digests == nil {
		b.digests = map[string]struct{}{}
	}
	b.digests[digest], b.stale = struct{}{}, true
	s.notify()
}

func (s *Store) remove(at place) {
	old, ok := s.standing[at]
	if !ok {
		return
	}
	delete(s.standing, at)
	delete(s.places, old.digest)
	b := s.bucketOf(old.digest)
	delete(b.digests, old.digest)
	b.stale = true
}

func (s *Store) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Forget drops the records of nodes that the roster names no longer.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := map[string]bool{}
	for at := range s.standing {
		if _, seen := gone[at.node]; !seen {
			_, ok := s.config.Keys(at.node)
			gone[at.node] = !ok && at.node != s.self
		}
		if gone[at.node] {
			s.remove(at)
			delete(s.clones, at.node)
			s.notify()
		}
	}
}

// Cloned reports whether two hosts seem to work under the key of node.
func (s *Store) Cloned(node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node == s.self {
		return s.jumps > 1
	}
	return s.clones[node] > 0
}

// Of gives the records of one kind, by node and key.
func (s *Store) Of(kind schema.RecordKind) []schema.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []schema.Record
	for at, h := range s.standing {
		if at.kind == kind {
			out = append(out, h.record)
		}
	}
	slices.SortFunc(out, func(a, b schema.Record) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Key, b.Key)) })
	return out
}

func (s *Store) bucketOf(digest string) *bucket {
	n, err := hex.DecodeString(digest[:2])
	if err != nil {
		panic("record: digest is not hex") // Digest made it
	}
	return &s.buckets[n[0]]
}

// Digests gives the digests of all records, sorted.
func (s *Store) Digests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.places))
	for d := range s.places {
		out = append(out, d)
	}
	slices.Sort(out)
	return out
}

// Missing gives those of ds that no record here has.
func (s *Store) Missing(ds []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, d := range ds {
		if _, ok := s.places[d]; !ok {
			out = append(out, d)
		}
	}
	return out
}

// Get gives the records with these digests, as far as they stand here.
func (s *Store) Get(ds []string) []schema.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []schema.Record
	for _, d := range ds {
		if at, ok := s.places[d]; ok {
			out = append(out, s.standing[at].record)
		}
	}
	return out
}

// Buckets gives a hash of every bucket: the digests that begin with one byte. Stores with equal hashes hold the same.
func (s *Store) Buckets() (hashes [256][32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.buckets {
		b := &s.buckets[i]
		if b.stale {
			b.hash, b.stale = [32]byte{}, false
			if len(b.digests) > 0 {
				sum := sha256.New()
				for _, d := range sorted(b.digests) {
					sum.Write([]byte(d))
				}
				b.hash = [32]byte(sum.Sum(nil))
			}
		}
		hashes[i] = b.hash
	}
	return hashes
}

// Bucket gives the digests of one bucket, sorted; none for a number outside 0 to 255.
func (s *Store) Bucket(i int) []string {
	if i < 0 || i > 255 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return sorted(s.buckets[i].digests)
}

func sorted(set map[string]struct{}) []string {
	out := make([]string, 0, len(set))
	for d := range set {
		out = append(out, d)
	}
	slices.Sort(out)
	return out
}
