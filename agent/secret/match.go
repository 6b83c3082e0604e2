package secret

import "strings"

// A matcher finds the longest known form that ends at each byte of a stream: an automaton after Aho and Corasick, "Efficient
// string matching", CACM 18(6), 1975. It never changes once it is made. Its time is linear in what it reads, its memory in
// the forms: 25 bytes for each of theirs.
type matcher struct {
	root [256]int32
	node []node
	form []found
}

// node is a state: what was read last is the beginning of a form.
type node struct {
	child, sibling int32 // 0: none
	fail           int32
	depth          int32 // bytes from the root
	form           int32 // the longest form that ends here, -1: none
	last           byte
}

// found is what a form says of a match.
type found struct {
	length      int
	name        string
	left, right bool // as in form
}

// insert adds a form; link is called once all are there.
func (m *matcher) insert(f form, name string) {
	if m.node == nil {
		m.node = []node{{form: -1}}
	}
	at := int32(0)
	for _, c := range f.text {
		next := m.child(at, c)
		if next == 0 {
			next = int32(len(m.node))
			n := node{depth: m.node[at].depth + 1, form: -1, last: c}
			if at == 0 {
				m.root[c] = next
			} else {
				n.sibling, m.node[at].child = m.node[at].child, next
			}
			m.node = append(m.node, n)
		}
		at = next
	}
	if m.node[at].form < 0 {
		m.node[at].form = int32(len(m.form))
		m.form = append(m.form, found{len(f.text), name, f.left, f.right})
	}
}

func (m *matcher) child(at int32, c byte) int32 {
	if at == 0 {
		return m.root[c]
	}
	next := m.node[at].child
	for next != 0 && m.node[next].last != c {
		next = m.node[next].sibling
	}
	return next
}

// link makes the automaton of the tree of forms.
func (m *matcher) link() {
	// Nodes in the order of their depth; those of the root fail to it.
	var queue []int32
	for _, n := range m.root {
		if n != 0 {
			queue = append(queue, n)
		}
	}
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		n := &m.node[at]
		if n.form < 0 && n.fail != 0 {
			n.form = m.node[n.fail].form
		}
		for next := n.child; next != 0; next = m.node[next].sibling {
			m.node[next].fail = m.step(n.fail, m.node[next].last)
			queue = append(queue, next)
		}
	}
}

// depth is how much of what was read last is the beginning of a form, in bytes.
func (m *matcher) depth(at int32) int32 {
	if at == 0 {
		return 0
	}
	return m.node[at].depth
}

// found is the longest form that ends at a state; nil where none does.
func (m *matcher) found(at int32) *found {
	if at == 0 || m.node[at].form < 0 {
		return nil
	}
	return &m.form[m.node[at].form]
}

// whole is a text without the beginnings of forms, of MinRedacted bytes and more, at which it was cut.
func (m *matcher) whole(s string) string {
	var b strings.Builder
	at, done := int32(0), 0
	for i := range len(s) {
		if strings.HasPrefix(s[i:], cut) {
			if depth, name := m.begun(at); depth >= MinRedacted && i-depth >= done {
				b.WriteString(s[done:i-depth] + "[secret " + name + "]")
				done = i
			}
		}
		at = m.step(at, s[i])
	}
	return b.String() + s[done:]
}

// begun is how long the beginning of a form is that was read last, in bytes, and whose form it is. It is 0 where that is a
// whole form.
func (m *matcher) begun(at int32) (depth int, name string) {
	depth = int(m.depth(at))
	if f := m.found(at); depth == 0 || f != nil && f.length == depth {
		return 0, ""
	}
	for m.node[at].form < 0 || m.form[m.node[at].form].length < int(m.node[at].depth) {
		at = m.node[at].child // each ends in a form
	}
	return depth, m.form[m.node[at].form].name
}

// step is the state after one more byte.
func (m *matcher) step(at int32, c byte) int32 {
	for {
		if next := m.child(at, c); next != 0 || at == 0 {
			return next
		}
		at = m.node[at].fail
	}
}
