package record_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/record"
	"github.com/dunlin-dev/dunlin/schema"
)

// fleet is nodes with keys, all in the roster, and a clock.
type fleet struct {
	keys map[string]ed25519.PrivateKey
	ids  []string
	now  time.Time
}

func newFleet(n int) *fleet {
	f := &fleet{keys: map[string]ed25519.PrivateKey{}, now: time.Unix(1e9, 0)}
	for i := range n {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, ed25519.SeedSize))
		id := schema.NodeID(key.Public().(ed25519.PublicKey))
		f.keys[id], f.ids = key, append(f.ids, id)
	}
	return f
}

func (f *fleet) public(id string) (ed25519.PublicKey, bool) {
	key, ok := f.keys[id]
	if !ok {
		return nil, false
	}
	return key.Public().(ed25519.PublicKey), true
}

func (f *fleet) store(i int, boot uint64) *record.Store {
	return record.New(record.Config{Key: f.keys[f.ids[i]], Boot: boot, Keys: f.public, Jump: func(uint64) error { return nil },
		Now: func() time.Time { return f.now }})
}

func (f *fleet) record(i int, key string, boot, seq uint64, body string) schema.Record {
	r := schema.Record{Node: f.ids[i], Kind: schema.RecordState, Key: key, Boot: boot, Seq: seq, Body: []byte(body)}
	r.Sig = ed25519.Sign(f.keys[f.ids[i]], r.Message())
	return r
}

func TestSameRecordsInAnyOrderMakeTheSameStore(t *testing.T) {
	f := newFleet(5)
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var all []schema.Record
		for range 60 {
			all = append(all, f.record(1+rnd.IntN(4), fmt.Sprint("k", rnd.IntN(3)), rnd.Uint64N(3), rnd.Uint64N(4), fmt.Sprint(rnd.IntN(3))))
		}
		var want *record.Store
		for range 4 {
			s := f.store(0, 1)
			rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for _, r := range append(slices.Clone(all), all[:20]...) {
				if _, err := s.Put(r); err != nil {
					t.Fatal(err)
				}
			}
			if want == nil {
				want = s
				continue
			}
			if !slices.Equal(s.Digests(), want.Digests()) || s.Buckets() != want.Buckets() {
				t.Fatalf("seed %d: the order of arrival decides what stands", seed)
			}
		}
	}
}

func TestBucketsFindWhatIsMissing(t *testing.T) {
	f := newFleet(3)
	a, b := f.store(0, 1), f.store(1, 1)
	for i := range 40 {
		if _, err := a.Put(f.record(2, fmt.Sprint("k", i), 1, uint64(i), "{}")); err != nil {
			t.Fatal(err)
		}
	}
	ours, theirs := a.Buckets(), b.Buckets()
	for i := range ours {
		if ours[i] == theirs[i] {
			continue
		}
		for _, r := range a.Get(b.Missing(a.Bucket(i))) {
			if fresh, err := b.Put(r); err != nil || !fresh {
				t.Fatal(fresh, err)
			}
		}
	}
	if a.Buckets() != b.Buckets() || len(b.Digests()) != 40 {
		t.Fatalf("%d records came over", len(b.Digests()))
	}
	if a.Bucket(-1) != nil || a.Bucket(256) != nil || len(a.Get([]string{"x", ""})) != 0 {
		t.Fatal("something outside the buckets")
	}
}

func TestRefusals(t *testing.T) {
	f := newFleet(2)
	good := f.record(1, "", 3, 3, `{"a":1}`)
	for name, tt := range map[string]struct {
		change func(*schema.Record)
		want   string
	}{
		"bad signature":    {func(r *schema.Record) { r.Sig = bytes.Repeat([]byte{1}, 64) }, "signature is wrong"},
		"no signature":     {func(r *schema.Record) { r.Sig = nil }, "signature is wrong"},
		"changed sequence": {func(r *schema.Record) { r.Seq++ }, "signature is wrong"},
		"another's name":   {func(r *schema.Record) { r.Node = f.ids[0] }, "signature is wrong"},
		"unknown node":     {func(r *schema.Record) { r.Node = "nobody" }, "not a node of the roster"},
		"not JSON":         {func(r *schema.Record) { r.Body = []byte("{") }, "not JSON"},
		"large":            {func(r *schema.Record) { r.Body = make([]byte, schema.MaxRecordBody+1) }, "bytes are more than"},
		"boot out of range": {func(r *schema.Record) {
			r.Boot = 1 << 60
			r.Sig = ed25519.Sign(f.keys[f.ids[1]], r.Message())
		}, "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := f.store(0, 1), good
			tt.change(&r)
			fresh, err := s.Put(r)
			if fresh || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("fresh %v, %v; want an error with %q", fresh, err, tt.want)
			}
			if len(s.Digests()) != 0 {
				t.Fatal("it was kept")
			}
		})
	}
}

