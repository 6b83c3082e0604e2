package peer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const streamPath = "/dunlin/records/v1"

// Limits of one stream.
const (
	maxQueue   = 16 << 10        // digests that wait to be sent, of each sort
	maxSent    = 3               // times that one record is sent
	maxUrgents = 256             // urgent records that wait to be sent
	oweFor     = 2 * time.Minute // after which a record that was asked for and did not come is not waited for
)

var (
	errStuck    = errors.New("it does not take what is sent to it")
	errSilent   = errors.New("it does not answer")
	errReplaced = errors.New("it has opened another stream")
	errFlood    = errors.New("it sends too many frames")
	errBad      = errors.New("it sends records with wrong signatures")
	errUnasked  = fmt.Errorf("%w: what nobody has asked for", errFrame)
)

// stream is an exchange of records with one peer. Reading never waits for writing: what is to be sent is noted, as digests
// and bits, and made when the peer can take it, so that a slow one costs little memory.
type stream struct {
	p     *Peers
	id    string
	asks  bool // this side has dialled, so that it begins comparisons
	since time.Time
	send  func(frame []byte) error // returns after writeWithin at the latest
	free  func()                   // ends reading and writing
	wake  chan struct{}
	done  chan struct{}
	alive *time.Timer // ends the stream: of who dials for want of an answer, of the other for want of anything

	mu      sync.Mutex
	why     error
	root    bool      // a comparison is due
	owed    bool      // an answer to our root
	reply   kind      // to their root: frameSame, frameBuckets or none
	ask     []byte    // bits of buckets
	buckets [256]bool // whose digests are to be offered
	offers  []string
	wants   []string
	sends   []string
	urgent  []named
	topic   [topicLen]byte       // of the push that the peer has, or that is on its way to it
	pushing []byte               // frame; nil where none waits
	asked   map[string]time.Time // records that may come
	has     map[string]struct{}  // records here that the peer is known to have or to have been offered
	sent    map[string]uint8

	account *account // of the node
}

func (p *Peers) newStream(id string, asks bool) *stream {
	now := time.Now()
	s := &stream{
		p: p, id: id, asks: asks, since: now, wake: make(chan struct{}, 1), done: make(chan struct{}),
		asked: map[string]time.Time{}, has: map[string]struct{}{}, sent: map[string]uint8{},
		account: p.account(id),
	}
	for _, n := range p.late(now) {
		s.has[n.digest] = struct{}{}
		s.urgent = append(s.urgent, n)
	}
	p.mu.Lock()
	if last := p.pushed; !last.at.IsZero() && now.Sub(last.at) < pushFresh {
		s.topic, s.pushing = last.topic, last.frame
	}
	p.mu.Unlock()
	return s
}

// close ends a stream; the first reason is the one that is told.
func (s *stream) close(why error) {
	s.mu.Lock()
	first := s.why == nil
	if first {
		s.why = why
		close(s.done)
	}
	s.mu.Unlock()
	if first {
		s.alive.Stop()
		s.free()
	}
}

func (s *stream) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *stream) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// accept serves a stream that a peer has opened, until it ends.
func (p *Peers) accept(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	control := http.NewResponseController(w)
	if err := p.account(id).open(time.Now()); err != nil {
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	}
	s := p.newStream(id, false)
	s.send = func(b []byte) error {
		stuck := time.AfterFunc(writeWithin, func() { s.close(errStuck) })
		defer stuck.Stop()
		// The deadline frees this goroutine, a little after the reason is noted.
		if err := control.SetWriteDeadline(time.Now().Add(writeWithin + tick)); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		if err := control.Flush(); err != nil {
			return err
		}
		return control.SetWriteDeadline(time.Time{}) // else it would end the stream in a quiet hour
	}
	s.free = func() { _ = r.Body.Close() }
	s.alive = time.AfterFunc(idleWithin, func() { s.close(errSilent) })
	p.mu.Lock()
	old := p.accepted[id]
	switch {
	case p.closed:
		p.mu.Unlock()
		s.close(errEnd)
		return
	case old == nil && len(p.accepted) >= maxAccepted:
		p.mu.Unlock()
		s.close(errEnd)
		http.Error(w, "enough neighbours", http.StatusServiceUnavailable)
		return
	}
	p.accepted[id] = s
	p.work.Add(1) // under the lock: nobody waits before closed is set
	p.mu.Unlock()
	defer p.work.Done()
	if old != nil {
		old.close(errReplaced)
	}
	wake(p.kick)
	w.WriteHeader(http.StatusOK)
	if err := control.Flush(); err != nil {
		s.close(err)
	}
	p.work.Go(func() { s.reading(r.Body) })
	s.writing()
	p.mu.Lock()
	if p.accepted[id] == s {
		delete(p.accepted, id)
	}
	closed := p.closed
	p.mu.Unlock()
	wake(p.kick)
	why := s.reason()
	if !closed && (why == errStuck || why == errSilent) {
		p.log.printf("stream of %q ended: %v", clip(id), why)
	}
	if !closed {
		p.blame(s, why)
	}
}

