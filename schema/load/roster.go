package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	slash "path"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/writing"
)

// roster reads nodes/*.jsonl: one node a line, canonical JSON (RFC 8785), sorted by id.
func (l *loading) roster() {
	var files []string
	for name := range l.tree.Content {
		if strings.HasSuffix(name, ".jsonl") {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	before := len(l.faults)
	defer func() { l.rosterWrong = len(l.faults) > before }()
	seen := map[string]string{} // of ids, names and keys, where they were first
	read := make([][]rosterRead, len(files))
	l.inParallel(len(files), func(i int) { read[i] = l.rosterFile(files[i]) })
	for f, name := range files {
		text := l.tree.Content[name]
		if len(text) > 0 && text[len(text)-1] != '\n' {
			l.faultAt(name, bytes.Count(text, []byte("\n"))+1, 1, "", "the last line has no newline at its end")
		}
		if found := writing.MergeMarkers(text); len(found) > 0 {
			for _, at := range found {
				l.slip(name, text, writing.Slip{At: at, Message: writing.Unmerged})
			}
			continue
		}
		if first, more, _ := bytes.Cut(text, []byte("\n")); string(bytes.TrimSpace(first)) == "{" && len(more) > 0 {
			l.faultAt(name, 1, 1, "", "a node is one line of JSON, as dunlin node line prints it; this one goes over several")
			continue
		}
		last := ""
		for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
			if len(text) == 0 {
				break
			}
			node, ok := read[f][i].node, read[f][i].ok
			l.faults = append(l.faults, read[f][i].faults...)
			if !ok {
				continue
			}
			say := func(field, format string, a ...any) {
				ok = false
				l.faultAt(name, i+1, columnOf(line, field), field, fmt.Sprintf(format, a...))
			}
			if want := node.ID[:2] + ".jsonl"; slash.Base(name) != want {
				say("id", "a node with this id belongs in nodes/%s", want)
			}
			if node.ID < last {
				say("id", "lines are sorted by id: this one belongs before %q", last)
			}
			last = node.ID
			for _, u := range [][2]string{{"id", node.ID}, {"name", node.Name}, {"keys.age", node.Keys.Age}, {"keys.tls", node.Keys.TLS}} {
				here := fmt.Sprintf("%s:%d", name, i+1)
				if first, taken := seen[u[0]+" "+u[1]]; taken {
					say(u[0], "already in %s", first)
				} else {
					seen[u[0]+" "+u[1]] = here
				}
			}
			if ok {
				l.repo.Roster = append(l.repo.Roster, node)
			}
		}
	}
	slices.SortFunc(l.repo.Roster, func(a, b schema.RosterLine) int { return strings.Compare(a.ID, b.ID) })
}

// rosterRead is a line by itself.
type rosterRead struct {
	node   schema.RosterLine
	ok     bool
	faults []schema.Fault
}

// rosterFile reads every line of a file by itself.
func (l *loading) rosterFile(name string) []rosterRead {
	lines := bytes.Split(bytes.TrimSuffix(l.tree.Content[name], []byte("\n")), []byte("\n"))
	out := make([]rosterRead, len(lines))
	for i, line := range lines {
		part := &loading{defs: l.defs}
		out[i].node, out[i].ok = part.rosterLine(name, i+1, line)
		out[i].faults = part.faults
	}
	return out
}

// rosterLine reads one line and checks it by itself.
func (l *loading) rosterLine(file string, number int, line []byte) (schema.RosterLine, bool) {
	var node schema.RosterLine
	fail := func(p path, message string) (schema.RosterLine, bool) {
		column := 1
		if len(p) > 0 {
			column = columnOf(line, p.String())
		}
		l.faultAt(file, number, column, p.String(), message)
		return node, false
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return fail(nil, "a blank line: take it out")
	}
	v, err := parseJSON(line)
	if err != nil {
		column := 1
		if e := (*json.SyntaxError)(nil); errors.As(err, &e) {
			column = max(1, min(int(e.Offset), len(line)))
		}
		l.faultAt(file, number, column, "", "not a line of JSON: "+strings.NewReplacer("EOF", "it ends too early", "unexpected EOF", "it ends too early",
			" looking for beginning of value", " where a value is wanted", " looking for beginning of object key string", " where a name in quotes is wanted").Replace(err.Error()))
		return node, false
	}
	c := &checker{defs: l.defs}
	if s := l.defs["#RosterLine"]; !(&direct{}).accepts(s, v) {
		c.check(s, v, nil)
	}
	if c.bad {
		for _, m := range c.found {
			column := 1
			if !m.label || v.get(m.path[0].name) != nil {
				column = columnOf(line, m.where.String())
			}
			l.faultAt(file, number, column, m.path.String(), m.message)
		}
		return node, false
	}
	if canonical := v.json(nil); !bytes.Equal(canonical, line) {
		at := 0
		for at < len(line) && at < len(canonical) && line[at] == canonical[at] {
			at++
		}
		l.faultAt(file, number, at+1, "", "not canonical JSON (RFC 8785): keys sorted, no blanks, nothing escaped without need")
		return node, false
	}
	if _, err := time.Parse(time.RFC3339, v.get("added").s); err != nil {
		return fail(at("added"), fmt.Sprintf("%q is not in the calendar", v.get("added").s))
	}
	if err := json.Unmarshal(line, &node); err != nil {
		return fail(nil, "cannot be read: "+err.Error())
	}
	id, err := nodeID(node.Keys.Sign)
	if err != nil {
		return fail(at("keys", "sign"), err.Error())
	}
	if m := ageKeyFault(node.Keys.Age); m != "" {
		return fail(at("keys", "age"), m)
	}
	if id != node.ID {
		return fail(at("id"), fmt.Sprintf("%q is not the id of keys.sign; that is %q", node.ID, id))
	}
	return node, true
}

// nodeID is the id that belongs to a signing key, an ssh-ed25519 line: the first 26
// characters of the lower-case base32 of the SHA-256 of the 32 bytes of the key.
func nodeID(sign string) (string, error) {
	_, text, _ := strings.Cut(sign, " ")
	b, err := base64.StdEncoding.DecodeString(text)
	prefix := "\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
	if err != nil || len(b) != len(prefix)+32 || string(b[:len(prefix)]) != prefix {
		return "", fmt.Errorf("not an ssh-ed25519 public key")
	}
	sum := sha256.Sum256(b[len(prefix):])
	return shortID(sum[:]), nil
}

// shortID is how nodes and runs are named: 26 signs of a SHA-256.
func shortID(sum []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum))[:26]
}

// columnOf is the column of the value at a path such as keys.sign in a line of JSON, or of the whole line.
func columnOf(line []byte, dotted string) int {
	d := json.NewDecoder(bytes.NewReader(line))
	want := strings.Split(dotted, ".")
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return 1
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return 1
		}
		start := int(d.InputOffset())
		for start < len(line) && (line[start] == ':' || line[start] == ' ') {
			start++
		}
		if t == want[0] {
			if len(want) == 1 || start >= len(line) || line[start] != '{' {
				return start + 1
			}
			return start + columnOf(line[start:], strings.Join(want[1:], "."))
		}
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return 1
		}
	}
	return 1
}
