// Package record keeps what the nodes of a fleet tell about themselves.
//
// A node writes its own records and nobody else's, and of two for one place
// (node, kind and key) the newer stands. So stores that have seen the same
// records, in any order and any number of times, hold the same: there is
// nothing to coordinate. What comes from a peer counts only when the key that
// the roster names has signed it.
//
// A node that says too much, or too much at a time, is its own loss: what
// others keep of it, and take in a while, is bounded.
package record

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Limits of what one node may make the others keep.
const (
	MaxPlaces = 64        // records of different kind and key
	MaxBytes  = 256 << 10 // of all their bodies
	// What a node may say in a while: so many records of up to recordSize bytes at once, and so many a second for long.
	// A longer record counts as several.
	burst      = 128
	rate       = 0.2
	recordSize = 4 << 10
	// refusedFor is how long a record that came too fast is not asked for again, and maxRefused how many are remembered.
	refusedFor = time.Minute
	maxRefused = 4096
	// maxBoot keeps room above every boot that can be heard, so that a node can always rise above its own past.
	maxBoot = 1 << 53
)

// Errors that callers tell apart.
var (
	// ErrUnknownNode is wrapped where a record's node is not in the roster.
	ErrUnknownNode = errors.New("not a node of the roster")
	// ErrTooMany is wrapped where a node's records pass MaxPlaces or MaxBytes.
	ErrTooMany = errors.New("more records than a node may have")
	// ErrNotBegun is wrapped where the number of this start is not known yet.
	ErrNotBegun = errors.New("this start is not counted yet")
)

// Config says whose store it is.
type Config struct {
	Key ed25519.PrivateKey // signs what this node publishes
	// Boot is of this start, see NextBoot. With 0 nothing is published before Begin.
	Boot uint64
	// Keys gives the signing key of a node of the roster.
	Keys func(node string) (ed25519.PublicKey, bool)
	// Jump makes a higher boot durable before the first record carries it.
	Jump func(boot uint64) error
	// Past is told of records under this node's own key that an earlier start, of a state folder that was lost, has
	// published, or another host with the key; true says that it can only be the latter. It must not call the store. Nil: nobody
	// is told.
	Past func(schema.Record) (twin bool)
	// Beaten is told of a record that does not stand because another of its place does: an older one that somebody gave
	// late, or another host's with the same key. Its signature may not have been checked. It must not call the store. Nil:
	// nobody is told.
	Beaten func(loser, winner schema.Record)
	// Now is the time since any instant; nil: the system's monotonic clock.
	Now func() time.Time
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
	standing map[place]held
	places   map[string]place // by digest
	owners   map[string]*owner
	refused  map[string]time.Time // digests of what came too fast
	buckets  [256]bucket
	version  uint64            // rises with every change
	written  map[uint64]string // digests of this node's records under boot, by seq
	past     past
}

// owner is what is known of one node.
type owner struct {
	places, bytes int
	room          float64 // records that are taken at once
	at            time.Time
	clone         time.Time // the last sign of two hosts with its key
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
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{
		config: c, self: schema.NodeID(c.Key.Public().(ed25519.PublicKey)), boot: c.Boot,
		changed: make(chan struct{}, 1), standing: map[place]held{}, places: map[string]place{}, owners: map[string]*owner{},
		refused: map[string]time.Time{}, written: map[uint64]string{}, past: past{ahead: map[string]struct{}{}},
	}
}

// Begin lets a store that was made with boot 0 publish.
func (s *Store) Begin(boot uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boot = max(s.boot, boot)
}

// Version rises whenever a record comes or goes.
func (s *Store) Version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
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
	if s.boot == 0 {
		return false, fmt.Errorf("publish %s: %w", kind, ErrNotBegun)
	}
	at := place{s.self, kind, key}
	if old, ok := s.standing[at]; ok && string(old.record.Body) == string(raw) {
		return false, nil
	}
	r := s.sign(at, raw)
	if err := r.Verify(s.config.Key.Public().(ed25519.PublicKey)); err != nil {
		return false, fmt.Errorf("publish: %w", err)
	}
	if o := s.owner(s.self); o.over(s.standing[at].record, len(raw)) {
		return false, fmt.Errorf("publish: %w", tooMany(at))
	}
	s.set(at, r)
	return true, nil
}

