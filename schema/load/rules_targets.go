package load

import (
	"fmt"
	"slices"
	"strings"
)

// selections are the fields of a kind that select nodes, as steps for follow.
func selections(kind string) [][]string {
	switch kind {
	case "fleet":
		return [][]string{{"reports", "reporters"}}
	case "window":
		return [][]string{{"targets"}, {"tasks", "*", "targets"}}
	case "parameter":
		return [][]string{{"readers"}}
	case "grant":
		return [][]string{{"targets"}, {"run", "targets"}}
	case "rule":
		return [][]string{{"when", "targets"}, {"run", "targets"}}
	case "group", "resourceGroup", "policy", "association", "exception", "guardrail":
		return [][]string{{"targets"}}
	}
	return nil
}

// targets checks one selection by itself.
func (l *loading) targets(o *object, p path, n *value) {
	if n.k != kStruct {
		return
	}
	others := 0
	for name := range n.fields() {
		if name == "all" || name == "exclude" {
			continue
		}
		others++
		if n.get("all") != nil {
			whole := "all"
			if here, there := l.labelPos(o, p.field(name)), l.labelPos(o, p.field("all")); here.File != there.File && there.Line > 0 {
				whole = fmt.Sprintf("all (%s)", place(there, here.File))
			}
			l.wrongLabel(o, p.field(name), whole+" goes only with exclude")
		}
	}
	if others == 0 && n.get("all") == nil && n.get("exclude") != nil && !o.blurred(p) {
		l.wrongLabel(o, p.field("exclude"), "exclude alone selects nothing; add all: true to mean every other node")
	}
}

// groupings are the fields of a selection that name other selections, and the kinds of those.
func groupings() [2]struct{ field, kind, word string } {
	return [2]struct{ field, kind, word string }{{"groups", "group", "group"}, {"resourceGroups", "resourceGroup", "resource group"}}
}

// emptySelection warns of targets that exclude all that they select.
func (l *loading) emptySelection(o *object, p path, n *value) {
	if n.get("exclude") == nil || n.k != kStruct || o.heard(p.field("exclude")) {
		return
	}
	w := l.worldOf(n)
	if _, found := w.find(func(node aNode) bool { return w.selects(n, node, true) }); !found && w.known() {
		l.doubtAt(l.labelPos(o, p.field("exclude")), p.field("exclude"), "takes away every node that these targets select")
	}
}

// policyTargets checks what a policy asks of nodes that its targets may mean and that cannot do it.
func (l *loading) policyTargets(o *object, n *value) {
	p := o.key.path()
	targets := n.get("targets")
	if targets == nil || targets.k != kStruct {
		return
	}
	if n.get("registry") != nil {
		w := l.worldOf(targets)
		w.os = append(w.os, "windows")
		_, found := w.find(func(node aNode) bool { return node.os == "windows" && w.selects(targets, node, true) })
		if !found && w.known() {
			l.wrongLabel(o, p.field("registry"), `only where targets can be Windows; none of these nodes can have os "windows"`)
		}
	}
	for name, f := range n.get("files").fields() {
		path := f.get("contentFrom").str("parameter")
		stored := l.object("parameter", path)
		if path == "" || stored == nil || stored.read().str("type") != "SecureString" {
			continue
		}
		if mode := f.str("mode"); len(mode) == 4 && (mode[3]-'0')&4 != 0 {
			l.wrong(o, p.field("files").field(name).field("mode"), fmt.Sprintf("%q lets everybody on the host read a secret; without a mode it is 0600: name who reads it by owner, or by group with 0640, and what everybody may read is a String", mode))
		}
		readers := stored.read().get("readers")
		if readers == nil || readers.k != kStruct {
			continue
		}
		w := l.worldOf(targets, readers)
		if w.named {
			continue // which nodes these are says the roster
		}
		if node, found := w.find(func(node aNode) bool { return w.selects(targets, node, true) && !w.selects(readers, node, true) }); found && w.known() {
			l.wrong(o, p.field("files").field(name).field("contentFrom").field("parameter"),
				fmt.Sprintf("parameter %q is not readable for all targets: its readers leave out %s", path, node.words(w.keys)))
		}
	}
}

// world is the nodes that could be, as far as some selections can tell them apart: each tag with each value that they
// name or none of these, and each operating system that they name or another. What depends on a node's name is not
// known here, since the roster does not decide whether a repository is valid.
type world struct {
	l     *loading
	tags  map[string][]string
	keys  []string // of tags, in order of appearance
	os    []string
	named bool            // a selection names nodes
	seen  map[objKey]bool // groups that were looked into
	lost  bool            // something could not be told
}

// maxWorlds bounds how many different nodes are tried for one question, maxTried how many selections are held against
// nodes for all questions of a repository: some 0.3 s. What is not known beyond them is no fault.
const (
	maxWorlds = 4096
	maxTried  = 2_000_000
)

