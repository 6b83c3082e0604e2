package report

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/dunlin-dev/dunlin/reconciler/firstseen"
	"github.com/dunlin-dev/dunlin/schema"
)

// maxSeenKeys bounds the records of sightings of one node.
const maxSeenKeys = 100

// seenLine is a line of firstseen/XX.jsonl: a node's own signed record of what it has seen, as it went between nodes.
type seenLine struct {
	Body json.RawMessage `json:"body"` // a schema.SeenRecord
	Boot uint64          `json:"boot"`
	Key  string          `json:"key"`
	Node string          `json:"node"`
	Seq  uint64          `json:"seq"`
	Sig  string          `json:"sig"` // of the record (schema.Record.Message)
	V    int             `json:"v"`   // 1
}

func seenFile(shard string) string { return "firstseen/" + shard + ".jsonl" }

// EncodeSeen is the line of a record of sightings, canonical JSON without a newline. It fails for a record that is none,
// or that ParseSeen would not take.
func EncodeSeen(r schema.Record) ([]byte, error) {
	_, err := decodeSeen(r.Body)
	switch {
	case r.Kind != schema.RecordSeen:
		err = fmt.Errorf("it is a record of kind %q", clip(string(r.Kind)))
	case err != nil:
	case !isID(r.Node):
		err = fmt.Errorf("node %q is not an id", clip(r.Node))
	case !isSeenKey(r.Key):
		err = fmt.Errorf("key %q is not a number below %d", clip(r.Key), maxSeenKeys)
	case r.Boot == 0 || r.Boot > maxNumber || r.Seq == 0 || r.Seq > maxNumber:
		err = fmt.Errorf("boot %d or seq %d is not one of 1 to %d", r.Boot, r.Seq, uint64(maxNumber))
	case len(r.Sig) != ed25519.SignatureSize:
		err = errors.New("sig is not an ed25519 signature")
	}
	if err != nil {
		return nil, fmt.Errorf("encode sightings of %q: %w", clip(r.Node), err)
	}
	b := make([]byte, 0, len(r.Body)+256)
	b = append(append(b, `{"body":`...), r.Body...)
	b = fmt.Appendf(b, `,"boot":%d,"key":%q,"node":%q,"seq":%d,"sig":%q,"v":1}`, r.Boot, r.Key, r.Node, r.Seq, base64.StdEncoding.EncodeToString(r.Sig))
	if len(b) > MaxLine {
		return nil, fmt.Errorf("encode sightings of %q: %d bytes are more than %d", clip(r.Node), len(b), MaxLine)
	}
	return b, nil
}

func isSeenKey(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n < maxSeenKeys && strconv.Itoa(n) == s
}

// decodeSeen reads the body of a record of sightings. It takes the one form that it has.
func decodeSeen(raw []byte) (schema.SeenRecord, error) {
	var body schema.SeenRecord
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return schema.SeenRecord{}, errors.New("body: malformed JSON: " + clip(err.Error()))
	}
	if !firstseen.Valid(body) {
		return schema.SeenRecord{}, errors.New("body: not sightings by archive, instant and version")
	}
	// Its names hold no character that JSON escapes, and maps are written sorted: this is canonical.
	if want, err := json.Marshal(body); err != nil || !bytes.Equal(want, raw) {
		return schema.SeenRecord{}, errors.New("body: not canonical JSON (RFC 8785)")
	}
	return body, nil
}

// ParseSeen reads one line of firstseen/XX.jsonl without its newline. It takes canonical JSON alone. The signature is not
// checked.
func ParseSeen(raw []byte) (schema.Record, error) {
	var r schema.Record
	if len(raw) > MaxLine {
		return r, fmt.Errorf("sightings: %d bytes are more than %d", len(raw), MaxLine)
	}
	var l seenLine
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return r, errors.New("sightings: malformed JSON: " + clip(err.Error()))
	}
	if _, err := d.Token(); err != io.EOF {
		return r, errors.New("sightings: malformed JSON: more than one value")
	}
	if l.V != 1 {
		return r, fmt.Errorf("sightings: v is %d, this program knows 1", l.V)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(l.Sig)
	if err != nil {
		return r, errors.New("sightings: sig is not base64")
	}
	r = schema.Record{Node: l.Node, Kind: schema.RecordSeen, Key: l.Key, Boot: l.Boot, Seq: l.Seq, Body: l.Body, Sig: sig}
	want, err := EncodeSeen(r)
	if err != nil {
		return schema.Record{}, err
	}
	if !bytes.Equal(want, raw) {
		return schema.Record{}, errors.New("sightings: not canonical JSON (RFC 8785)")
	}
	return r, nil
}

