package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/reconciler/firstseen"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// seenFile is what a host remembers of the archives that it has looked at, below the state folder.
	seenFile = "sightings.json"
	// maxSightings bounds that file in bytes, and forgetSeen is how long a version is remembered that the archives have no longer.
	maxSightings = 16 << 20
	forgetSeen   = 400 * 24 * time.Hour
	// seenSlots is how many records of sightings a node has at most, seenRecord how large it lets one grow in bytes before
	// it begins the next: what is told anew with each sighting is one of them. The oldest gives way.
	seenSlots  = 24
	seenRecord = 3 << 10
)

// seen is what a host has seen in archives, kept in a file and read when it is needed: it is large, and seldom asked.
type seen struct {
	path string
	keep bool // what is seen is written down
	// told is what other nodes have told; nil: nobody is asked. stamp changes when that does.
	told  func() []firstseen.Told
	stamp func() string
	// doubt says why no instant of this host is to be believed now; nil: it always is.
	doubt func() string

	mu      sync.Mutex
	untold  atomic.Bool // others would do well to know of something
	pastMu  sync.Mutex
	earlier []schema.SeenRecord // of this node, from before its memory was lost
}

// memory is that file.
type memory struct {
	V   int                           `json:"v"` // 1
	Own map[string]schema.SeenArchive `json:"own"`
	// Told are the records that this node has published, by key; Next is the one that grows.
	Told map[string]schema.SeenRecord `json:"told"`
	Next int                          `json:"next"`
	// Others is what others told of what this host sees, for when they cannot be asked.
	Others []firstseen.Told `json:"others"`
}

// readMemory reads it; one that is not there yet is empty. One that is damaged is not begun anew by itself: everything in
// the archives would count as old enough.
func (s *seen) readMemory() (memory, error) {
	m := memory{V: 1, Own: map[string]schema.SeenArchive{}, Told: map[string]schema.SeenRecord{}}
	info, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("read sightings: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSightings {
		return m, fmt.Errorf("read sightings: %q is no file of this program", s.path)
	}
	if err := host.Owned(s.path); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return m, fmt.Errorf("read sightings: %w", err)
	}
	b, err := os.ReadFile(s.path)
	if err != nil {
		return m, fmt.Errorf("read sightings: %w", err)
	}
	m = memory{}
	if err := json.Unmarshal(b, &m); err != nil || m.V != 1 || !firstseen.Valid(schema.SeenRecord{Archives: m.Own}) {
		return memory{}, fmt.Errorf("%q is damaged: restore it, or remove it, and all that the archives have then counts as old enough", s.path)
	}
	if m.Told == nil {
		m.Told = map[string]schema.SeenRecord{}
	}
	return m, nil
}

func (s *seen) writeMemory(m memory) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writeDurably(s.path, b)
}

// date dates the candidates of this host, and takes note of those that it sees for the first time. What cannot be written
// down is not seen: it would be new again after each start.
func (s *seen) date(who firstseen.Who, candidates []schema.PackageFact, archives []schema.Origin) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.readMemory()
	if err != nil {
		for i := range candidates {
			candidates[i].FirstSeen = time.Time{}
		}
		return err
	}
	before, err := json.Marshal(m)
	if err != nil {
		return err
	}
	want := firstseen.Wanted{}
	for _, p := range candidates {
		want.Add(p)
	}
	past := s.takePast(&m)
	noted := m
	var doubt error
	if last := m.last(); last.After(who.Now) {
		doubt = fmt.Errorf("this host's clock says %s, and it has noted sightings at %s: until then it notes none; if the clock was wrong when it did, remove %q",
			firstseen.Stamp(who.Now), firstseen.Stamp(last), s.path)
	} else if s.doubt == nil || s.doubt() == "" {
		noted = m.note(want, archives, who.Now)
	}
	noted.forget(want, who.Now)
	others := noted.Others
	if s.told != nil {
		others = append(slices.Clone(others), s.told()...)
	}
	book := noted.open(who, want, others)
	noted.Others = book.Remember()
	if after, err := json.Marshal(noted); s.keep && (err != nil || string(after) != string(before)) {
		if err == nil {
			err = writeDurably(s.path, after)
		}
		if err != nil {
			s.give(past)
			book = m.open(who, want, others)
			dateAll(book, candidates)
			return fmt.Errorf("sightings are not kept: %w", err)
		}
	}
	dateAll(book, candidates)
	s.untold.Store(len(noted.news(book)) > 0)
	return doubt
}