// connect opens a stream to a node and serves it until it ends.
func (p *Peers) connect(ctx context.Context, id string, l *link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, to := io.Pipe()
	defer func() { _ = to.Close() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+id+streamPath, from)
	if err != nil {
		return err
	}
	late := time.AfterFunc(2*dialWithin, cancel)
	answer, err := p.transport.RoundTrip(req)
	if !late.Stop() && err != nil {
		return fmt.Errorf("no answer in %s", 2*dialWithin)
	}
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers with status %d", answer.StatusCode)
	}
	s := p.newStream(id, true)
	s.send = func(b []byte) error {
		stuck := time.AfterFunc(writeWithin, func() { s.close(errStuck) })
		defer stuck.Stop()
		_, err := to.Write(b)
		return err
	}
	s.free = func() {
		cancel()
		_ = to.CloseWithError(errEnd)
		_ = answer.Body.Close()
	}
	s.alive = time.AfterFunc(answerWithin, func() { s.close(errSilent) })
	s.alive.Stop() // runs while an answer is owed
	go func() {    // ends with the stream, for which p.work waits below
		select {
		case <-ctx.Done():
			s.close(context.Canceled)
		case <-s.done:
		}
	}()
	p.mu.Lock()
	l.stream = s
	closed := p.closed
	p.mu.Unlock()
	if closed {
		s.close(errEnd)
	}
	p.work.Go(func() { s.reading(answer.Body) })
	s.writing()
	why := s.reason()
	p.blame(s, why)
	return why
}

// writing sends what is noted, and begins a comparison each round where this side has dialled.
func (s *stream) writing() {
	due := time.NewTimer(0)
	defer due.Stop()
	if !s.asks {
		due.Stop()
	}
	for {
		for !s.ended() {
			b := s.next()
			if b == nil {
				break
			}
			if err := s.send(b); err != nil {
				s.close(err)
			} else if kind(b[4]) == frameRecords && !s.pause(s.account.gave(len(b), time.Now())) {
				return
			}
		}
		select {
		case <-s.done:
			return
		case <-s.wake:
		case <-due.C:
			s.compare()
			due.Reset(round + time.Duration(s.p.config.Rand()*float64(round)/3))
		}
	}
}

// compare notes that a root is to be sent.
func (s *stream) compare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.owed {
		s.root = true
	}
}

// next makes the next frame; nil where nothing is to be sent. Short ones that others wait for go first.
func (s *stream) next() []byte {
	s.mu.Lock()
	switch {
	case s.reply != 0:
		k := s.reply
		s.reply = 0
		s.mu.Unlock()
		if k == frameSame {
			return frame(k, nil)
		}
		return frame(k, flat(s.p.config.Store.Buckets()))
	case len(s.urgent) > 0:
		n := s.urgent[0]
		if s.urgent = s.urgent[1:]; len(s.urgent) == 0 {
			s.urgent = nil
		}
		s.mu.Unlock()
		return frame(frameUrgent, packRecord(nil, n.digest, n.record))
	case s.pushing != nil:
		b := s.pushing
		s.pushing = nil
		s.mu.Unlock()
		return b
	case s.root:
		s.root, s.owed = false, true
		s.alive.Reset(answerWithin)
		s.mu.Unlock()
		root := rootOf(s.p.config.Store.Buckets())
		return frame(frameRoot, root[:])
	case s.ask != nil:
		bits := s.ask
		s.ask = nil
		s.mu.Unlock()
		return frame(frameAsk, bits)
	case len(s.wants) > 0:
		ds := cut(&s.wants)
		s.mu.Unlock()
		return frame(frameWant, packDigests(ds))
	case len(s.offers) > 0:
		ds := cut(&s.offers)
		s.mu.Unlock()
		return frame(frameOffer, packDigests(ds))
	}
	for i, offer := range s.buckets {
		if offer {
			s.buckets[i] = false
			s.mu.Unlock()
			ds := s.p.config.Store.Bucket(i)
			return frame(frameOffer, packDigests(ds[:min(len(ds), maxDigests)]))
		}
	}
	s.mu.Unlock()
	return s.records()
}

