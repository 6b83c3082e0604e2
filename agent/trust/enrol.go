package trust

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// JoinsFolder is where the proofs of those who have enrolled stay: nodes/joins/ACTIVATION/X.jsonl, where X is the first
// character of the node's id; sorted by id, a line a Join. How many lines an activation has is how many have enrolled
// with it.
const JoinsFolder = "nodes/joins"

// maxRosterFile bounds a file of the roster, as the loader does, and one of joins, in bytes.
const maxRosterFile = 1 << 20

// Entry is a name in a folder of a tree.
type Entry struct {
	Mode string // as Git has it: 100644, 100755, 40000
	Hash string
}

const plainFile, plainFolder = "100644", "40000"

// Rosters gives what is in trees. It is what a Source needs for roles with activations, apart from the rest so that
// whoever only lists can use it.
type Rosters interface {
	// Folder gives what a folder of a tree holds, by name; nothing where there is none. The folder "" is the root.
	Folder(tree, dir string) (map[string]Entry, error)
	// Content gives what a file holds, at most limit bytes; more is an error.
	Content(hash string, limit int64) ([]byte, error)
}

// JoinFile is the path of the file that a join of an activation belongs into.
func JoinFile(activation, id string) string {
	return JoinsFolder + "/" + activation + "/" + id[:1] + ".jsonl"
}

// RosterFile is the path of the file that a node's line belongs into.
func RosterFile(id string) string { return "nodes/" + id[:2] + ".jsonl" }

// node is what must be unique in a roster.
type node struct {
	id, name, age, tls, sign string
	active                   bool
}

// Rosters as read, by the hashes of their files: from step to step few of them change.
type rosterCache struct {
	src    Rosters
	byHash map[string][]node
}

func newRosterCache(src Rosters) *rosterCache { return &rosterCache{src, map[string][]node{}} }

// file reads one file of a roster.
func (c *rosterCache) file(hash string) ([]node, error) {
	if n, ok := c.byHash[hash]; ok {
		return n, nil
	}
	text, err := c.src.Content(hash, maxRosterFile)
	if err != nil {
		return nil, err
	}
	var out []node
	for line := range bytes.Lines(text) {
		var l schema.RosterLine
		if json.Unmarshal(line, &l) != nil {
			continue // the loader refuses it
		}
		out = append(out, node{l.ID, l.Name, l.Keys.Age, l.Keys.TLS, l.Keys.Sign, l.State == schema.NodeActive})
	}
	if len(c.byHash) > 1<<14 {
		clear(c.byHash)
	}
	c.byHash[hash] = out
	return out, nil
}

// Roll is a roster as a tree has it, and who has enrolled with which activation.
type Roll struct {
	nodes    map[string]node
	taken    map[string]string // "name x", "age x", "tls x": id
	joined   map[string]int    // by activation
	enrolled func(id string) (bool, error)
}

// ReadRoll reads the roster of a tree.
func ReadRoll(src Rosters, tree string) (*Roll, error) { return newRosterCache(src).roll(tree) }

func (c *rosterCache) roll(tree string) (*Roll, error) {
	r := &Roll{nodes: map[string]node{}, taken: map[string]string{}, joined: map[string]int{}}
	files, err := c.src.Folder(tree, "nodes")
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".jsonl") || files[name].Mode == plainFolder {
			continue
		}
		nodes, err := c.file(files[name].Hash)
		if err != nil {
			return nil, err
		}
		for _, n := range nodes {
			r.add(n)
		}
	}
	folders := map[string]map[string]Entry{}
	if files["joins"].Mode == plainFolder {
		acts, err := c.src.Folder(tree, JoinsFolder)
		if err != nil {
			return nil, err
		}
		for act, e := range acts {
			if e.Mode != plainFolder {
				continue
			}
			if folders[act], err = c.src.Folder(tree, JoinsFolder+"/"+act); err != nil {
				return nil, err
			}
			for _, f := range folders[act] {
				if f.Mode == plainFolder {
					continue
				}
				text, err := c.src.Content(f.Hash, maxRosterFile)
				if err != nil {
					return nil, err
				}
				r.joined[act] += bytes.Count(text, []byte("\n"))
			}
		}
	}
	r.enrolled = func(id string) (bool, error) {
		for _, files := range folders {
			f, ok := files[id[:1]+".jsonl"]
			if !ok || f.Mode == plainFolder {
				continue
			}
			text, err := c.src.Content(f.Hash, maxRosterFile)
			if err != nil {
				return false, err
			}
			if bytes.Contains(text, []byte(`"id":"`+id+`"`)) {
				return true, nil
			}
		}
		return false, nil
	}
	return r, nil
}

func (r *Roll) add(n node) {
	r.nodes[n.id] = n
	for _, what := range []string{"name " + n.name, "age " + n.age, "tls " + strings.ToLower(n.tls)} {
		r.taken[what] = n.id
	}
}

