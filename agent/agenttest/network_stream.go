package agenttest

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// stream is one direction of a connection.
type stream struct {
	mu    sync.Mutex
	queue []chunk
	size  int
	last  time.Time     // when the newest chunk arrives; none comes before an older one
	err   error         // the writer has ended, or the connection is cut
	wake  chan struct{} // closed and made anew at every change
}

type chunk struct {
	sent, at time.Time
	held     bool // a partition was in its way
	b        []byte
}

// release is when a chunk that a partition held up arrives, now that there is none: when it is sent again next.
func (c *chunk) release(now time.Time) {
	c.held = false
	for n := 1; n < 16; n++ {
		if at := c.sent.Add(backedOff(segmentTimeout, n)); !at.Before(now) {
			c.at = at
			return
		}
	}
	c.at = now
}

// window is how many bytes may be under way in one direction.
const window = 256 << 10

func newStream() *stream { return &stream{wake: make(chan struct{})} }

// touch tells all who wait that something changed. The caller holds mu.
func (s *stream) touch() {
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.touch()
}

type conn struct {
	h             *HostNetwork
	local, remote netip.AddrPort
	in, out       *stream
	once          sync.Once

	mu          sync.Mutex
	closed      bool
	read, write time.Time
}

func (c *conn) deadline(write bool) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if write {
		return c.write, c.closed
	}
	return c.read, c.closed
}

// wait sleeps until the stream changes, a partition does, at comes, or the deadline passes.
func (c *conn) wait(wake, blocked <-chan struct{}, at, deadline time.Time) {
	var timer <-chan time.Time
	if at.IsZero() || !deadline.IsZero() && deadline.Before(at) {
		at = deadline
	}
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-wake:
	case <-blocked:
	case <-timer:
	}
}

func (c *conn) Read(b []byte) (int, error) {
	for {
		deadline, closed := c.deadline(false)
		_, blocked := c.h.n.reach(c.remote.Addr(), c.local.Addr())
		c.in.mu.Lock()
		wake := c.in.wake
		var at time.Time
		switch {
		case closed:
			c.in.mu.Unlock()
			return 0, net.ErrClosed
		case !deadline.IsZero() && !time.Now().Before(deadline):
			c.in.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case blocked != nil:
			if len(c.in.queue) > 0 {
				c.in.queue[0].held = true
			}
		case len(c.in.queue) > 0 && c.in.queue[0].held:
			c.in.queue[0].release(time.Now())
			at = c.in.queue[0].at
		case len(c.in.queue) > 0 && !time.Now().Before(c.in.queue[0].at):
			first := &c.in.queue[0]
			n := copy(b, first.b)
			first.b = first.b[n:]
			if len(first.b) == 0 {
				c.in.queue = c.in.queue[1:]
			}
			c.in.size -= n
			c.in.touch()
			c.in.mu.Unlock()
			if len(first.b) == 0 {
				c.h.count(0, 52) // the acknowledgement
			}
			return n, nil
		case len(c.in.queue) > 0:
			at = c.in.queue[0].at
		case c.in.err != nil:
			err := c.in.err
			c.in.mu.Unlock()
			return 0, err
		}
		c.in.mu.Unlock()
		c.wait(wake, blocked, at, deadline)
	}
}

func (c *conn) Write(b []byte) (int, error) {
	written := 0
	for {
		deadline, closed := c.deadline(true)
		delay, blocked := c.h.n.reach(c.local.Addr(), c.remote.Addr())
		times := c.h.n.lost(1)
		c.out.mu.Lock()
		wake := c.out.wake
		switch {
		case closed:
			c.out.mu.Unlock()
			return written, net.ErrClosed
		case c.out.err != nil && blocked == nil:
			c.out.mu.Unlock()
			return written, io.ErrClosedPipe
		case !deadline.IsZero() && !time.Now().Before(deadline):
			c.out.mu.Unlock()
			return written, os.ErrDeadlineExceeded
		case len(b) == 0:
			c.out.mu.Unlock()
			return written, nil
		case c.out.size < window:
			n := min(len(b), window-c.out.size, 16<<10)
			now := time.Now()
			at := now.Add(delay + backedOff(segmentTimeout, times))
			if at.Before(c.out.last) {
				at = c.out.last
			}
			c.out.last = at
			c.out.queue = append(c.out.queue, chunk{sent: now, at: at, b: append([]byte(nil), b[:n]...)})
			c.out.size += n
			c.out.touch()
			c.out.mu.Unlock()
			c.h.n.overhear(b[:n])
			written, b = written+n, b[n:]
			c.h.count((1+times)*n, (1+times)*52*((n+1447)/1448))
			continue
		}
		c.out.mu.Unlock()
		c.wait(wake, nil, time.Time{}, deadline)
	}
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.out.end(io.EOF)
		c.in.end(io.ErrClosedPipe)
		c.h.mu.Lock()
		delete(c.h.conns, c)
		c.h.mu.Unlock()
	})
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.read = t
	c.mu.Unlock()
	c.in.mu.Lock()
	c.in.touch()
	c.in.mu.Unlock()
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.write = t
	c.mu.Unlock()
	c.out.mu.Lock()
	c.out.touch()
	c.out.mu.Unlock()
	return nil
}
