package load

import (
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	slash "path"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

func (l *loading) policy(o *object, n *value) {
	p := o.key.path()
	for i, v := range n.get("blockedPorts").items() {
		l.blockedPort(o, p.field("blockedPorts").index(i), v, n.flag("allowLockout"))
	}
	for name, v := range n.get("files").fields() {
		l.file(o, p.field("files").field(name), name, v)
	}
	for name, v := range n.get("sysctls").fields() {
		l.sysctl(o, p.field("sysctls").field(name), name, v)
	}
	for name, v := range n.get("users").fields() {
		l.user(o, p.field("users").field(name), name, v)
	}
	for name, v := range n.get("registry").fields() {
		l.registry(o, p.field("registry").field(name), v)
	}
}

func (l *loading) sysctl(o *object, p path, name string, n *value) {
	if _, err := schema.SysctlPath(name); err != nil {
		l.wrongLabel(o, p, err.Error())
	}
	if strings.ContainsAny(n.s, "\x00\r\n") {
		l.wrong(o, p, "a value is one line: it also stands in a file of sysctl.d")
	}
}

func (l *loading) user(o *object, p path, name string, n *value) {
	u := schema.User{State: schema.State(n.str("state")), Shell: n.str("shell"), Home: n.str("home"), Groups: texts(n.get("groups"))}
	if u.State == "" {
		return // a fault of its own
	}
	if v := n.get("uid"); v != nil && v.k == kInt {
		uid := uint32(v.i)
		u.UID = &uid
	}
	if err := u.Check(name); err != nil {
		l.wrongLabel(o, p, err.Error())
	}
}

// registry checks that the data of a value fits its type.
func (l *loading) registry(o *object, p path, n *value) {
	kind, data := n.str("type"), n.get("data")
	switch {
	case data == nil && n.str("state") == "present" && !o.blurred(p):
		l.lacks(o, p, "data", `required; what the value is to hold, or state: "absent"`)
	case data == nil || data.k == kAny:
	default:
		if want := registryFault(kind, data); want != "" {
			l.wrong(o, p.field("data"), fmt.Sprintf("%s is not %s, which %s holds", show(data), want, kind))
		}
	}
}

// registryFault says what data of a type of the registry has to be; empty where data is that.
func registryFault(kind string, data *value) string {
	switch kind {
	case "REG_SZ", "REG_EXPAND_SZ":
		if data.k != kString {
			return "text"
		}
	case "REG_DWORD":
		if data.k != kInt || data.i < 0 || data.i > math.MaxUint32 {
			return "a whole number from 0 to 4294967295"
		}
	case "REG_QWORD":
		if _, err := strconv.ParseUint(string(data.json(nil)), 10, 64); data.k&(kInt|kFloat) == 0 || err != nil {
			return "a whole number from 0 to 18446744073709551615"
		}
	case "REG_MULTI_SZ":
		if data.k != kList {
			return "a list of texts"
		}
	case "REG_BINARY":
		if _, err := hex.DecodeString(data.s); data.k != kString || err != nil {
			return `bytes as hex digits such as "01ff"`
		}
	}
	return ""
}

// portText is a port as its author wrote it.
func portText(n *value) string {
	if n == nil {
		return ""
	}
	if n.k == kInt {
		return strconv.FormatInt(n.i, 10)
	}
	return n.s
}

func (l *loading) blockedPort(o *object, p path, n *value, allow bool) {
	text := portText(n.get("port"))
	if text == "" {
		return // a fault of its own
	}
	at := p.field("port")
	if first, last, ok := strings.Cut(text, "-"); ok {
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA == nil && errB == nil && a > b {
			l.wrong(o, at, fmt.Sprintf("%d is greater than %d", a, b))
			return
		}
	}
	ports, err := schema.ParsePortRange(text)
	if err != nil {
		l.wrong(o, at, err.Error())
		return
	}
	if from := n.str("from"); from != "any" && from != "" {
		if pre, err := netip.ParsePrefix(from); err != nil || pre.Addr().Is4In6() {
			l.wrong(o, p.field("from"), fmt.Sprintf(`%q is not "any" or a network such as "10.0.0.0/8" or "2001:db8::/32"`, from))
			return
		}
	}
	if allow {
		return
	}
	for _, c := range l.ownPorts() {
		if c.port < ports.First || c.port > ports.Last || !strings.Contains(c.protocols, n.str("protocol")) || c.out && n.str("direction") != "out" {
			continue
		}
		m := fmt.Sprintf("%d carries", c.port)
		if ports.First != ports.Last {
			m = fmt.Sprintf("%s covers %d, which carries", text, c.port)
		}
		l.wrong(o, at, m+" the fleet itself ("+c.what+"); set allowLockout: true to block it all the same")
		return
	}
}

// ownPort is a port that carries the fleet itself.
type ownPort struct {
	port      uint16
	protocols string
	what      string
	out       bool // only on the way out
}

func (l *loading) ownPorts() []ownPort {
	ports := []ownPort{{22, "tcp", "established SSH", false}, {7950, "tcp udp", "gossip", false}, {7951, "tcp", "peers", false}}
	if f := l.objects[objKey{"fleet", ""}]; f != nil {
		for _, field := range []string{"reports", "runs"} {
			if port := remotePort(f.read().get(field).str("remote")); port != 0 {
				ports = append(ports, ownPort{port, "tcp", "the remote of " + field, true})
			}
		}
	}
	return ports
}

// remotePort is the port of a Git remote; 0 where it has none or cannot be told.
func remotePort(remote string) uint16 {
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" {
		if _, path, ok := strings.Cut(remote, ":"); ok && !strings.HasPrefix(path, "/") {
			return 22 // host:path
		}
		return 0
	}
	if p, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint16(p)
	}
	return map[string]uint16{"https": 443, "ssh": 22, "http": 80}[u.Scheme]
}