// last is when something was noted last.
func (m memory) last() time.Time {
	var last time.Time
	for _, a := range m.Own {
		if a.First.After(last) {
			last = a.First
		}
		for when := range a.Seen {
			if t, ok := firstseen.Instant(when); ok && t.After(last) {
				last = t
			}
		}
	}
	return last
}

func dateAll(b *firstseen.Book, candidates []schema.PackageFact) {
	for i := range candidates {
		candidates[i].FirstSeen = b.Date(candidates[i])
	}
}

// open reads this node's own sightings with those of others.
func (m memory) open(who firstseen.Who, want firstseen.Wanted, others []firstseen.Told) *firstseen.Book {
	all := firstseen.Wanted{}
	for archive, versions := range want {
		all.AddNamed(archive, "")
		for v := range versions {
			all.AddNamed(archive, v)
		}
	}
	for archive, a := range m.Own {
		all.AddNamed(archive, "")
		for _, versions := range a.Seen {
			for _, v := range versions {
				all.AddNamed(archive, v)
			}
		}
	}
	own := firstseen.Told{Node: who.Self, SeenRecord: schema.SeenRecord{Archives: m.Own}}
	return firstseen.Open(who, all, append([]firstseen.Told{own}, others...))
}

// note gives the memory with what is seen now for the first time; m is not changed.
func (m memory) note(want firstseen.Wanted, archives []schema.Origin, now time.Time) memory {
	stamp := firstseen.Stamp(now)
	at, _ := firstseen.Instant(stamp)
	m.Own = clonedSeen(m.Own)
	look := func(archive string) {
		if _, ok := m.Own[archive]; archive != "" && !ok {
			m.Own[archive] = schema.SeenArchive{First: at, Seen: map[string][]string{}}
		}
	}
	for _, o := range archives {
		look(firstseen.Archive(o))
	}
	for archive, versions := range want {
		look(archive)
		a := m.Own[archive]
		known := map[string]bool{}
		for _, list := range a.Seen {
			for _, v := range list {
				known[v] = true
			}
		}
		for v := range versions {
			if !known[v] {
				a.Seen[stamp] = append(a.Seen[stamp], v)
			}
		}
		slices.Sort(a.Seen[stamp])
		if len(a.Seen[stamp]) == 0 {
			delete(a.Seen, stamp)
		}
	}
	return m
}

func clonedSeen(of map[string]schema.SeenArchive) map[string]schema.SeenArchive {
	out := make(map[string]schema.SeenArchive, len(of))
	for archive, a := range of {
		seen := make(map[string][]string, len(a.Seen))
		for at, versions := range a.Seen {
			seen[at] = slices.Clone(versions)
		}
		out[archive] = schema.SeenArchive{First: a.First, Seen: seen}
	}
	return out
}

// forget drops what the archives have no longer and was seen long ago.
func (m *memory) forget(want firstseen.Wanted, now time.Time) {
	for archive, a := range m.Own {
		for when, versions := range a.Seen {
			if t, ok := firstseen.Instant(when); !ok || now.Sub(t) < forgetSeen {
				continue
			}
			left := slices.DeleteFunc(versions, func(v string) bool { return !want[archive][v] })
			if a.Seen[when] = left; len(left) == 0 {
				delete(a.Seen, when)
			}
		}
	}
}

// heard takes note of what this node told before it lost its memory.
func (s *seen) heard(r schema.SeenRecord) {
	if !firstseen.Valid(r) {
		return
	}
	s.pastMu.Lock()
	defer s.pastMu.Unlock()
	if len(s.earlier) < 4*seenSlots {
		s.earlier = append(s.earlier, r)
		s.untold.Store(true)
	}
}