func (s *Store) sign(at place, body []byte) schema.Record {
	s.seq++
	r := schema.Record{Node: at.node, Kind: at.kind, Key: at.key, Boot: s.boot, Seq: s.seq, Body: body}
	r.Sig = ed25519.Sign(s.config.Key, r.Message())
	s.written[s.seq] = Digest(r)
	delete(s.written, s.seq-maxWritten)
	return r
}

// Put takes a record that came from elsewhere; fresh reports whether it stands now. It fails for a record that the
// roster's key has not signed, and for one more than its node may have.
func (s *Store) Put(r schema.Record) (fresh bool, err error) {
	before, had := s.at(r)
	fresh, err = s.take(r)
	if s.config.Beaten == nil || !had || err != nil || before.Boot == r.Boot && before.Seq == r.Seq && bytes.Equal(before.Body, r.Body) {
		return fresh, err
	}
	if fresh {
		s.config.Beaten(before, r)
	} else {
		s.config.Beaten(r, before)
	}
	return fresh, err
}

// at is the record that stands where r would.
func (s *Store) at(r schema.Record) (schema.Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.standing[place{r.Node, r.Kind, r.Key}]
	return h.record, ok
}

func (s *Store) take(r schema.Record) (fresh bool, err error) {
	key, ok := s.config.Keys(r.Node)
	if r.Node == s.self {
		key, ok = s.config.Key.Public().(ed25519.PublicKey), true
	}
	if !ok {
		return false, fmt.Errorf("record %q of %q: %w", r.Kind, r.Node, ErrUnknownNode)
	}
	digest, at := Digest(r), place{r.Node, r.Kind, r.Key}
	if done, err := s.glance(at, r, digest); done {
		return false, err
	}
	if err := r.Verify(key); err != nil {
		return false, err
	}
	if r.Boot > maxBoot {
		return false, fmt.Errorf("record %q of %q: boot %d is out of range", r.Kind, r.Node, r.Boot)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, have := s.places[digest]; have {
		return false, nil
	}
	if r.Node == s.self {
		return false, s.heardSelf(at, r, digest)
	}
	return s.put(at, r, digest)
}

// glance is what can be said of a record before its signature is checked, which is dear: done where it will not stand.
func (s *Store) glance(at place, r schema.Record, digest string) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, have := s.places[digest]; have {
		return true, nil
	}
	if r.Node == s.self {
		return false, nil
	}
	if old, have := s.standing[at]; have && old.record.Newer(r) {
		return true, nil // whoever has signed it
	}
	if !s.owner(r.Node).may(len(r.Body), s.config.Now()) {
		return true, s.tooFast(at, digest)
	}
	return false, nil
}

// put lets a record of another node stand, unless a newer one does. The caller holds mu.
func (s *Store) put(at place, r schema.Record, digest string) (fresh bool, err error) {
	now, o := s.config.Now(), s.owner(r.Node)
	old, have := s.standing[at]
	same := have && old.record.Boot == r.Boot && old.record.Seq == r.Seq
	if same {
		// Two hosts count alike under one key. Which of both records stands must not depend on the order they came in.
		if now.Sub(o.clone) > cloneFor/2 {
			s.notify()
		}
		o.clone = now
	}
	if have && !r.Newer(old.record) && (!same || digest < old.digest) {
		return false, nil
	}
	if !o.may(len(r.Body), now) {
		return false, s.tooFast(at, digest)
	}
	o.room -= cost(len(r.Body))
	s.set(at, r)
	s.trim(r.Node, o)
	if _, stands := s.places[digest]; !stands {
		return false, tooMany(at)
	}
	return true, nil
}

