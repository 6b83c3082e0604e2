package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// seen is a stream whose one message was looked at before anybody reads it. There is one each way on a stream.
type seen struct {
	net.Conn
	t        *transport
	labelled bool // somebody else has opened it: it begins with the label
	from     netip.AddrPort

	looked bool
	rest   []byte
	err    error
}

func (s *seen) Read(b []byte) (int, error) {
	if !s.looked {
		s.looked = true
		if s.rest, s.err = s.look(); s.err == nil {
			s.err = io.EOF
		}
	}
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	return 0, s.err
}

// look reads the message. What was not sealed with the key goes on as it is, so that both sides say why nothing comes of it.
func (s *seen) look() ([]byte, error) {
	d := s.t.door
	var head []byte
	read := func(n int) error {
		at := len(head)
		head = append(head, make([]byte, n)...)
		got, err := io.ReadFull(s.Conn, head[at:])
		head = head[:at+got]
		return err
	}
	if err := read(1); err != nil {
		return head, err
	}
	if s.labelled {
		if head[0] != msgLabel {
			return head, nil
		}
		if err := read(1); err != nil {
			return head, err
		}
		if err := read(int(head[1])); err != nil {
			return head, err
		}
		if string(head[2:]) != d.label {
			return head, nil
		}
		if err := read(1); err != nil {
			return head, err
		}
	}
	before := len(head) - 1
	if head[before] != msgEncrypted {
		return head, nil
	}
	if err := read(4); err != nil {
		return head, err
	}
	n := int64(binary.BigEndian.Uint32(head[before+1:]))
	most := int64(d.mostState() + 1 + nonceSize + tagSize)
	if n > most {
		s.t.tally.malformed.Add(1)
		return nil, fmt.Errorf("%w: %d bytes", errWire, n)
	}
	if s.t.reading.Add(n) > maxReading+2*most {
		s.t.reading.Add(-n)
		s.t.tally.tooMany.Add(1)
		return nil, errors.New("too much is read from others at the moment")
	}
	defer s.t.reading.Add(-n)
	if err := read(int(n)); err != nil {
		return nil, err
	}
	data := append(append([]byte(nil), head[before:before+5]...), d.label...)
	plain, err := open(d.keys(), head[before+5:], data)
	if errors.Is(err, errForeign) {
		return head, nil
	}
	var taken []byte
	if err == nil {
		s.t.claims.heard(s.from.Addr().Unmap(), time.Now())
		taken, err = d.stream(plain, s.from, time.Now())
	}
	if err != nil {
		s.t.tally.malformed.Add(1)
		return nil, err
	}
	if len(taken) == len(plain) {
		return head, nil
	}
	again := binary.BigEndian.AppendUint32([]byte{msgEncrypted}, uint32(1+nonceSize+len(taken)+tagSize))
	sealed, err := seal(d.keys()[0], taken, append(append([]byte(nil), again...), d.label...))
	if err != nil {
		return nil, err
	}
	return append(append(head[:before:before], again...), sealed...), nil
}

// maxReading bounds what is read from streams at the same time, in bytes, and two whole states beside.
const maxReading = 2 << 20