// takePast adds that to a memory, and gives what of it was new to it.
func (s *seen) takePast(m *memory) (past []schema.SeenRecord) {
	s.pastMu.Lock()
	earlier := s.earlier
	s.earlier = nil
	s.pastMu.Unlock()
	for _, r := range earlier {
		if m.knows(r) {
			continue
		}
		past = append(past, r)
		m.Own = clonedSeen(m.Own)
		for archive, a := range r.Archives {
			own, ok := m.Own[archive]
			if !ok || a.First.Before(own.First) {
				own.First = a.First
			}
			if own.Seen == nil {
				own.Seen = map[string][]string{}
			}
			for when, versions := range a.Seen {
				own.Seen[when] = slices.Compact(slices.Sorted(slices.Values(append(own.Seen[when], versions...))))
			}
			m.Own[archive] = own
		}
		m.nextSlot()
		m.Told[strconv.Itoa(m.Next)] = r
	}
	return past
}

// give puts back what could not be kept.
func (s *seen) give(past []schema.SeenRecord) {
	for _, r := range past {
		s.heard(r)
	}
}

// knows reports whether this node tells all of a record now.
func (m memory) knows(r schema.SeenRecord) bool {
	for archive, a := range r.Archives {
		own, ok := m.Own[archive]
		if !ok || own.First.After(a.First) {
			return false
		}
		for when, versions := range a.Seen {
			for _, v := range versions {
				if !slices.Contains(own.Seen[when], v) {
					return false
				}
			}
		}
	}
	return true
}

// nextSlot begins another record, and drops the oldest one where there are too many.
func (m *memory) nextSlot() {
	m.Next = (m.Next + 1) % seenSlots
	delete(m.Told, strconv.Itoa(m.Next))
}

// item is one thing to be told: a version, or with an empty one that an archive was looked at.
type item struct {
	archive, when, version string
}

// news is what this node has not told and too few others have.
func (m memory) news(b *firstseen.Book) []item {
	told := map[string]map[string]bool{}
	for _, r := range m.Told {
		for archive, a := range r.Archives {
			if told[archive] == nil {
				told[archive] = map[string]bool{}
			}
			for _, versions := range a.Seen {
				for _, v := range versions {
					told[archive][v] = true
				}
			}
		}
	}
	var out []item
	for archive, a := range m.Own {
		if told[archive] == nil && b.Looked(archive) < firstseen.Witnesses {
			out = append(out, item{archive: archive})
		}
		for when, versions := range a.Seen {
			for _, v := range versions {
				if !told[archive][v] && b.Others(archive, v) < firstseen.Witnesses {
					out = append(out, item{archive, when, v})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.when, b.when), cmp.Compare(a.archive, b.archive), cmp.Compare(a.version, b.version))
	})
	return out
}

// tell writes down what others would do well to know, and gives all records of this node, by key.
func (s *seen) tell(who firstseen.Who) (map[string]schema.SeenRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.readMemory()
	if err != nil {
		return nil, err
	}
	past := s.takePast(&m)
	others := m.Others
	if s.told != nil {
		others = append(slices.Clone(others), s.told()...)
	}
	news := m.news(m.open(who, nil, others))
	if len(news) == 0 && len(past) == 0 {
		s.untold.Store(false)
		return m.Told, nil
	}
	size := m.size()
	for _, one := range news {
		if size > seenRecord {
			m.nextSlot()
			size = 0
		}
		key := strconv.Itoa(m.Next)
		r, ok := m.Told[key]
		if !ok {
			r.Archives = map[string]schema.SeenArchive{}
		}
		a, ok := r.Archives[one.archive]
		if !ok {
			a = schema.SeenArchive{First: m.Own[one.archive].First, Seen: map[string][]string{}}
			size += len(one.archive) + 64
		}
		if one.version != "" {
			if a.Seen[one.when] == nil {
				size += len(one.when) + 8
			}
			a.Seen[one.when] = append(a.Seen[one.when], one.version)
			slices.Sort(a.Seen[one.when])
			size += len(one.version) + 4
		}
		r.Archives[one.archive] = a
		m.Told[key] = r
	}
	if err := s.writeMemory(m); err != nil {
		s.give(past)
		return nil, fmt.Errorf("sightings are not kept: %w", err)
	}
	s.untold.Store(false)
	return m.Told, nil
}

// size is that of the record that grows, in bytes.
func (m memory) size() int {
	r, ok := m.Told[strconv.Itoa(m.Next)]
	if !ok {
		return 0
	}
	b, err := json.Marshal(r)
	if err != nil {
		return 2 * seenRecord
	}
	return len(b)
}