func (l *loading) worldOf(selections ...*value) *world {
	w := &world{l: l, tags: map[string][]string{}, os: []string{""}, seen: map[objKey]bool{}}
	for _, n := range selections {
		w.gather(n)
		w.gather(n.get("exclude"))
	}
	return w
}

func (w *world) gather(n *value) {
	for key, v := range n.get("tags").fields() {
		w.tag(key, texts(v))
	}
	w.os = append(w.os, texts(n.get("os"))...)
	w.named = w.named || n.get("nodes") != nil
	for _, in := range groupings() {
		for _, name := range texts(n.get(in.field)) {
			key := objKey{in.kind, name}
			if w.seen[key] {
				continue
			}
			w.seen[key] = true
			switch g := w.l.object(key.kind, key.name); {
			case g == nil || g.read() == nil:
				w.named = true // it may be anything
			case in.kind == "group" && g.read().get("targets") == nil:
				w.tag("PatchGroup", []string{name})
			default:
				w.gather(g.read().get("targets"))
				w.gather(g.read().get("targets").get("exclude"))
			}
		}
	}
}

func (w *world) tag(key string, values []string) {
	if w.tags[key] == nil {
		w.keys = append(w.keys, key)
		w.tags[key] = []string{""}
	}
	w.tags[key] = append(w.tags[key], values...)
}

// texts are the texts of a list, or the one that stands for a list of itself.
func texts(n *value) []string {
	if n != nil && n.k == kString {
		return []string{n.s}
	}
	var out []string
	for _, v := range n.items() {
		if v.k == kString {
			out = append(out, v.s)
		}
	}
	return out
}

// aNode is one that could be. Tags and systems that nobody named are "".
type aNode struct {
	tags  map[string]string
	os    string
	names []string // of one of the roster; nil: any
}

// known reports whether all the nodes that could be were tried.
func (w *world) known() bool { return w.size() <= maxWorlds && !w.lost }

func (w *world) size() int {
	n := len(w.os)
	for _, values := range w.tags {
		n = min(n*len(values), maxWorlds+1)
	}
	return n
}

// find gives the first node that could be and that a test holds for. It does not look where there are too many.
func (w *world) find(test func(aNode) bool) (aNode, bool) {
	if w.size() > maxWorlds {
		return aNode{}, false
	}
	for i := range w.size() {
		node := aNode{tags: make(map[string]string, len(w.keys)), os: w.os[i%len(w.os)]}
		i /= len(w.os)
		for _, key := range w.keys {
			node.tags[key] = w.tags[key][i%len(w.tags[key])]
			i /= len(w.tags[key])
		}
		if test(node) {
			return node, true
		}
	}
	return aNode{}, false
}

// selects reports whether targets can mean a node. named is what a list of names says: the node may have any name.
func (w *world) selects(targets *value, node aNode, named bool) bool {
	return w.selection(targets, node, named, 0) &&
		(targets.get("exclude") == nil || !w.selection(targets.get("exclude"), node, !named, 0))
}

func (w *world) selection(n *value, node aNode, named bool, depth int) bool {
	if w.l.tried++; depth > maxDepth || w.l.tried > maxTried {
		w.lost = true // in a circle, which has a fault of its own
		return named
	}
	for key, v := range n.get("tags").fields() {
		if !among(texts(v), node.tags[key]) {
			return false
		}
	}
	if os := n.get("os"); os != nil && !among(texts(os), node.os) {
		return false
	}
	if nodes := n.get("nodes"); nodes != nil {
		in := named
		if node.names != nil {
			in = slices.ContainsFunc(texts(nodes), func(name string) bool { return slices.Contains(node.names, name) })
		}
		if !in {
			return false
		}
	}
	for _, in := range groupings() {
		if list := n.get(in.field); list != nil && !slices.ContainsFunc(texts(list), func(name string) bool {
			return w.group(objKey{in.kind, name}, node, named, depth+1)
		}) {
			return false
		}
	}
	return true
}

func (w *world) group(key objKey, node aNode, named bool, depth int) bool {
	g := w.l.object(key.kind, key.name)
	if g == nil || g.read() == nil {
		return named
	}
	targets := g.read().get("targets")
	if targets == nil && key.kind == "group" {
		return node.tags["PatchGroup"] == key.name
	}
	return w.selection(targets, node, named, depth) &&
		(targets.get("exclude") == nil || !w.selection(targets.get("exclude"), node, !named, depth))
}

func among(words []string, word string) bool { return word != "" && slices.Contains(words, word) }

// words tells the node by what sets it apart.
func (n aNode) words(keys []string) string {
	var have []string
	if n.os != "" {
		have = append(have, "os "+n.os)
	}
	for _, key := range keys {
		if n.tags[key] != "" {
			have = append(have, key+"="+n.tags[key])
		}
	}
	if len(have) == 0 {
		return "a node without any of these tags"
	}
	return "a node with " + strings.Join(have, ", ")
}
