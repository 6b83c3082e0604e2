package host

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"golang.org/x/sys/unix"
)

// hasher reads files through one buffer.
type hasher struct {
	sum hash.Hash
	buf []byte
}

// file hashes a file of the size that was seen, in lower-case hex. A file that grows meanwhile is
// seen by the next pass.
func (h *hasher) file(folder int, base string, seen status) (string, error) {
	if h.sum == nil {
		h.sum, h.buf = sha256.New(), make([]byte, 64<<10)
	}
	// Not openFile: this reads only, and what a name swapped meanwhile leads to has another digest
	// or is what was wanted. Neither links nor pipes get it anywhere.
	fd, err := unix.Openat(folder, base, readFlags, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	h.sum.Reset()
	for left := seen.size; left > 0; {
		n, err := unix.Read(fd, h.buf[:min(left, int64(len(h.buf)))])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		if n == 0 {
			return "", errChanged
		}
		h.sum.Write(h.buf[:n])
		left -= int64(n)
	}
	var sum [sha256.Size]byte
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], h.sum.Sum(sum[:0]))
	return string(text[:]), nil
}