// Seen gives the records of sightings that the branch has of the nodes whose key is given, each signed by its node, sorted
// by node and key. What is malformed or forged is left out.
func Seen(old func(path string) ([]byte, error), keys map[string]ed25519.PublicKey) ([]schema.Record, error) {
	m := seenMerger{keys: keys, lines: map[seenKey]seenStored{}}
	if err := m.branch(old, nil); err != nil {
		return nil, err
	}
	var out []schema.Record
	for _, s := range m.lines {
		out = append(out, s.record)
	}
	slices.SortFunc(out, func(a, b schema.Record) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(len(a.Key), len(b.Key)), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

type seenKey struct{ node, key string }

type seenStored struct {
	raw    []byte
	record schema.Record
}

// seenMerger merges records of sightings: of each node and key the newest stands, whatever order they come in.
type seenMerger struct {
	keys  map[string]ed25519.PublicKey // of the nodes that count
	lines map[seenKey]seenStored
	own   map[string]bool // lines that the reporter holds, whose signatures were checked when they came
}

// take merges one more line. It is checked unless it is one that was. false is a line that is malformed or forged.
func (m *seenMerger) take(raw []byte, checked bool) bool {
	r, err := ParseSeen(raw)
	if err != nil {
		return false
	}
	key, counts := m.keys[r.Node]
	if !counts {
		return true // of a node that is retired, as a rule
	}
	if !checked && r.Verify(key) != nil {
		return false
	}
	k := seenKey{r.Node, r.Key}
	old, have := m.lines[k]
	same := have && old.record.Boot == r.Boot && old.record.Seq == r.Seq
	if !have || r.Newer(old.record) || same && bytes.Compare(raw, old.raw) < 0 {
		m.lines[k] = seenStored{bytes.Clone(raw), r} // the shard itself is not kept
	}
	return true
}

// branch merges what a branch has; each is told every shard.
func (m *seenMerger) branch(old func(path string) ([]byte, error), each func(shard string, text []byte)) error {
	for i := range 256 {
		shard := fmt.Sprintf("%02x", i)
		text, err := readOurs(old, seenFile(shard), maxShard)
		if err != nil {
			return err
		}
		if each != nil {
			each(shard, text)
		}
		var others share
		for raw := range bytes.Lines(text) {
			if raw = bytes.TrimSuffix(raw, []byte("\n")); !others.spent() && !m.take(raw, m.own[string(raw)]) {
				others.rubbish += len(raw) + 1
			}
		}
	}
	return nil
}

// seen merges the reporter's records of sightings into firstseen/. Those of nodes that are retired, or that the reporter
// does not know, count for nothing and go.
func (b *builder) seen(nodes []Node, records []schema.Record) error {
	m := seenMerger{keys: map[string]ed25519.PublicKey{}, lines: map[seenKey]seenStored{}, own: map[string]bool{}}
	for _, n := range nodes {
		if key := b.keys[n.Line.Node]; key != nil && known(n.Status) != schema.Retired {
			m.keys[n.Line.Node] = key
		}
	}
	for _, r := range records {
		if raw, err := EncodeSeen(r); err == nil && m.keys[r.Node] != nil && r.Verify(m.keys[r.Node]) == nil {
			m.own[string(raw)] = true
			m.take(raw, true)
		}
	}
	old := map[string]was{}
	if err := m.branch(b.old, func(shard string, text []byte) { old[shard] = wasText(text) }); err != nil {
		return err
	}
	if b.before != nil {
		if err := m.branch(b.before, nil); err != nil {
			return err
		}
	}
	shards := map[string][]seenKey{}
	for k := range m.lines {
		shards[Shard(k.node)] = append(shards[Shard(k.node)], k)
	}
	for shard, before := range old {
		keys := shards[shard]
		slices.SortFunc(keys, bySeenKey)
		var now []byte
		for _, k := range keys {
			now = append(append(now, m.lines[k].raw...), '\n')
		}
		b.putWas(seenFile(shard), before, now)
	}
	return nil
}

func bySeenKey(a, b seenKey) int {
	return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(len(a.key), len(b.key)), cmp.Compare(a.key, b.key))
}
