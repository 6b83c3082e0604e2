package load

import (
	"fmt"
	"net/netip"
	"net/url"
	slash "path"
	"strings"
)

func (l *loading) sink(o *object, n *value) {
	p := o.key.path().field("url")
	text := n.str("url")
	if program, ok := strings.CutPrefix(text, "exec://"); ok {
		switch clean := slash.Clean(program); {
		case clean == "/" || strings.HasSuffix(program, "/"):
			l.wrong(o, p, fmt.Sprintf(`%q names no program; write it as "exec:///usr/local/bin/notify"`, text))
		case clean != program:
			l.wrong(o, p, fmt.Sprintf("write it as %q", "exec://"+clean))
		}
		return
	}
	switch u, err := url.Parse(text); {
	case text == "":
	case err != nil || u.Hostname() == "":
		l.wrong(o, p, fmt.Sprintf("%q is not a URL", text))
	case u.User != nil:
		l.wrong(o, p, "a secret has no place in a URL that everybody reads; write it as a SecureString under parameters/, and name that in secret")
	}
}

func (l *loading) rule(o *object, n *value) {
	l.oneOf(o, o.key.path(), n, "neither run nor notify is given; give at least one", "run", "notify")
}

func (l *loading) exception(o *object, n *value) {
	p := o.key.path()
	l.oneOf(o, p, n, "none of patches, cves and policies is given; give at least one", "patches", "cves", "policies")
	l.instant(o, p, n, "until")
	l.noteValue(o, p.field("until"))
	for i, name := range n.get("patches").items() {
		if m := globFault(name.s); m != "" && name.k == kString {
			l.wrong(o, p.field("patches").index(i), m)
		}
	}
}

func (l *loading) activation(o *object, n *value) {
	p := o.key.path()
	l.instant(o, p, n, "expires")
	l.noteValue(o, p.field("expires"))
	if key := n.str("publicKey"); key != "" {
		if _, err := publicKey(key); err != nil {
			l.wrong(o, p.field("publicKey"), err.Error())
		}
	}
	for i, v := range n.get("networks").items() {
		if v.k != kString {
			continue
		}
		if pre, err := netip.ParsePrefix(v.s); err != nil || pre.Addr().Is4In6() {
			l.wrong(o, p.field("networks").index(i), fmt.Sprintf(`%q is not a network such as "10.0.0.0/8" or "2001:db8::/32"`, v.s))
		}
	}
}

// sameKeys refuses two activations with one code.
func (l *loading) sameKeys() {
	first := map[string]*object{}
	for _, o := range l.list {
		if o.key.kind != "activation" {
			continue
		}
		key := o.read().str("publicKey")
		if other := first[key]; other != nil && key != "" {
			l.wrong(o, o.key.path().field("publicKey"), "already the key of activation "+other.key.name+"; each has one of its own")
			continue
		}
		first[key] = o
	}
}