// cut takes up to a frame's digests off the front.
func cut(ds *[]string) []string {
	n := min(len(*ds), maxDigests)
	out := (*ds)[:n:n]
	if *ds = (*ds)[n:]; len(*ds) == 0 {
		*ds = nil
	}
	return out
}

// records packs records that the peer has asked for.
func (s *stream) records() []byte {
	var b []byte
	for len(b) < packRecords {
		s.mu.Lock()
		if len(s.sends) == 0 {
			s.sends = nil
			s.mu.Unlock()
			break
		}
		d := s.sends[0]
		s.sends = s.sends[1:]
		s.mu.Unlock()
		for _, r := range s.p.config.Store.Get([]string{d}) {
			b = packRecord(b, d, r)
		}
	}
	if len(b) == 0 {
		return nil
	}
	return frame(frameRecords, b)
}

func flat(hashes [256][32]byte) []byte {
	b := make([]byte, 0, 256*32)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

func rootOf(hashes [256][32]byte) [32]byte { return sha256.Sum256(flat(hashes)) }

// offer notes records that are new here; held is how many there are.
func (s *stream) offer(ds []string, held int) {
	s.mu.Lock()
	if len(s.has) > 2*held+maxDigests {
		clear(s.has) // mostly of records that are no more
	}
	if len(s.sent) > 2*held+maxDigests {
		clear(s.sent)
	}
	for _, d := range ds {
		if _, known := s.has[d]; !known && len(s.offers) < maxQueue { // what finds no room, a comparison finds
			s.has[d] = struct{}{}
			s.offers = append(s.offers, d)
		}
	}
	s.mu.Unlock()
	wake(s.wake)
}

// urge notes new records that are sent unasked.
func (s *stream) urge(rs []named) {
	if len(rs) == 0 {
		return
	}
	s.mu.Lock()
	for _, r := range rs {
		if _, known := s.has[r.digest]; known {
			continue
		}
		s.has[r.digest] = struct{}{}
		if len(s.urgent) < maxUrgents {
			s.urgent = append(s.urgent, r)
		} else if len(s.offers) < maxQueue {
			s.offers = append(s.offers, r.digest)
		}
	}
	s.mu.Unlock()
	wake(s.wake)
}

// push notes what is to be pushed, unless the peer has it.
func (s *stream) push(topic [topicLen]byte, frame []byte) {
	s.mu.Lock()
	if s.topic != topic {
		s.topic, s.pushing = topic, frame
	}
	s.mu.Unlock()
	wake(s.wake)
}

// want notes records to ask for, as long as the peer owes less than most. It gives those that are now asked for.
func (s *stream) want(ds []string, most int, now time.Time) (asked []string) {
	if len(ds) == 0 {
		return nil
	}
	s.mu.Lock()
	if len(s.asked)+len(ds) > most {
		// Records that gave way to newer ones on their way here never come.
		for d, at := range s.asked {
			if now.Sub(at) >= oweFor {
				delete(s.asked, d)
			}
		}
	}
	for _, d := range ds {
		if _, already := s.asked[d]; already || len(s.asked) >= most {
			continue
		}
		s.asked[d] = now
		s.wants = append(s.wants, d)
		asked = append(asked, d)
	}
	s.mu.Unlock()
	wake(s.wake)
	return asked
}
