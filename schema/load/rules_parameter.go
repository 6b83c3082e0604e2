package load

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema/load/writing"
)

// maxValue is the most that a parameter holds, in bytes (SSM §10.1); maxEnvelope is what is encrypted with it at most: fleet,
// name, version and length.
const (
	maxValue    = 8192
	maxEnvelope = 2048
)

func (l *loading) parameter(o *object, n *value) {
	p := o.key.path()
	secret := n.str("type") == "SecureString"
	pattern := n.str("allowedPattern")
	re := l.pattern(o, p.field("allowedPattern"), pattern)
	numbers := versionsOf(n)
	labels := map[string]string{} // to the version that has it
	for i, number := range numbers {
		name := strconv.Itoa(number)
		v := n.get("versions").get(name)
		q := p.field("versions").field(name)
		if i > 0 && number != numbers[i-1]+1 {
			l.doubtAt(l.labelPos(o, q), q, fmt.Sprintf("comes after version %d; versions rise by one", numbers[i-1]))
		}
		for i, label := range v.get("labels").items() {
			switch first, taken := labels[label.s]; {
			case label.k != kString:
			case taken:
				l.wrong(o, q.field("labels").index(i), fmt.Sprintf("already on version %s; a label is on one version", first))
			default:
				labels[label.s] = name
			}
		}
		if to := v.get("recipients"); to != nil && !secret {
			l.wrongLabel(o, q.field("recipients"), "only of a SecureString")
		}
		if _, ok := l.instant(o, q, v, "created"); ok {
			l.noteValue(o, q.field("created"))
		}
		text := v.str("value")
		switch q = q.field("value"); {
		case text == "":
		case secret:
			if n.get("readers") != nil { // else whom it is for is not said
				l.sealed(o, q, text, v.get("recipients"))
			}
		case len(text) > maxValue:
			l.wrong(o, q, fmt.Sprintf("%d bytes; at most %d are allowed", len(text), maxValue))
		case pattern != "" && re != nil && !re.MatchString(text):
			l.wrong(o, q, fmt.Sprintf("%s does not match allowedPattern %s", strconv.Quote(writing.Clip(text, 60)), pattern))
		}
	}
	policies := n.get("policies")
	p = p.field("policies")
	if _, ok := l.instant(o, p, policies, "expires"); ok {
		l.noteValue(o, p.field("expires"))
	}
	l.duration(o, p, policies, "notifyBefore", 0, forever, "")
	l.duration(o, p, policies, "noChangeNotifyAfter", 0, forever, "")
	if policies.get("notifyBefore") != nil && policies.get("expires") == nil && !o.blurred(p) {
		l.wrongLabel(o, p.field("notifyBefore"), "only with expires")
	}
}

// openReaders warns where a secret is for nodes whatever their tags, by their os or through groups too, while a role lets hosts
// in by itself: which os a host has only it says, so who has a code of the role could read the secret once it is encrypted
// anew. The tags are those of the activation.
func (l *loading) openReaders(o *object, n *value) {
	readers := n.get("readers")
	if n.str("type") != "SecureString" || readers == nil || readers.k != kStruct {
		return
	}
	w := l.worldOf(readers)
	_, open := w.find(func(node aNode) bool {
		for _, tag := range node.tags {
			if tag != "" {
				return false
			}
		}
		return w.selection(readers, node, false, 0) && (readers.get("exclude") == nil || !w.selection(readers.get("exclude"), node, false, 0))
	})
	if !open {
		return
	}
	for name, role := range l.forFleet().get("roles").fields() {
		if len(role.get("activations").items()) > 0 {
			p := o.key.path().field("readers")
			l.doubtAt(l.labelPos(o, p), p, fmt.Sprintf("select any host that the role %q lets in by itself, since a host's os is what it says of itself; select readers by tags", name))
			return
		}
	}
}

// versionsOf are the versions of a parameter in order.
func versionsOf(n *value) []int {
	var out []int
	for name := range n.get("versions").fields() {
		if v, err := strconv.Atoi(name); err == nil {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

// sealed checks that an encrypted value is one, and to as many keys as are listed, as far as that can be told without its
// key.
func (l *loading) sealed(o *object, p path, text string, listed *value) {
	have, plain, err := openSeal(text)
	switch {
	case err != nil:
		l.wrong(o, p, fmt.Sprintf("not a whole age file: %v; dunlin param put writes one, or age --armor", err))
	case plain > maxValue+maxEnvelope:
		l.wrong(o, p, fmt.Sprintf("%d bytes are encrypted; a value has at most %d", plain, maxValue))
	case listed != nil && len(listed.items()) > 0 && len(listed.items()) != have:
		l.wrong(o, p, fmt.Sprintf("encrypted to %s, and recipients lists %d; dunlin param put and rotate write both", counted(strconv.Itoa(have), "recipient"), len(listed.items())))
	}
}

// selector checks the version or label of a parameter that a text names.
func (l *loading) selector(o *object, p path, name, selector string) {
	stored := l.object("parameter", name)
	if stored == nil {
		return
	}
	n := stored.read()
	numbers := versionsOf(n)
	if selector == "" || len(numbers) == 0 {
		return
	}
	var versions, labels []string
	for _, v := range numbers {
		versions = append(versions, strconv.Itoa(v))
		labels = append(labels, texts(n.get("versions").get(strconv.Itoa(v)).get("labels"))...)
	}
	if slices.Contains(versions, selector) || slices.Contains(labels, selector) {
		return
	}
	if _, err := strconv.Atoi(selector); err == nil {
		l.wrong(o, p, fmt.Sprintf("parameter %q has no version %s; it has %s", name, selector, strings.Join(versions, ", ")))
		return
	}
	m := missing(fmt.Sprintf("parameter %q has no label", name), selector, labels)
	l.wrong(o, p, m+"; it has "+cmp.Or(strings.Join(labels, ", "), "none"))
}
