package report

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// maxShard bounds a shard and the file of conflicts in bytes: over ten thousand lines each.
	maxShard = 8 << 20
	// maxTwins bounds the lines kept of one node and revision, maxConflicts the revisions kept of one node: a cloned
	// host that never stops must not fill the branch.
	maxTwins     = 4
	maxConflicts = 16
	// maxStrangers bounds the lines in a shard of nodes whose key the reporter does not know, maxRubbish what is in it that
	// is no line of a node at all, in bytes: of 10,000 strangers a shard has some 40 KiB, and of rubbish a sound one has none.
	maxStrangers = 128 << 10
	maxRubbish   = 1 << 20
)

// share is what was read of a shard beside the lines that their nodes signed, in bytes. What is beyond gives way: else a
// branch could have gigabytes of it.
type share struct{ strangers, rubbish int }

func (s share) spent() bool { return s.rubbish > maxRubbish }

// room counts a line, and reports whether it may be kept: one of a node with a key always may, since it signed it.
func (m *merger) room(s stored, of *share) bool {
	if _, known := m.keys[s.line.Node]; known {
		return true
	}
	if of.strangers+len(s.raw) > maxStrangers {
		return false
	}
	of.strangers += len(s.raw)
	return true
}

// stored is a line as it stands, or will stand, in a shard.
type stored struct {
	raw  []byte
	line schema.ReportLine
	old  bool // the branch has it so
	// newer says that the line is of a later version of the form; only what all forms have is then known, and it is
	// carried as it is.
	newer bool
}

// conflict is one line of conflicts.jsonl: what two hosts with one key signed under the same revision.
type conflict struct {
	Lines []json.RawMessage `json:"lines"` // report lines, sorted by bytes
	Node  string            `json:"node"`
	Rev   uint64            `json:"rev"`
	V     int               `json:"v"` // 1
}

// conflictKey names a line of conflicts.jsonl.
type conflictKey struct {
	node string
	rev  uint64
}

// merger is the branch with a reporter's lines merged in.
type merger struct {
	fleet string
	keys  map[string]ed25519.PublicKey // of the nodes that the reporter knows the key of

	lines     map[string]stored // by node
	own       map[string]stored // the reporter's lines, by their bytes
	found     map[string]bool   // of own, those that the branch has
	conflicts map[conflictKey][][]byte
	kept      int             // lines of conflicts.jsonl
	dropped   int             // lines of the branch that no node of this fleet has written
	let       map[string]bool // digests of facts that a line named which does not stand
}

// take merges one more line of a node: the higher revision stands; of two with the same revision and other bytes both
// are kept as a conflict, and the one with the lesser bytes stands, whatever the order they come in.
func (m *merger) take(s stored) {
	old, ok := m.lines[s.line.Node]
	switch {
	case !ok || s.line.Rev > old.line.Rev:
		if ok {
			m.let[old.line.Facts] = true
		}
		m.lines[s.line.Node] = s
		return
	case s.line.Rev < old.line.Rev:
		m.let[s.line.Facts] = true
		return
	case bytes.Equal(s.raw, old.raw):
		return
	}
	if !s.newer && !old.newer {
		m.conflict(s.line.Node, s.line.Rev, old.raw, s.raw)
	}
	if bytes.Compare(s.raw, old.raw) < 0 {
		m.let[old.line.Facts] = true
		m.lines[s.line.Node] = s
	} else {
		m.let[s.line.Facts] = true
	}
}

// conflict keeps lines of one node and revision, sorted and once each.
func (m *merger) conflict(node string, rev uint64, raws ...[]byte) {
	k := conflictKey{node, rev}
	all := m.conflicts[k]
	for _, raw := range raws {
		if at, found := slices.BinarySearchFunc(all, raw, bytes.Compare); !found {
			all = slices.Insert(all, at, raw)
		}
	}
	m.conflicts[k] = all[:min(len(all), maxTwins)]
}

// shard merges the lines that a shard of the branch has.
func (m *merger) shard(shard string, text []byte) {
	var others share
	for raw := range bytes.Lines(text) {
		raw = bytes.TrimSuffix(raw, []byte("\n"))
		if s, ok := m.own[string(raw)]; ok && Shard(s.line.Node) == shard {
			m.found[string(raw)] = true
			s.old = true
			m.take(s) // the very line that the reporter holds; most are
			continue
		}
		if others.spent() {
			m.dropped++
			continue
		}
		s, err := read(raw)
		s.old = true
		switch {
		case err != nil, Shard(s.line.Node) != shard, s.line.Fleet != m.fleet, !m.signed(s):
			m.dropped++
			others.rubbish += len(raw) + 1
		case !m.room(s, &others):
			m.dropped++
		default:
			s.raw = bytes.Clone(raw) // the shard itself is not kept
			m.take(s)
		}
	}
}

// signed reports whether a line was not forged, as far as the reporter can know.
func (m *merger) signed(s stored) bool {
	key, ok := m.keys[s.line.Node]
	switch {
	case !ok:
		return true
	case s.newer:
		return verifyLater(s, key)
	}
	return verify(s.line, key) == nil
}

// verifyLater checks what all forms have in common: sig is over "dunlin-report/v<v>", a newline, and the line without the
// field sig. Else who may push could silence a node with a line of a form that there is not.
func verifyLater(s stored, key ed25519.PublicKey) bool {
	field := []byte(`,"sig":"` + s.line.Sig + `"`)
	sig, err := base64.StdEncoding.Strict().DecodeString(s.line.Sig)
	if err != nil || bytes.Count(s.raw, field) != 1 || len(key) != ed25519.PublicKeySize || schema.NodeID(key) != s.line.Node {
		return false
	}
	message := fmt.Appendf(nil, "dunlin-report/v%d\n", s.line.V)
	return ed25519.Verify(key, append(message, bytes.Replace(s.raw, field, nil, 1)...), sig)
}