// tooFast remembers a record that came too fast, so that it is not asked for again at once. The caller holds mu.
func (s *Store) tooFast(at place, digest string) error {
	now := s.config.Now()
	if len(s.refused) >= maxRefused {
		for d, until := range s.refused {
			if now.After(until) {
				delete(s.refused, d)
			}
		}
	}
	if len(s.refused) < maxRefused {
		s.refused[digest] = now.Add(refusedFor)
	}
	return fmt.Errorf("record %q of %q: %w", at.kind, at.node, schema.ErrTooFast)
}

// owner is the account of a node, made on first use. The caller holds mu.
func (s *Store) owner(node string) *owner {
	o := s.owners[node]
	if o == nil {
		o = &owner{room: burst, at: s.config.Now()}
		s.owners[node] = o
	}
	return o
}

// cost is how many records one of so many bytes counts for.
func cost(size int) float64 { return 1 + float64(size/recordSize) }

// may reports whether the node may say so many bytes now.
func (o *owner) may(size int, now time.Time) bool {
	o.room = min(burst, o.room+now.Sub(o.at).Seconds()*rate)
	o.at = now
	return o.room >= cost(size)
}

// over reports whether the node has too much with a record of that size in old's place; old is zero where there is none.
func (o *owner) over(old schema.Record, size int) bool {
	places := o.places
	if old.Node == "" {
		places++
	}
	return places > MaxPlaces || o.bytes-len(old.Body)+size > MaxBytes
}

func tooMany(at place) error {
	return fmt.Errorf("record %q of %q: %w (%d records, %d bytes)", at.kind, at.node, ErrTooMany, MaxPlaces, MaxBytes)
}

// trim drops what a node has too much: the last places in an order that all stores share, so that all keep the same.
func (s *Store) trim(node string, o *owner) {
	if o.places <= MaxPlaces && o.bytes <= MaxBytes {
		return
	}
	all := s.of(node)
	for o.places > MaxPlaces || o.bytes > MaxBytes {
		s.remove(all[len(all)-1])
		all = all[:len(all)-1]
	}
}

// of are the places of a node in the order in which they are kept. The caller holds mu.
func (s *Store) of(node string) []place {
	var all []place
	for p := range s.standing {
		if p.node == node {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(len(a.key), len(b.key)), cmp.Compare(a.kind, b.kind), cmp.Compare(a.key, b.key))
	})
	return all
}

func (s *Store) set(at place, r schema.Record) {
	s.remove(at)
	digest := Digest(r)
	s.standing[at], s.places[digest] = held{r, digest}, at
	o := s.owner(at.node)
	o.places++
	o.bytes += len(r.Body)
	delete(s.refused, digest)
	s.version++
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
	o := s.owner(at.node)
	o.places--
	o.bytes -= len(old.record.Body)
	s.version++
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

// Forget drops the records of nodes that the roster names no longer, and all that is known of them.
func (s *Store) Forget() {
	s.mu.Lock()
	var all []string
	for node := range s.owners {
		all = append(all, node)
	}
	s.mu.Unlock()
	// Without the lock: who knows the keys may ask this store.
	all = slices.DeleteFunc(all, func(node string) bool { _, ok := s.config.Keys(node); return ok || node == s.self })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, node := range all {
		for _, at := range s.of(node) {
			s.remove(at)
			s.notify()
		}
		delete(s.owners, node)
	}
}

// Cloned reports whether two hosts seem to work under the key of node.
func (s *Store) Cloned(node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.past.clone
	if node != s.self {
		o := s.owners[node]
		if o == nil {
			return false
		}
		last = o.clone
	}
	return !last.IsZero() && s.config.Now().Sub(last) < cloneFor
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

// Missing gives those of ds that no record here has, and that did not come too fast just now.
func (s *Store) Missing(ds []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now()
	var out []string
	for _, d := range ds {
		if _, ok := s.places[d]; !ok && !now.Before(s.refused[d]) {
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