func TestOldSequenceDoesNotStand(t *testing.T) {
	f := newFleet(2)
	s := f.store(0, 1)
	for _, r := range []schema.Record{f.record(1, "", 2, 5, "5"), f.record(1, "", 2, 4, "4"), f.record(1, "", 1, 9, "9")} {
		if fresh, err := s.Put(r); err != nil || fresh != (r.Seq == 5) {
			t.Fatal(r.Seq, fresh, err)
		}
	}
	if got := s.Of(schema.RecordState); len(got) != 1 || got[0].Seq != 5 {
		t.Fatal(got)
	}
}

func TestOneNodeCannotFillTheStore(t *testing.T) {
	f := newFleet(2)
	s := f.store(0, 1)
	var last error
	for i := range record.MaxPlaces + 1 {
		_, last = s.Put(f.record(1, fmt.Sprint(i), 1, 1, "1"))
	}
	if !errors.Is(last, record.ErrTooMany) || len(s.Digests()) != record.MaxPlaces {
		t.Fatal(len(s.Digests()), last)
	}
	s = f.store(0, 1)
	big, err := json.Marshal(strings.Repeat("a", schema.MaxRecordBody-2))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		_, last = s.Put(f.record(1, fmt.Sprint(i), 1, 1, string(big)))
	}
	if !errors.Is(last, record.ErrTooMany) || len(s.Digests()) != 4 {
		t.Fatal(len(s.Digests()), last)
	}
}

func TestRestoredHostRisesAboveItsPast(t *testing.T) {
	f := newFleet(1)
	var durable uint64
	s := record.New(record.Config{Key: f.keys[f.ids[0]], Boot: 2, Keys: f.public, Jump: func(b uint64) error { durable = b; return nil }})
	if _, err := s.Publish(schema.RecordState, "", "now"); err != nil {
		t.Fatal(err)
	}
	past := f.record(0, "", 7, 3, `"past"`)
	if _, err := s.Put(past); err != nil {
		t.Fatal(err)
	}
	got := s.Of(schema.RecordState)
	if len(got) != 1 || got[0].Boot != 8 || string(got[0].Body) != `"now"` || durable != 8 || !got[0].Newer(past) {
		t.Fatal(got, durable)
	}
	// More of the same past changes nothing and is no clone.
	if _, err := s.Put(f.record(0, "", 7, 9, `"past"`)); err != nil || s.Cloned(f.ids[0]) {
		t.Fatal("cloned", err)
	}
}

