package peer

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/dunlin-dev/dunlin/schema"
)

// A frame is 4 bytes of length (big-endian, of what follows the kind), a byte of kind, and so many bytes. The side
// that has dialled asks (root), the other answers (same, or buckets); everything else goes both ways.
type kind byte

const (
	frameOffer   kind = iota + 1 // digests that the sender has
	frameWant                    // digests of records that the sender asks for
	frameRecords                 // records that were asked for, each behind its digest
	frameRoot                    // hash over the hashes of all buckets
	frameSame                    // the answer to a root that is the same here
	frameBuckets                 // the answer to a root that differs: the hashes of all buckets
	frameAsk                     // a bit for each bucket whose digests the receiver shall offer
	frameUrgent                  // one small record that cannot wait until it was asked for, behind its digest
	framePush                    // a topic of 20 bytes and what belongs to it, see Peers.Push
)

const (
	headLen    = 5
	digestLen  = 16
	maxDigests = 8192      // of one frame
	maxRecords = 512 << 10 // bytes of one frame of records
	// packRecords is when a frame of records is sent; one more record fits into maxRecords always.
	packRecords = 192 << 10
	maxName     = 128 // bytes of a record's node, kind, key and signature each
	maxUrgent   = 2 << 10
	topicLen    = 20
)

// limit is the greatest length of a frame's payload in bytes; exact says that it is the only one.
func (k kind) limit() (n int, exact, ok bool) {
	switch k {
	case frameOffer, frameWant:
		return maxDigests * digestLen, false, true
	case frameRecords:
		return maxRecords, false, true
	case frameRoot, frameAsk:
		return 32, true, true
	case frameSame:
		return 0, true, true
	case frameBuckets:
		return 256 * 32, true, true
	case frameUrgent:
		return recordHead + 4*maxName + maxUrgent, false, true
	case framePush:
		return topicLen + MaxPush, false, true
	}
	return 0, false, false
}

// errFrame is wrapped by errors about what a peer sent.
var errFrame = errors.New("malformed frame")

// readFrame reads one frame, and no byte more. It allocates only what the kind may have.
func readFrame(r io.Reader) (kind, []byte, error) {
	var head [headLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	k, n := kind(head[4]), binary.BigEndian.Uint32(head[:4])
	most, exact, ok := k.limit()
	switch {
	case !ok:
		return 0, nil, fmt.Errorf("%w: kind %d", errFrame, k)
	case n > uint32(most), exact && n != uint32(most):
		return 0, nil, fmt.Errorf("%w: %d bytes of kind %d", errFrame, n, k)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	return k, payload, nil
}

// frame puts the head before a payload.
func frame(k kind, payload []byte) []byte {
	b := make([]byte, 0, headLen+len(payload))
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, byte(k))
	return append(b, payload...)
}

// packDigests leaves out what is no digest.
func packDigests(ds []string) []byte {
	b := make([]byte, 0, len(ds)*digestLen)
	for _, d := range ds {
		if raw, err := hex.DecodeString(d); err == nil && len(raw) == digestLen {
			b = append(b, raw...)
		}
	}
	return b
}

func unpackDigests(b []byte) ([]string, error) {
	if len(b)%digestLen != 0 {
		return nil, fmt.Errorf("%w: %d bytes are no digests", errFrame, len(b))
	}
	ds := make([]string, 0, len(b)/digestLen)
	for ; len(b) > 0; b = b[digestLen:] {
		ds = append(ds, hex.EncodeToString(b[:digestLen]))
	}
	return ds, nil
}

// named is a record with the digest under which it was asked for.
type named struct {
	digest string
	record schema.Record
}

// packRecord appends a record; it appends nothing of one that no peer would take.
func packRecord(b []byte, digest string, r schema.Record) []byte {
	raw, err := hex.DecodeString(digest)
	if err != nil || len(raw) != digestLen || len(r.Body) > schema.MaxRecordBody ||
		max(len(r.Node), len(r.Kind), len(r.Key), len(r.Sig)) > maxName {
		return b
	}
	b = append(b, raw...)
	b = append(b, byte(len(r.Node)), byte(len(r.Kind)), byte(len(r.Key)), byte(len(r.Sig)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Body)))
	b = binary.BigEndian.AppendUint64(b, r.Boot)
	b = binary.BigEndian.AppendUint64(b, r.Seq)
	b = append(b, r.Node...)
	b = append(b, r.Kind...)
	b = append(b, r.Key...)
	b = append(b, r.Sig...)
	return append(b, r.Body...)
}

// recordHead is the length of what stands before a record's texts.
const recordHead = digestLen + 4 + 4 + 8 + 8

func unpackRecords(b []byte) ([]named, error) {
	var out []named
	for len(b) > 0 {
		if len(b) < recordHead {
			return nil, fmt.Errorf("%w: a record is cut off", errFrame)
		}
		digest, lens := hex.EncodeToString(b[:digestLen]), b[digestLen:digestLen+4]
		body := binary.BigEndian.Uint32(b[digestLen+4:])
		r := schema.Record{Boot: binary.BigEndian.Uint64(b[digestLen+8:]), Seq: binary.BigEndian.Uint64(b[digestLen+16:])}
		b = b[recordHead:]
		total := uint64(body)
		for _, n := range lens {
			if n > maxName {
				return nil, fmt.Errorf("%w: a text of %d bytes in a record", errFrame, n)
			}
			total += uint64(n)
		}
		if body > schema.MaxRecordBody || total > uint64(len(b)) {
			return nil, fmt.Errorf("%w: a record of %d bytes in a rest of %d", errFrame, total, len(b))
		}
		take := func(n int) []byte {
			part := b[:n:n]
			b = b[n:]
			return part
		}
		r.Node, r.Kind, r.Key = string(take(int(lens[0]))), schema.RecordKind(take(int(lens[1]))), string(take(int(lens[2])))
		// Copies: a record that stays must not hold the whole frame.
		r.Sig = append([]byte(nil), take(int(lens[3]))...)
		r.Body = append([]byte(nil), take(int(body))...)
		out = append(out, named{digest, r})
	}
	return out, nil
}
