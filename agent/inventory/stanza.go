package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

var stanzaEnd = []byte("\n\n")

// stanzaReader cuts deb822 text into stanzas through a window of fixed size, or
// one that grows with the largest stanza.
type stanzaReader struct {
	r     io.Reader
	buf   []byte // the window
	max   int    // bytes that it may grow to
	lo    int    // start of what is not yet given out
	hi    int    // end of what was read
	eof   bool
	lines int   // newlines before buf[lo]
	total int64 // bytes read
}

func newStanzaReader(r io.Reader, window []byte) *stanzaReader {
	return &stanzaReader{r: r, buf: window, max: len(window)}
}

var errStanzaSize = errors.New("stanza too large")

// next gives the next stanza without its closing empty line; it is valid until
// the following call. At the end it gives io.EOF. count says whether line
// numbers are wanted.
func (s *stanzaReader) next(count bool) ([]byte, error) {
	for {
		// Empty lines between stanzas.
		for s.lo < s.hi && (s.buf[s.lo] == '\n' || s.buf[s.lo] == '\r') {
			if s.buf[s.lo] == '\n' {
				s.lines++
			}
			s.lo++
		}
		if i := bytes.Index(s.buf[s.lo:s.hi], stanzaEnd); i >= 0 {
			st := s.buf[s.lo : s.lo+i+1]
			s.lo += i + 1
			if count {
				s.lines += bytes.Count(st, []byte{'\n'})
			}
			return st, nil
		}
		if s.eof {
			if s.lo == s.hi {
				return nil, io.EOF
			}
			st := s.buf[s.lo:s.hi]
			s.lo = s.hi
			if count {
				s.lines += bytes.Count(st, []byte{'\n'})
			}
			return st, nil
		}
		to := s.buf
		if s.lo == 0 && s.hi == len(s.buf) {
			if s.hi == s.max {
				return nil, fmt.Errorf("%w: more than %d bytes", errStanzaSize, s.max)
			}
			to = make([]byte, min(2*s.hi, s.max))
		}
		s.hi = copy(to, s.buf[s.lo:s.hi])
		s.buf = to
		s.lo = 0
		n, err := io.ReadFull(s.r, s.buf[s.hi:])
		s.hi += n
		s.total += int64(n)
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			s.eof = true // unpackers give a cut-off file another error (unpack)
		case err != nil:
			return nil, err
		}
	}
}

// fields walks the fields of a stanza. Values keep their continuation lines;
// space around them is cut.
type fields struct {
	b    []byte
	line int // of the current field, from 0 within the stanza
	next int
}

var errNoColon = errors.New("no colon in a field")

// step gives the next field; ok is false at the end.
func (f *fields) step() (key, value []byte, ok bool, err error) {
	for len(f.b) > 0 && (f.b[0] == '#' || f.b[0] == '\r') {
		f.skipLine()
	}
	if len(f.b) == 0 {
		return nil, nil, false, nil
	}
	f.line = f.next
	end := 0
	for { // to the end of the last continuation line
		i := bytes.IndexByte(f.b[end:], '\n')
		f.next++
		if i < 0 {
			end = len(f.b)
			break
		}
		end += i + 1
		if end == len(f.b) || f.b[end] != ' ' && f.b[end] != '\t' {
			break
		}
	}
	field := f.b[:end]
	f.b = f.b[end:]
	c := bytes.IndexByte(field, ':')
	if nl := bytes.IndexByte(field, '\n'); c <= 0 || nl >= 0 && nl < c {
		return nil, nil, false, errNoColon
	}
	return field[:c], trimSpace(field[c+1:]), true, nil
}

func (f *fields) skipLine() {
	f.next++
	if i := bytes.IndexByte(f.b, '\n'); i >= 0 {
		f.b = f.b[i+1:]
	} else {
		f.b = nil
	}
}

// trimSpace is bytes.TrimSpace for ASCII.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// is reports whether a field has the given name, in any case.
func is(key []byte, name string) bool {
	if string(key) == name {
		return true
	}
	return len(key) == len(name) && equalFold(string(key), name)
}

// equalFold compares ASCII text in any case.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// texts collects values and joins them into one string, so that a package
// costs one allocation.
type texts struct {
	buf  []byte
	ends [16]int
	n    int
}

func (t *texts) reset() { t.buf, t.n = t.buf[:0], 0 }

// add keeps a value, cut to maxValue bytes, and gives its number.
func (t *texts) add(v []byte) int {
	if len(v) > maxValue {
		v = v[:maxValue]
	}
	t.buf = append(t.buf, v...)
	t.ends[t.n] = len(t.buf)
	t.n++
	return t.n - 1
}

// done gives the values, in the order of their numbers.
func (t *texts) done(out []string) []string {
	all := string(t.buf)
	from := 0
	out = out[:0]
	for i := range t.n {
		out = append(out, all[from:t.ends[i]])
		from = t.ends[i]
	}
	return out
}