// tell gives one store what another has.
func tell(t *testing.T, from, to *record.Store) {
	t.Helper()
	for _, r := range from.Get(to.Missing(from.Digests())) {
		if _, err := to.Put(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecondHostWithTheKeyIsAClone(t *testing.T) {
	f := newFleet(2)
	boots := 0
	store := func() *record.Store {
		return record.New(record.Config{Key: f.keys[f.ids[0]], Boot: 4, Keys: f.public, Jump: func(uint64) error { boots++; return nil },
			Now: func() time.Time { return f.now }})
	}
	one, two, watcher := store(), store(), f.store(1, 1)
	publish := func(s *record.Store, body string) {
		t.Helper()
		if _, err := s.Publish(schema.RecordState, "", body); err != nil {
			t.Fatal(err)
		}
	}
	publish(one, "one")
	if _, err := two.Publish(schema.RecordHead, "", "before"); err != nil {
		t.Fatal(err)
	}
	publish(two, "two") // counted unlike the other's
	publish(one, "once more")
	tell(t, one, watcher)
	tell(t, two, watcher)
	if !watcher.Cloned(f.ids[0]) {
		t.Fatal("nobody noticed two hosts under one key")
	}
	// They hear each other every second, for an hour.
	for i := range 3600 {
		tell(t, one, two)
		tell(t, two, one)
		f.now = f.now.Add(time.Second)
		if i > 200 && (!one.Cloned(f.ids[0]) || !two.Cloned(f.ids[0])) {
			t.Fatalf("after %d looks one knows %v, two knows %v", i, one.Cloned(f.ids[0]), two.Cloned(f.ids[0]))
		}
	}
	if boots > 80 {
		t.Errorf("they have risen above each other %d times in an hour", boots)
	}
	// One is gone. The other rises above what is left of it, and is sound again.
	for range 60 {
		tell(t, one, watcher)
		tell(t, watcher, one)
		f.now = f.now.Add(30 * time.Second)
	}
	if one.Cloned(f.ids[0]) || watcher.Cloned(f.ids[0]) {
		t.Error("who is alone is still called cloned")
	}
	publish(one, "alone")
	tell(t, one, watcher)
	if got := watcher.Of(schema.RecordState); len(got) != 1 || string(got[0].Body) != `"alone"` {
		t.Errorf("the others hold %s", got[0].Body)
	}
}

// A host that was restored has published under several starts of which it knows nothing, and they come to light one
// after the other.
func TestRestoredHostWithALongPastIsNoClone(t *testing.T) {
	f := newFleet(1)
	var told []schema.Record
	s := record.New(record.Config{Key: f.keys[f.ids[0]], Boot: 2, Keys: f.public, Jump: func(uint64) error { return nil },
		Past: func(r schema.Record) bool { told = append(told, r); return false }, Now: func() time.Time { return f.now }})
	if _, err := s.Publish(schema.RecordState, "", "now"); err != nil {
		t.Fatal(err)
	}
	for boot := range uint64(6) {
		if _, err := s.Put(f.record(0, fmt.Sprint("k", boot), 5+7*boot, 3, `"past"`)); err != nil {
			t.Fatal(err)
		}
		f.now = f.now.Add(time.Second)
	}
	f.now = f.now.Add(time.Hour)
	late := f.record(0, "late", 100, 3, `"past"`)
	for range 3 {
		if _, err := s.Put(late); err != nil {
			t.Fatal(err)
		}
		f.now = f.now.Add(time.Minute)
	}
	if s.Cloned(f.ids[0]) {
		t.Error("a restored host is called cloned")
	}
	if got := s.Of(schema.RecordState); len(got) != 1 || !got[0].Newer(late) {
		t.Errorf("it has not risen above its past: %+v", got)
	}
	if len(told) != 7 {
		t.Errorf("told of %d records of the past, want 7", len(told))
	}
}

func TestWhoSaysTooMuchAtATimeWaits(t *testing.T) {
	f := newFleet(3)
	s := f.store(0, 1)
	taken, refused := 0, schema.Record{}
	for i := range 2000 {
		r := f.record(1, "", 1, uint64(i+1), fmt.Sprint(i))
		fresh, err := s.Put(r)
		if err != nil && !errors.Is(err, schema.ErrTooFast) {
			t.Fatal(err)
		}
		if fresh {
			taken++
		} else {
			refused = r
		}
		f.now = f.now.Add(50 * time.Millisecond)
	}
	if taken > 160 {
		t.Errorf("%d records of one node were taken in 100 s", taken)
	}
	// It is not asked for at once, then asked for and taken; others are not held up.
	if len(s.Missing([]string{record.Digest(refused)})) != 0 {
		t.Error("what came too fast is asked for again at once")
	}
	if fresh, err := s.Put(f.record(2, "", 1, 1, "1")); err != nil || !fresh {
		t.Error("another node's record is refused:", err)
	}
	f.now = f.now.Add(2 * time.Minute)
	if len(s.Missing([]string{record.Digest(refused)})) != 1 {
		t.Error("what came too fast is never asked for again")
	}
	if fresh, err := s.Put(refused); err != nil || !fresh {
		t.Error(fresh, err)
	}
	// Long records count for several: a megabyte is not taken at once.
	size := 0
	for i := range 100 {
		r := f.record(2, "", 1, uint64(i+2), `"`+strings.Repeat("x", 60<<10)+`"`)
		if fresh, _ := s.Put(r); fresh {
			size += len(r.Body)
		}
	}
	if size > 1<<20 {
		t.Errorf("%d bytes of one node were taken at once", size)
	}
}

// What is kept of a node that has too much must not depend on the order in which it came: stores that differ would offer
// it to each other for ever.
func TestWhatIsKeptOfTooMuchIsTheSameEverywhere(t *testing.T) {
	f := newFleet(2)
	var all []schema.Record
	for i := range record.MaxPlaces + 20 {
		all = append(all, f.record(1, fmt.Sprintf("key%02d", i), 1, uint64(i+1), "1"))
	}
	all = append(all, f.record(1, "", 1, 999, "1"))
	rnd := rand.New(rand.NewPCG(1, 7))
	var want *record.Store
	for range 20 {
		s := f.store(0, 1)
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, r := range all {
			if _, err := s.Put(r); err != nil && !errors.Is(err, record.ErrTooMany) {
				t.Fatal(err)
			}
		}
		if want == nil {
			want = s
		}
		if !slices.Equal(s.Digests(), want.Digests()) {
			t.Fatal("the order of arrival decides what is kept")
		}
	}
	if got := want.Of(schema.RecordState); len(got) != record.MaxPlaces || got[0].Key != "" {
		t.Errorf("%d records, the first with key %q", len(got), got[0].Key)
	}
}

func TestAnUncountedStartPublishesNothing(t *testing.T) {
	f := newFleet(1)
	s := f.store(0, 0)
	if _, err := s.Publish(schema.RecordState, "", 1); !errors.Is(err, record.ErrNotBegun) {
		t.Fatal(err)
	}
	if _, err := s.Put(f.record(0, "", 7, 3, `"past"`)); err != nil {
		t.Fatal(err)
	}
	s.Begin(3)
	if fresh, err := s.Publish(schema.RecordState, "", 1); err != nil || !fresh || s.Of(schema.RecordState)[0].Boot != 3 {
		t.Fatal(fresh, err)
	}
}

func TestPublishOnlyWhatChanged(t *testing.T) {
	f := newFleet(1)
	s := f.store(0, 1)
	for i, want := range []bool{true, false} {
		if fresh, err := s.Publish(schema.RecordHead, "", schema.HeadRecord{Commit: "c"}); err != nil || fresh != want {
			t.Fatal(i, fresh, err)
		}
	}
	<-s.Changed()
	if _, err := s.Publish(schema.RecordHead, "", strings.Repeat("a", schema.MaxRecordBody)); err == nil {
		t.Fatal("a record larger than others take was published")
	}
}

func TestForgetWhoLeftTheRoster(t *testing.T) {
	f := newFleet(3)
	s := f.store(0, 1)
	for i := 1; i < 3; i++ {
		if _, err := s.Put(f.record(i, "", 1, 1, "1")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Publish(schema.RecordState, "", 1); err != nil {
		t.Fatal(err)
	}
	delete(f.keys, f.ids[1])
	s.Forget()
	if got := s.Of(schema.RecordState); len(got) != 2 || s.Buckets() == (f.store(0, 1).Buckets()) {
		t.Fatal(got)
	}
}

func TestBootCounts(t *testing.T) {
	dir := t.TempDir()
	for want := range uint64(3) {
		if got, err := record.NextBoot(dir); err != nil || got != want+1 {
			t.Fatal(got, err)
		}
	}
	if err := record.SetBoot(dir, 40); err != nil {
		t.Fatal(err)
	}
	if got, err := record.NextBoot(dir); err != nil || got != 41 {
		t.Fatal(got, err)
	}
	for _, bad := range []string{"", "x", "-1", "99999999999999999999"} {
		if err := os.WriteFile(filepath.Join(dir, "boot"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := record.NextBoot(dir); err == nil || !strings.Contains(err.Error(), "boot") {
			t.Fatalf("%q: %v", bad, err)
		}
	}
	if _, err := record.NextBoot(filepath.Join(dir, "nowhere")); err == nil {
		t.Fatal("counted without a folder")
	}
}