// read parses a line of the branch, and knows a later form of it when it sees one.
func read(raw []byte) (stored, error) {
	l, err := parseLine(raw)
	if err == nil {
		return stored{raw: raw, line: l}, nil
	}
	var later struct {
		V     int    `json:"v"`
		Node  string `json:"node"`
		Rev   uint64 `json:"rev"`
		Facts string `json:"facts"`
		Fleet string `json:"fleet"`
		Sig   string `json:"sig"`
	}
	if len(raw) > MaxLine || json.Unmarshal(raw, &later) != nil || later.V < 2 || !isID(later.Node) || later.Rev == 0 || later.Rev > maxNumber || !isSignature(later.Sig) {
		return stored{}, err
	}
	if !isHex(later.Facts, 64) {
		later.Facts = ""
	}
	return stored{raw: raw, newer: true, line: schema.ReportLine{V: later.V, Fleet: later.Fleet, Node: later.Node, Rev: later.Rev, Facts: later.Facts, Sig: later.Sig}}, nil
}

// readConflicts merges conflicts.jsonl of the branch.
func (m *merger) readConflicts(text []byte) {
	for raw := range bytes.Lines(text) {
		c, err := parseConflict(bytes.TrimSuffix(raw, []byte("\n")))
		if err != nil {
			m.dropped++
			continue
		}
		for _, one := range c.Lines {
			if l, err := parseLine(one); err == nil && l.Fleet == m.fleet && m.signed(stored{line: l}) {
				m.conflict(c.Node, c.Rev, one)
			}
		}
	}
}

// parseConflict reads one line of conflicts.jsonl.
func parseConflict(raw []byte) (conflict, error) {
	var c conflict
	if len(raw) > maxTwins*MaxLine+1024 {
		return c, fmt.Errorf("%d bytes are too many", len(raw))
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, errors.New("malformed JSON: " + clip(err.Error()))
	}
	if c.V != 1 || !isID(c.Node) || len(c.Lines) < 2 || len(c.Lines) > maxTwins {
		return c, fmt.Errorf("not a conflict of two to %d lines of one node", maxTwins)
	}
	if !bytes.Equal(encodeConflict(c), raw) {
		return c, errors.New("not canonical JSON (RFC 8785)")
	}
	for i, one := range c.Lines {
		l, err := parseLine(one)
		switch {
		case err != nil:
			return c, err
		case l.Node != c.Node || l.Rev != c.Rev:
			return c, errors.New("its lines are not all of its node and rev")
		case i > 0 && bytes.Compare(c.Lines[i-1], one) >= 0:
			return c, errors.New("its lines are not sorted, once each")
		}
	}
	return c, nil
}

func encodeConflict(c conflict) []byte {
	b := []byte(`{"lines":[`)
	for i, l := range c.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, l...)
	}
	return fmt.Appendf(b, `],"node":%q,"rev":%d,"v":1}`, c.Node, c.Rev)
}

// writeConflicts is conflicts.jsonl, sorted by node and revision; of a node with many the newest are kept, and fewer of
// each where all of them make too large a file.
func (m *merger) writeConflicts() []byte {
	keys := slices.SortedFunc(maps.Keys(m.conflicts), func(a, b conflictKey) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.rev, b.rev))
	})
	for most := maxConflicts; ; most /= 2 {
		if b := m.conflictsText(keys, most); len(b) <= maxShard || most == 0 {
			m.kept = bytes.Count(b, []byte("\n"))
			return b
		}
	}
}

// conflictsText has of each node the newest, at most so many.
func (m *merger) conflictsText(keys []conflictKey, most int) []byte {
	var b []byte
	for i, k := range keys {
		if i+most < len(keys) && keys[i+most].node == k.node {
			continue
		}
		c := conflict{Node: k.node, Rev: k.rev}
		for _, raw := range m.conflicts[k] {
			c.Lines = append(c.Lines, raw)
		}
		b = append(append(b, encodeConflict(c)...), '\n')
	}
	return b
}

// errTooLarge says that a file of the branch passes its limit.
var errTooLarge = errors.New("too large")

// rubbish is what is read in place of a file that is not ours: it differs from all that is written.
const rubbish = "\x00"

// readOurs is a file of the branch to build upon: nil where there is none, rubbish where it is too large.
func readOurs(old func(string) ([]byte, error), path string, limit int) ([]byte, error) {
	b, err := readFile(old, path, limit)
	if errors.Is(err, errTooLarge) {
		return []byte(rubbish), nil
	}
	return b, err
}

// readFile is a file of the branch; nil where there is none. It wraps errTooLarge.
func readFile(old func(string) ([]byte, error), path string, limit int) ([]byte, error) {
	b, err := old(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %q of the reports: %w", path, err)
	case len(b) > limit:
		return nil, fmt.Errorf("read %q of the reports: %w: %d bytes are more than %d", path, errTooLarge, len(b), limit)
	}
	return b, nil
}

// shardText is a shard: lines sorted by node.
func (m *merger) shardText(nodes []string) []byte {
	slices.Sort(nodes)
	var b []byte
	for _, n := range nodes {
		b = append(append(b, m.lines[n].raw...), '\n')
	}
	return b
}
