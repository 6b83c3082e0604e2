package peer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// reading takes frames until the stream ends.
func (s *stream) reading(from io.Reader) {
	buffered := bufio.NewReader(from)
	for {
		k, payload, err := readFrame(buffered)
		if err == nil {
			err = s.account.frame(time.Now())
		}
		if err == nil {
			err = s.take(k, payload)
		}
		if err != nil {
			s.close(err)
			return
		}
		if !s.asks {
			s.alive.Reset(idleWithin)
		}
		if !s.pause(s.account.read(headLen+len(payload), time.Now())) {
			return
		}
	}
}

// pause waits where a peer sends, or asks for, more bytes than a sound one has reason to; it reports whether the stream goes on.
func (s *stream) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	s.p.slowed.Add(1)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

func (s *stream) take(k kind, payload []byte) error {
	switch k {
	case frameOffer:
		return s.offered(payload)
	case frameWant:
		return s.wanted(payload)
	case frameRecords:
		return s.received(payload)
	case frameUrgent:
		return s.unasked(payload)
	case framePush:
		if len(payload) < topicLen {
			return fmt.Errorf("%w: a push of %d bytes", errFrame, len(payload))
		}
		topic := [topicLen]byte(payload)
		s.mu.Lock()
		if s.topic != topic {
			s.topic, s.pushing = topic, nil // it has it
		}
		s.mu.Unlock()
		if s.p.config.Pushed != nil {
			s.p.config.Pushed(s.id, topic, payload[topicLen:])
		}
		return nil
	case frameRoot:
		if s.asks {
			return errUnasked
		}
		reply := frameBuckets
		if rootOf(s.p.config.Store.Buckets()) == [32]byte(payload) {
			reply = frameSame
		}
		s.mu.Lock()
		s.reply = reply
		s.mu.Unlock()
	case frameSame, frameBuckets:
		return s.answered(k, payload)
	case frameAsk:
		if s.asks {
			return errUnasked
		}
		s.mu.Lock()
		for i := range s.buckets {
			s.buckets[i] = s.buckets[i] || payload[i/8]&(1<<(i%8)) != 0
		}
		s.mu.Unlock()
	}
	wake(s.wake)
	return nil
}

// answered ends a comparison: both sides offer what they have in the buckets that differ.
func (s *stream) answered(k kind, payload []byte) error {
	s.mu.Lock()
	owed := s.owed
	s.owed = false
	s.mu.Unlock()
	if !owed {
		return errUnasked
	}
	s.alive.Stop()
	if k == frameSame {
		return nil
	}
	mine := s.p.config.Store.Buckets()
	bits := make([]byte, 32)
	s.mu.Lock()
	for i := range mine {
		if mine[i] != [32]byte(payload[i*32:i*32+32]) {
			bits[i/8] |= 1 << (i % 8)
			s.buckets[i] = true
		}
	}
	s.ask = bits
	s.mu.Unlock()
	wake(s.wake)
	return nil
}

func (s *stream) offered(payload []byte) error {
	ds, err := unpackDigests(payload)
	if err != nil {
		return err
	}
	missing := s.p.config.Store.Missing(ds)
	lacks := make(map[string]struct{}, len(missing))
	for _, d := range missing {
		lacks[d] = struct{}{}
	}
	s.mu.Lock()
	for _, d := range ds {
		if _, ok := lacks[d]; !ok { // so that has stays as small as the store
			s.has[d] = struct{}{}
		}
	}
	s.mu.Unlock()
	s.p.want(s, missing, time.Now())
	return nil
}

func (s *stream) wanted(payload []byte) error {
	ds, err := unpackDigests(payload)
	if err != nil {
		return err
	}
	lacks := map[string]struct{}{}
	for _, d := range s.p.config.Store.Missing(ds) {
		lacks[d] = struct{}{}
	}
	s.mu.Lock()
	for _, d := range ds {
		if _, ok := lacks[d]; !ok && s.sent[d] < maxSent && len(s.sends) < maxQueue {
			s.sent[d]++
			s.sends = append(s.sends, d)
		}
	}
	s.mu.Unlock()
	wake(s.wake)
	return nil
}

func (s *stream) received(payload []byte) error {
	records, err := unpackRecords(payload)
	if err != nil {
		return err
	}
	anyFresh := false
	for _, n := range records {
		s.mu.Lock()
		_, asked := s.asked[n.digest]
		delete(s.asked, n.digest)
		s.mu.Unlock()
		if !asked {
			return errUnasked
		}
		fresh, err := s.p.config.Store.Put(n.record)
		if err != nil {
			if err := s.refuse(err); err != nil {
				return err
			}
			continue // somebody else's may be right: the wish stays
		}
		s.mu.Lock()
		s.has[n.digest] = struct{}{}
		s.mu.Unlock()
		s.p.came(n.digest)
		anyFresh = anyFresh || fresh
	}
	if anyFresh {
		s.p.Offer()
	}
	return nil
}

// unasked takes an urgent record. It is passed on as one, so that it is everywhere at once.
func (s *stream) unasked(payload []byte) error {
	records, err := unpackRecords(payload)
	if err != nil {
		return err
	}
	if len(records) != 1 {
		return fmt.Errorf("%w: %d records at once", errFrame, len(records))
	}
	n := records[0]
	fresh := false
	if len(s.p.config.Store.Missing([]string{n.digest})) > 0 {
		if fresh, err = s.p.config.Store.Put(n.record); err != nil {
			return s.refuse(err)
		}
	}
	s.mu.Lock()
	s.has[n.digest] = struct{}{}
	s.mu.Unlock()
	s.p.came(n.digest)
	if fresh {
		s.p.Offer()
	}
	return nil
}

// refuse accounts for a record that the store did not take, and fails where they are too many.
func (s *stream) refuse(err error) error {
	if errors.Is(err, schema.ErrTooFast) {
		return nil // its owner's fault, and whoever passes it on cannot count as this node does
	}
	s.p.log.printf("record from %q refused: %v", clip(s.id), err)
	return s.account.refuse(errors.Is(err, schema.ErrBadSignature), time.Now())
}
