package secret

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
)

// A Redactor knows values that must not be written for people, and takes them out of what is. The zero value knows none.
// It finds a value as it is, in base64 at each of the three alignments and in hex, also broken over lines, and as URLs,
// JSON, Go, HTML and shells write it, wherever writes cut it; of a value of several lines also each line of 8 bytes and more.
// Values of less than MinRedacted bytes are not looked for. It may be used by several at a time.
type Redactor struct {
	mu    sync.RWMutex
	known []*known
	find  *finder // nil where nothing is known
}

// finder has two automatons: of all forms, and of those that wrap, which reads no blanks.
type finder struct{ all, wrapped *matcher }

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
		r.find = nil
		return
	}
	f := &finder{&matcher{}, &matcher{}}
	for _, k := range r.known {
		for _, form := range k.forms {
			f.all.insert(form, k.name)
			if form.wraps {
				f.wrapped.insert(form, k.name)
			}
		}
	}
	f.all.link()
	f.wrapped.link()
	r.find = f
}

func (r *Redactor) finder() *finder {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.find
}

// digit reports whether a byte is one of base64, in either alphabet.
func digit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}

// Stream takes what is known now out of what is written to it, and hands the rest to w at most one form's length, with
// the blanks in it, later. Close hands on the end, and leaves w open.
func (r *Redactor) Stream(w io.Writer) io.WriteCloser { return &stream{f: r.finder(), w: w} }

// Lines is a writer for logs: each write is whole in itself, and nothing is held back.
func (r *Redactor) Lines(w io.Writer) io.Writer { return lines{r, w} }

type lines struct {
	r *Redactor
	w io.Writer
}

func (l lines) Write(p []byte) (int, error) {
	f := l.r.finder()
	if f == nil {
		return l.w.Write(p)
	}
	var out bytes.Buffer
	s := stream{f: f, w: &out}
	_, _ = s.Write(p) // to memory
	_ = s.Close()
	if _, err := l.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// cut is where a text was cut that was too long (safe.Clip).
const cut = "…"

// Text is s without what is known. The beginning of a value before a mark where the text was cut is taken out, too.
func (r *Redactor) Text(s string) string {
	f := r.finder()
	if f == nil || s == "" {
		return s
	}
	if strings.Contains(s, cut) {
		s = f.all.whole(s)
	}
	var out bytes.Buffer
	st := stream{f: f, w: &out}
	_, _ = io.WriteString(&st, s) // to memory
	_ = st.Close()
	return out.String()
}

// stream is one text on its way. Places are counted from its first byte.
type stream struct {
	f    *finder
	w    io.Writer
	err  error
	at   int32 // of f.all
	read int   // bytes so far
	held []byte

	wrapped int32 // state of f.wrapped
	places  []int // of the bytes that f.wrapped read last, at least as many as its state is deep
	blanks  int   // in a row until here
	escape  bool  // the last byte is a backslash: the next may make it a blank
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
	if s.f == nil && s.err == nil {
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
		from := s.read - int(s.f.all.depth(s.at))
		deep := int(s.f.wrapped.depth(s.wrapped))
		s.places = append(s.places[:0], s.places[len(s.places)-deep:]...)
		if deep > 0 {
			from = min(from, s.places[0])
		}
		s.flush(from - 1)
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
	if s.f != nil {
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
	s.at = s.f.all.step(s.at, c)
	if f := s.f.all.found(s.at); f != nil {
		s.hide(s.read-f.length, f)
	}
	s.takeWrapped(c)
}

// maxBlanks is how many blanks in a row a text that is broken over lines has at most: a line break and some to indent.
const maxBlanks = 16

// takeWrapped reads what is broken over lines as if it were not. A line break may be written as \n, as in JSON.
func (s *stream) takeWrapped(c byte) {
	was := s.escape
	s.escape = false
	switch {
	case was && (c == 'n' || c == 'r' || c == 't'), c == ' ', c == '\n', c == '\r', c == '\t':
		if s.blanks++; s.blanks > maxBlanks {
			s.wrapped = 0
		}
		return
	case c == '\\' && !was:
		s.escape = true
		return
	}
	s.blanks = 0
	if was || !digit(c) {
		s.wrapped = 0
	}
	s.wrapped = s.f.wrapped.step(s.wrapped, c)
	s.places = append(s.places, s.read-1)
	if f := s.f.wrapped.found(s.wrapped); f != nil {
		s.hide(s.places[len(s.places)-f.length], f)
	}
}

// hide takes a form out that ends here.
func (s *stream) hide(from int, f *found) {
	p := part{from: from, to: s.read, name: f.name, right: f.right}
	if first := s.read - len(s.held); f.left && p.from > first && digit(s.held[p.from-first-1]) {
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
