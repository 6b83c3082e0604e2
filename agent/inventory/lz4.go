package inventory

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// newLZ4 unpacks an lz4 frame.
//
// apt writes frames of linked blocks, which refer to what was unpacked before, without checksums. Those are unpacked
// here, block after block into the caller's memory: the library allocates anew for each of them, and to touch all that
// memory takes longer than to unpack. Frames of any other form are the library's.
func newLZ4(f io.Reader) io.Reader {
	br := bufio.NewReaderSize(f, 128<<10)
	head, err := br.Peek(7)
	if err != nil || binary.LittleEndian.Uint32(head) != 0x184D2204 || head[4] != 0x40 {
		return lz4.NewReader(br)
	}
	// The size of blocks, and the checksum of that and the form.
	size := map[[2]byte]int{{0x40, 0xc0}: 64 << 10, {0x50, 0x77}: 256 << 10, {0x60, 0x96}: 1 << 20, {0x70, 0xdf}: 4 << 20}[[2]byte(head[5:7])]
	if size == 0 {
		return lz4.NewReader(br)
	}
	_, _ = br.Discard(len(head))
	return &linkedBlocks{r: br, size: size, packed: make([]byte, size)}
}

// lz4History is how far back a block can refer, in bytes.
const lz4History = 64 << 10

var errLZ4 = errors.New("not lz4")

// linkedBlocks reads an lz4 frame of linked blocks without checksums, after its head.
type linkedBlocks struct {
	r       io.Reader
	size    int    // of a block, unpacked, at most
	packed  []byte // one block
	history []byte // the last of what was unpacked
	spare   []byte // for a caller with less room than a block
	rest    []byte // of spare, not given out yet
	err     error
}

// Read implements io.Reader.
func (l *linkedBlocks) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(l.rest) == 0 && len(p) < l.size && l.err == nil {
		if l.spare == nil {
			l.spare = make([]byte, l.size)
		}
		l.rest = l.spare[:l.unpack(l.spare)]
	}
	if len(l.rest) > 0 {
		n := copy(p, l.rest)
		l.rest = l.rest[n:]
		return n, nil
	}
	n := 0
	if l.err == nil {
		n = l.unpack(p)
	}
	if n > 0 {
		return n, nil
	}
	return 0, l.err
}

// unpack puts as many blocks into p as it has room for.
func (l *linkedBlocks) unpack(p []byte) (n int) {
	kept := 0 // what of p is in history
	for l.err == nil && len(p)-n >= l.size {
		before := p[max(0, n-lz4History):n]
		if n < lz4History {
			l.keep(p[kept:n])
			kept = n
			before = l.history
		}
		var k int
		k, l.err = l.block(p[n:n+l.size], before)
		n += k
	}
	l.keep(p[max(kept, n-lz4History):n])
	return n
}

// keep appends to the history what was unpacked after it.
func (l *linkedBlocks) keep(b []byte) {
	if drop := len(l.history) + len(b) - lz4History; drop > 0 {
		l.history = l.history[:copy(l.history, l.history[min(drop, len(l.history)):])]
	}
	l.history = append(l.history, b...)
}

// block unpacks one block; the end of the frame is io.EOF.
func (l *linkedBlocks) block(to, before []byte) (int, error) {
	var head [4]byte
	if _, err := io.ReadFull(l.r, head[:]); err != nil {
		return 0, cutOff(err)
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size == 0 {
		return 0, io.EOF
	}
	plain := size&(1<<31) != 0
	if size &^= 1 << 31; size > uint32(l.size) {
		return 0, fmt.Errorf("%w: a block of %d bytes", errLZ4, size)
	}
	if plain {
		if _, err := io.ReadFull(l.r, to[:size]); err != nil {
			return 0, cutOff(err)
		}
		return int(size), nil
	}
	packed := l.packed[:size]
	if _, err := io.ReadFull(l.r, packed); err != nil {
		return 0, cutOff(err)
	}
	n, err := lz4.UncompressBlockWithDict(packed, to, before)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errLZ4, err)
	}
	return n, nil
}

func cutOff(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errCutOff
	}
	return err
}
