package secret

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
)

// A Redactor knows values that must not be written for people, and takes them out of what is. The zero value knows none.
// It finds a value as it is, in base64 at each of the three alignments, in hex, and as URLs, JSON, Go, HTML and shells
// write it, also where it is cut over several writes; of a value of several lines also each line of 8 bytes and more.
// Values of less than MinRedacted bytes are not looked for. It may be used by several at a time.
type Redactor struct {
	mu    sync.RWMutex
	known []*known
	match *matcher // nil where nothing is known
}

type known struct {
	name  string
	forms []form
}

// Add makes values known until forget is called.
func (r *Redactor) Add(secrets ...Secret) (forget func()) {
	var added []*known
	for _, s := range secrets {
		if forms := formsOf(s.Reveal()); len(forms) > 0 {
			added = append(added, &known{s.name, forms})
		}
	}
	if len(added) == 0 {
		return func() {}
	}
	r.mu.Lock()
	r.known = append(r.known, added...)
	r.build()
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.known = slices.DeleteFunc(r.known, func(k *known) bool { return slices.Contains(added, k) })
		for _, k := range added {
			for _, f := range k.forms {
				clear(f.text)
			}
			k.forms = nil
		}
		r.build()
	}
}

func (r *Redactor) build() {
	if len(r.known) == 0 {
		r.match = nil
		return
	}
	m := &matcher{}
	for _, k := range r.known {
		for _, f := range k.forms {
			m.insert(f, k.name)
		}
	}
	m.link()
	r.match = m
}

func (r *Redactor) matcher() *matcher {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.match
}

// digit reports whether a byte is one of base64, in either alphabet.
func digit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}

// Stream takes what is known now out of what is written to it, and hands the rest to w at most one form's length
// later. Close hands on the end, and leaves w open.
func (r *Redactor) Stream(w io.Writer) io.WriteCloser { return &stream{m: r.matcher(), w: w} }

// Lines is a writer for logs: each write is whole in itself, and nothing is held back.
func (r *Redactor) Lines(w io.Writer) io.Writer { return lines{r, w} }

type lines struct {
	r *Redactor
	w io.Writer
}

func (l lines) Write(p []byte) (int, error) {
	m := l.r.matcher()
	if m == nil {
		return l.w.Write(p)
	}
	var out bytes.Buffer
	s := stream{m: m, w: &out}
	_, _ = s.Write(p) // to memory
	_ = s.Close()
	if _, err := l.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Text is s without what is known.
func (r *Redactor) Text(s string) string {
	m := r.matcher()
	if m == nil || s == "" {
		return s
	}
	var out bytes.Buffer
	st := stream{m: m, w: &out}
	_, _ = io.WriteString(&st, s) // to memory
	_ = st.Close()
	return out.String()
}

// stream is one text on its way. Places are counted from its first byte.
type stream struct {
	m    *matcher
	w    io.Writer
	err  error
	at   int32 // of m
	read int   // bytes so far
	held []byte
	// hidden are parts that are not written, in order and apart from each other: those within held, and before them at
	// most one that has been told already and may grow still.
	hidden []part
	out    []byte
}

type part struct {
	from, to int
	name     string
	right    bool // the digit after it is a part of it too
	told     bool
}

// maxPiece bounds what is looked at before something is handed on.
const maxPiece = 32 << 10

var errClosed = errors.New("write to a closed stream")

func (s *stream) Write(p []byte) (int, error) {
	if s.m == nil && s.err == nil {
		return s.w.Write(p)
	}
	done := 0
	for s.err == nil && done < len(p) {
		piece := p[done:min(len(p), done+maxPiece)]
		for _, c := range piece {
			s.take(c)
		}
		done += len(piece)
		// What may be the beginning of a form stays, and the digit before it.
		s.flush(s.read - int(s.m.node[s.at].depth) - 1)
	}
	return done, s.err
}

// Close hands on what is held.
func (s *stream) Close() error {
	if s.err != nil {
		if errors.Is(s.err, errClosed) {
			return nil
		}
		return s.err
	}
	if s.m != nil {
		s.flush(s.read)
	}
	err := s.err
	if err == nil {
		s.err = errClosed
	}
	return err
}

func (s *stream) take(c byte) {
	if n := len(s.hidden); n > 0 {
		if h := &s.hidden[n-1]; h.right && h.to == s.read {
			if h.right = false; digit(c) {
				h.to++
			}
		}
	}
	s.held = append(s.held, c)
	s.read++
	s.at = s.m.step(s.at, c)
	f := s.m.node[s.at].form
	if f < 0 {
		return
	}
	form := s.m.form[f]
	p := part{from: s.read - form.length, to: s.read, name: form.name, right: form.right}
	if first := s.read - len(s.held); form.left && p.from > first && digit(s.held[p.from-first-1]) {
		p.from--
	}
	for n := len(s.hidden); n > 0 && s.hidden[n-1].to >= p.from; n-- {
		last := s.hidden[n-1]
		p.from, p.told, p.name = min(p.from, last.from), p.told || last.told, last.name
		s.hidden = s.hidden[:n-1]
	}
	s.hidden = append(s.hidden, p)
}

// flush hands on what stands before a place.
func (s *stream) flush(end int) {
	at := s.read - len(s.held)
	if end <= at {
		return
	}
	first := at
	keep := s.hidden[:0]
	for _, h := range s.hidden {
		if h.from >= end {
			keep = append(keep, h)
			continue
		}
		if h.from > at {
			s.out = append(s.out, s.held[at-first:h.from-first]...)
		}
		if !h.told {
			s.out = append(append(append(s.out, "[secret "...), h.name...), ']')
			h.told = true
		}
		at = max(at, min(h.to, end))
		if h.to >= end {
			keep = append(keep, h) // it may grow
		}
	}
	if at < end {
		s.out = append(s.out, s.held[at-first:end-first]...)
	}
	s.hidden = keep
	n := copy(s.held, s.held[end-first:])
	clear(s.held[n:])
	s.held = s.held[:n]
	if len(s.out) > 0 {
		_, s.err = s.w.Write(s.out)
		s.out = s.out[:0]
	}
}