// Enrolled is how many nodes have enrolled with an activation.
func (r *Roll) Enrolled(activation string) int { return r.joined[activation] }

// Known reports whether the roster has or had a node. What cannot be read counts as known.
func (r *Roll) Known(id string) bool {
	if _, ok := r.nodes[id]; ok {
		return true
	}
	was, err := r.enrolled(id)
	return was || err != nil
}

// Member is the signing key of an active node.
func (r *Roll) Member(id string) (ed25519.PublicKey, bool) {
	n, ok := r.nodes[id]
	if !ok || !n.active {
		return nil, false
	}
	key, ok := nodeKey(n.sign)
	return key, ok && schema.NodeID(key) == id
}

// Pins are the TLS keys of the active nodes, by id.
func (r *Roll) Pins() map[string]string {
	pins := map[string]string{}
	for id, n := range r.nodes {
		if n.active {
			pins[id] = n.tls
		}
	}
	return pins
}

// Free fails where another node has the name that a host would have, or one of its keys. The error is a *JoinRefusal.
func (r *Roll) Free(name string, k schema.RosterKeys) error {
	for _, t := range [][2]string{{"name " + name, fmt.Sprintf("the name %q", name)}, {"age " + k.Age, "its key keys.age"}, {"tls " + strings.ToLower(k.TLS), "its key keys.tls"}} {
		if id, ok := r.taken[t[0]]; ok {
			return no(JoinTaken, "%s is that of node %s already", t[1], id)
		}
	}
	return nil
}

// Take notes that a node has enrolled, so that the next is judged with it.
func (r *Roll) Take(p Proof, name string) {
	r.add(node{p.ID, name, p.Keys.Age, p.Keys.TLS, p.Keys.Sign, false}) // not active yet: it vouches for nobody in the same step
	r.joined[p.Activation]++
}

// Gate judges by the roll.
func (r *Roll) Gate(fleet string, acts map[string]schema.Activation, now time.Time) Gate {
	return Gate{Fleet: fleet, Activations: acts, Now: now, Enrolled: r.Enrolled, Known: r.Known, Member: r.Member}
}

// enrolment judges what a step changes below nodes/ without root: whole lines of the roster may be added, each backed by
// its proof, by people of a role with activations. It gives the roles that agreed, or why not; why is empty where no
// such role has anything to do with it.
func (v *verifier) enrolment(ctx context.Context, fleet schema.Fleet, who people, p, c Commit, paths, agreed []string) (roles []string, why string, err error) {
	may := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(fleet.Roles)) {
		r := fleet.Roles[name]
		if len(r.Activations) == 0 || len(having(who, name, agreed)) < max(r.Threshold, 1) {
			continue
		}
		if !slices.ContainsFunc(paths, func(path string) bool {
			return !slices.ContainsFunc(r.Paths, func(pattern string) bool { return Match(pattern, path) })
		}) {
			roles = append(roles, name)
			for _, a := range r.Activations {
				may[a] = true
			}
		}
	}
	if len(roles) == 0 {
		return nil, "", nil
	}
	said := strings.Join(roles, ", ")
	refuse := func(format string, a ...any) ([]string, string, error) {
		return nil, fmt.Sprintf("the role %s may only add nodes, and ", said) + fmt.Sprintf(format, a...), nil
	}
	lines, joins := map[string][]byte{}, map[string]Join{}
	for _, path := range paths {
		act, ok := enrolmentPath(path)
		switch {
		case !ok:
			return refuse("%q is no file of nodes", path)
		case act != "" && !may[act]:
			return refuse("%q is of the activation %q, which is not one of its own", path, act)
		}
		added, why, err := v.addedLines(p.Tree, c.Tree, path)
		if err != nil {
			return nil, "", err
		}
		if why != "" {
			return refuse("%q: %s", path, why)
		}
		for _, l := range added {
			if act == "" {
				if RosterFile(l.id) != path || lines[l.id] != nil {
					return refuse("%q: node %s belongs into %s, once", path, l.id, RosterFile(l.id))
				}
				lines[l.id] = l.text
				continue
			}
			j, err := ParseJoin(l.text)
			if err != nil {
				return refuse("%q: node %s: %s", path, l.id, err)
			}
			if _, twice := joins[l.id]; twice || j.Proof.ID != l.id || JoinFile(act, l.id) != path || j.Proof.Activation != act {
				return refuse("%q: node %s belongs into %s, once", path, l.id, JoinFile(j.Proof.Activation, l.id))
			}
			joins[l.id] = j
		}
	}
	for id := range lines {
		if _, ok := joins[id]; !ok {
			return refuse("node %s has no proof", id)
		}
	}
	acts, err := v.src.Activations(ctx, p.ID)
	if err != nil {
		return nil, "", err
	}
	if v.rosters == nil {
		v.rosters = newRosterCache(v.src)
	}
	roll, err := v.rosters.roll(p.Tree)
	if err != nil {
		return nil, "", err
	}
	for _, id := range slices.Sorted(maps.Keys(joins)) {
		line, proof := lines[id], joins[id].Proof
		if line == nil {
			return refuse("the proof of node %s is of no node that is added", id)
		}
		if err := roll.Gate(fleet.Name, acts, c.When).Judge(joins[id]); err != nil {
			return refuse("node %s: %s", id, err)
		}
		act := acts[proof.Activation]
		if !Gives(act, proof) {
			return refuse("node %s asks for tags that the activation %q does not give: somebody of root may approve it", id, proof.Activation)
		}
		if err := roll.Free(proof.Name, proof.Keys); err != nil {
			return refuse("node %s: %s", id, err)
		}
		var is schema.RosterLine
		if json.Unmarshal(line, &is) != nil || is.Added.After(c.When.Add(MaxAhead)) || !bytes.Equal(line, proof.Line(proof.Name, act.Tags, is.Added)) {
			return refuse("the line of node %s is not the one that its proof and the tags of activation %q make", id, proof.Activation)
		}
		roll.Take(proof, proof.Name)
	}
	return roles, "", nil
}

