package inventory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// linkedFrame packs blocks into a frame such as apt writes: each refers to those before it.
func linkedFrame(blocks ...[]byte) []byte {
	out := []byte{0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0xc0}
	var before []byte
	for _, b := range blocks {
		packed := packLinked(before, b)
		size := uint32(len(packed))
		if len(packed) >= len(b) {
			packed, size = b, uint32(len(b))|1<<31
		}
		out = append(binary.LittleEndian.AppendUint32(out, size), packed...)
		before = append(before, b...)
	}
	return append(out, 0, 0, 0, 0)
}

// packLinked packs a block, by the rules of lz4_Block_format.md, as simply as can be: before each match stand the bytes that found none.
func packLinked(before, b []byte) []byte {
	all := append(bytes.Clone(before), b...)
	length := func(out []byte, n int) []byte {
		for n -= 15; n >= 255; n -= 255 {
			out = append(out, 255)
		}
		return append(out, byte(n))
	}
	var out []byte
	from, at := len(before), len(before) // literals begin at from
	for at < len(all)-12 {
		back, n := 0, 0
		if i := bytes.LastIndex(all[max(0, at-lz4History+1):at], all[at:at+4]); i >= 0 {
			back = at - max(0, at-lz4History+1) - i
			for n = 4; at+n < len(all)-5 && all[at+n] == all[at+n-back]; n++ {
			}
		}
		if n == 0 {
			at++
			continue
		}
		literals := all[from:at]
		out = append(out, byte(min(len(literals), 15)<<4|min(n-4, 15)))
		if len(literals) >= 15 {
			out = length(out, len(literals))
		}
		out = binary.LittleEndian.AppendUint16(append(out, literals...), uint16(back))
		if n-4 >= 15 {
			out = length(out, n-4)
		}
		at += n
		from = at
	}
	out = append(out, byte(min(len(all)-from, 15)<<4))
	if len(all)-from >= 15 {
		out = length(out, len(all)-from)
	}
	return append(out, all[from:]...)
}

func TestLinkedBlocksAreUnpacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 40), 1, 8).Draw(t, "words")
		var blocks [][]byte
		var want []byte
		for range rapid.IntRange(0, 6).Draw(t, "blocks") {
			var b []byte
			for n := rapid.SampledFrom([]int{1, 20, 3000, 64 << 10}).Draw(t, "size"); len(b) < n; {
				b = append(b, rapid.SampledFrom(words).Draw(t, "word")...)
				if n == 64<<10 { // drawing each word takes too long
					b = append(b, bytes.Repeat(b, 1+n/(16*len(b)))...)
				}
			}
			b = b[:min(len(b), 64<<10)]
			blocks, want = append(blocks, b), append(want, b...)
		}
		frame := linkedFrame(blocks...)
		if _, ours := newLZ4(bytes.NewReader(frame)).(*linkedBlocks); !ours {
			t.Fatal("the frame is the library's")
		}
		room := rapid.SampledFrom([]int{1, 100, 64 << 10, 100_000, 256 << 10}).Draw(t, "room")
		var got []byte
		r := newLZ4(iotest.HalfReader(bytes.NewReader(frame)))
		for {
			b := make([]byte, room)
			n, err := r.Read(b)
			got = append(got, b[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, want %d, the same", len(got), len(want))
		}
		if cut := rapid.IntRange(7, len(frame)-1).Draw(t, "cut"); cut < len(frame) {
			if _, err := io.ReadAll(newLZ4(bytes.NewReader(frame[:cut]))); !errors.Is(err, errCutOff) {
				t.Fatalf("cut off after %d of %d bytes: %v", cut, len(frame), err)
			}
		}
	})
}

func FuzzLinkedBlocks(f *testing.F) {
	f.Add(linkedFrame([]byte("Package: a\nVersion: 1\n\nPackage: a\nVersion: 2\n\n"), []byte("Package: a\nVersion: 1\n\n")))
	f.Add([]byte{0x04, 0x22, 0x4d, 0x18, 0x40, 0x70, 0xdf, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, _ := readBlock(newLZ4(bytes.NewReader(b)), make([]byte, 200<<10)) // an error is fine, a panic that is not caught is not
		if n > 200<<10 {
			t.Errorf("%d bytes", n)
		}
	})
}