func (l *loading) file(o *object, p path, name string, n *value) {
	if strings.HasPrefix(name, "/") && slash.Clean(name) != name {
		l.wrongLabel(o, p, fmt.Sprintf("write it as %q", slash.Clean(name)))
	}
	var have []string
	for _, field := range []string{"content", "source", "contentFrom"} {
		if n.get(field) != nil {
			have = append(have, field)
		}
	}
	switch len(have) {
	case 2:
		l.say(o, mistake{path: p, where: p.field(have[1]), label: true, message: have[0] + " and " + have[1] + " are both given; give one"})
	case 3:
		l.say(o, mistake{path: p, where: p.field(have[1]), label: true, message: strings.Join(have, ", ") + " are all given; give one"})
	}
	src := n.get("source")
	if src == nil || src.k != kString {
		return
	}
	at := p.field("source")
	l.look(objKey{lookFile, src.s})
	size, ok := l.tree.Size[src.s]
	switch {
	case strings.HasPrefix(src.s, "/") || slash.Clean(src.s) != src.s || strings.HasPrefix(src.s, ".."):
		m := fmt.Sprintf("%q is not a path from the root of the repository such as \"files/motd\"", src.s)
		if clean := strings.TrimPrefix(slash.Clean(src.s), "/"); l.tree.Size[clean] > 0 {
			m += fmt.Sprintf(" (did you mean %q?)", clean)
		}
		l.wrong(o, at, m)
	case !ok:
		files := make([]string, 0, len(l.tree.Size))
		for f := range l.tree.Size {
			files = append(files, f)
		}
		slices.Sort(files)
		l.wrong(o, at, missing("no file", src.s, files))
	case size > tree.MaxFile:
		l.wrong(o, at, fmt.Sprintf("%q has %d bytes; a managed file has at most %d", src.s, size, tree.MaxFile))
	default:
		l.sources[src.s] = true
	}
}