// enrolmentPath tells what a path is: a file of the roster, or one of joins with its activation.
func enrolmentPath(path string) (activation string, ok bool) {
	parts := strings.Split(path, "/")
	name, is := strings.CutSuffix(parts[len(parts)-1], ".jsonl")
	switch {
	case !is || parts[0] != "nodes":
		return "", false
	case len(parts) == 2:
		return "", of(name, "a-z2-7", 2, 2)
	case len(parts) == 4 && parts[1] == "joins":
		return parts[2], of(name, "a-z2-7", 1, 1) && isName(parts[2], 63)
	}
	return "", false
}

// addedLine is a line that one tree has and another has not.
type addedLine struct {
	id   string
	text []byte // without its newline
}

// addedLines are what a file has more than before. why says what else is different.
func (v *verifier) addedLines(from, to, path string) (added []addedLine, why string, err error) {
	i := strings.LastIndexByte(path, '/')
	dir, base := path[:i], path[i+1:]
	var texts [2][]byte
	for n, tree := range []string{from, to} {
		files, err := v.src.Folder(tree, dir)
		if err != nil {
			return nil, "", err
		}
		e, ok := files[base]
		if !ok && n == 0 {
			continue
		}
		if !ok || e.Mode != plainFile {
			return nil, "it is gone, or no plain file", nil
		}
		if texts[n], err = v.src.Content(e.Hash, maxRosterFile); err != nil {
			return nil, "", err
		}
		if t := texts[n]; len(t) > 0 && t[len(t)-1] != '\n' {
			return nil, "its last line has no newline", nil
		}
	}
	old := bytes.SplitAfter(texts[0], []byte("\n"))
	old = old[:len(old)-1]
	last := ""
	for line := range bytes.Lines(texts[1]) {
		id, ok := idOf(line)
		if !ok || id <= last {
			return nil, "its lines are not sorted by id, each node once", nil
		}
		last = id
		if len(old) > 0 && bytes.Equal(old[0], line) {
			old = old[1:]
			continue
		}
		added = append(added, addedLine{id, bytes.TrimSuffix(line, []byte("\n"))})
	}
	if len(old) > 0 {
		return nil, "a line is changed or gone that was there", nil
	}
	if len(added) == 0 {
		return nil, "nothing is added", nil
	}
	return added, "", nil
}

// idOf is the id that a line of the roster or of joins is sorted by.
func idOf(line []byte) (string, bool) {
	var l struct {
		ID    string `json:"id"`
		Proof struct {
			ID string `json:"id"`
		} `json:"proof"`
	}
	if json.Unmarshal(line, &l) != nil {
		return "", false
	}
	id := l.ID
	if id == "" {
		id = l.Proof.ID
	}
	return id, isNodeID(id)
}

// Insert adds a line, without its newline, to the text of a file that is sorted by id, in its place. It fails where the node
// has a line there already.
func Insert(text, line []byte) ([]byte, error) {
	id, ok := idOf(line)
	if !ok {
		return nil, errors.New("a line without a node's id")
	}
	at := 0
	for l := range bytes.Lines(text) {
		other, ok := idOf(l)
		switch {
		case !ok || l[len(l)-1] != '\n':
			return nil, errors.New("the file has a line that is none of a node")
		case other == id:
			return nil, fmt.Errorf("node %s has a line already", id)
		}
		if other < id {
			at += len(l)
		}
	}
	return slices.Concat(text[:at], line, []byte("\n"), text[at:]), nil
}
