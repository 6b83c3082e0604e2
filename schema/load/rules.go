package load

import (
	"fmt"
	"net/netip"
	slash "path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// alone checks what CUE cannot say about one object by itself. given is what its author wrote, without defaults.
func (l *loading) alone(o *object, given *value) {
	switch o.key.kind {
	case "baseline":
		l.baseline(o, given)
	case "group", "resourceGroup":
		l.targets(o, o.key.path().field("targets"))
	case "window":
		l.window(o)
	case "policy":
		l.policy(o)
	case "association", "exception", "guardrail":
		l.targets(o, o.key.path().field("targets"))
	}
}

// at finds a value within an object; nil where there is none.
func (o *object) at(p path) *value {
	start := 2
	if o.key.kind == "fleet" {
		start = 1
	}
	n := o.value
	for _, s := range p[start:] {
		switch {
		case n == nil:
			return nil
		case s.item < 0:
			n = n.get(s.name)
		case s.item < len(n.kids):
			n = n.kids[s.item]
		default:
			return nil
		}
	}
	return n
}

func (l *loading) baseline(o *object, given *value) {
	p := o.key.path()
	system := o.value.get("operatingSystem").s
	windows := system == string("WINDOWS")
	only := func(field path, n *value, want string) {
		if n != nil {
			l.wrong(o, field, "only for "+want+"; operatingSystem is "+system)
		}
	}
	linux := !windows && system != "MACOS"
	if !linux {
		only(p.field("approvedPatchesEnableNonSecurity"), given.get("approvedPatchesEnableNonSecurity"), "Linux")
		only(p.field("sources"), given.get("sources"), "Linux")
	}
	if !windows {
		const field = "availableSecurityUpdatesComplianceStatus"
		only(p.field(field), given.get(field), "Windows")
	}
	rules := given.get("approvalRules")
	if rules == nil {
		rules = &value{k: kList}
	}
	apt := system == "DEBIAN" || system == "UBUNTU" || system == "RASPBIAN"
	for i, r := range rules.kids {
		rp := p.field("approvalRules").index(i)
		if !linux {
			only(rp.field("enableNonSecurity"), r.get("enableNonSecurity"), "Linux")
		}
		until, days := r.get("approveUntilDate"), r.get("approveAfterDays")
		delay := ""
		if until != nil {
			delay = "approveUntilDate"
			if _, err := time.Parse(time.DateOnly, until.s); err != nil {
				l.wrong(o, rp.field(delay), fmt.Sprintf("%q is not in the calendar", until.s))
			}
		} else if days != nil && days.i > 0 {
			delay = "approveAfterDays"
		}
		if apt && delay != "" && o.value.get("releaseDates").s == "publisher" {
			at := l.labelPos(o, rp.field(delay))
			l.add(schema.Fault{File: at.File, Line: at.Line, Column: at.Column, Path: rp.field(delay).String(), Severity: schema.SeverityWarning,
				Message: "not evaluated on " + system + ": apt archives have no release dates, and releaseDates is \"publisher\""})
		}
	}
	for _, field := range []string{"approvedPatches", "rejectedPatches"} {
		if list := o.value.get(field); list != nil {
			for i, n := range list.kids {
				if _, err := slash.Match(n.s, ""); err != nil {
					l.wrong(o, p.field(field).index(i), fmt.Sprintf("%q is not a glob: a [ has no ]", n.s))
				}
			}
		}
	}
}

func (l *loading) window(o *object) {
	p := o.key.path()
	l.targets(o, p.field("targets"))
	for _, field := range []string{"start", "end"} {
		if n := o.value.get(field); n != nil {
			if _, err := time.Parse(time.RFC3339, n.s); err != nil {
				l.wrong(o, p.field(field), fmt.Sprintf("%q is not in the calendar", n.s))
			}
		}
	}
	tasks := o.value.get("tasks")
	if tasks != nil {
		for i, name := range tasks.keys {
			l.task(o, p.field("tasks").field(name), tasks.kids[i])
		}
	}
	if o.wrong || l.opts.CheckWindow == nil {
		return
	}
	w := map[string]schema.Window{}
	if err := put(w, o.key.name, o.value.json(nil)); err != nil {
		l.wrongLabel(o, p, fmt.Sprintf("cannot be read: %v", err))
		return
	}
	for _, f := range l.opts.CheckWindow(w[o.key.name]) {
		field := f.Field
		if field == "" {
			field = "schedule"
		}
		l.wrong(o, p.field(field), f.Message)
	}
}

func (l *loading) task(o *object, p path, n *value) {
	l.targets(o, p.field("targets"))
	if n.get("document").s != schema.RunPatchBaseline {
		return
	}
	allowed := map[string][]string{"Operation": {"Scan", "Install"}, "RebootOption": {"RebootIfNeeded", "NoReboot"}}
	args := n.get("parameters")
	if args == nil {
		args = &value{k: kStruct}
	}
	p = p.field("parameters")
	if args.get("Operation") == nil {
		l.placed(o, mistake{path: p.field("Operation"), where: p, label: true, message: "required; one of Scan, Install"})
		o.wrong = true
	}
	for i, name := range args.keys {
		words, ok := allowed[name]
		if !ok {
			m := "no such parameter of " + schema.RunPatchBaseline
			if g := near(name, []string{"Operation", "RebootOption"}); g != "" {
				m += fmt.Sprintf(" (did you mean %q?)", g)
			}
			l.wrongLabel(o, p.field(name), m+"; allowed: Operation, RebootOption")
			continue
		}
		v := args.kids[i]
		if v.k == kList && len(v.kids) == 1 {
			v = v.kids[0]
		}
		if v.k != kString || !slices.Contains(words, v.s) {
			c := &checker{}
			l.wrong(o, p.field(name), c.say(&shape{kinds: kString, enum: words, maxRunes: -1, maxItems: -1, maxField: -1}, v))
		}
	}
}

// targets checks a selection that an object may have at a path.
func (l *loading) targets(o *object, p path) {
	n := o.at(p)
	if n == nil || n.k != kStruct {
		return
	}
	fields := 0
	for _, name := range n.keys {
		if name != "all" && name != "exclude" {
			fields++
			if n.get("all") != nil {
				l.wrongLabel(o, p.field(name), "all goes only with exclude")
			}
		}
	}
	if fields == 0 && n.get("all") == nil && n.get("exclude") != nil {
		l.wrongLabel(o, p.field("exclude"), "exclude alone selects nothing; add all: true to mean every other node")
	}
}

func (l *loading) policy(o *object) {
	p := o.key.path()
	l.targets(o, p.field("targets"))
	allow := o.value.get("allowLockout")
	if ports := o.value.get("blockedPorts"); ports != nil {
		for i, n := range ports.kids {
			l.blockedPort(o, p.field("blockedPorts").index(i), n, allow != nil && allow.b)
		}
	}
	if files := o.value.get("files"); files != nil {
		for i, name := range files.keys {
			l.file(o, p.field("files").field(name), name, files.kids[i])
		}
	}
	if sysctls := o.value.get("sysctls"); sysctls != nil {
		for i, name := range sysctls.keys {
			l.sysctl(o, p.field("sysctls").field(name), name, sysctls.kids[i])
		}
	}
	if users := o.value.get("users"); users != nil {
		for i, name := range users.keys {
			l.user(o, p.field("users").field(name), name, users.kids[i])
		}
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
	u := schema.User{State: schema.State(n.get("state").s)}
	for field, to := range map[string]*string{"shell": &u.Shell, "home": &u.Home} {
		if v := n.get(field); v != nil {
			*to = v.s
		}
	}
	if v := n.get("uid"); v != nil {
		uid := uint32(v.i)
		u.UID = &uid
	}
	if v := n.get("groups"); v != nil {
		for _, g := range v.kids {
			u.Groups = append(u.Groups, g.s)
		}
	}
	if err := u.Check(name); err != nil {
		l.wrongLabel(o, p, err.Error())
	}
}

// portText is a port as its author wrote it.
func portText(n *value) string {
	if n.k == kInt {
		return strconv.FormatInt(n.i, 10)
	}
	return n.s
}

func (l *loading) blockedPort(o *object, p path, n *value, allow bool) {
	text := portText(n.get("port"))
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
	if from := n.get("from").s; from != "any" {
		if pre, err := netip.ParsePrefix(from); err != nil || pre.Addr().Is4In6() {
			l.wrong(o, p.field("from"), fmt.Sprintf(`%q is not "any" or a network such as "10.0.0.0/8" or "2001:db8::/32"`, from))
			return
		}
	}
	if allow {
		return
	}
	for _, c := range []struct {
		port      uint16
		protocols string
		what      string
	}{{22, "tcp", "established SSH"}, {7950, "tcp udp", "gossip"}, {7951, "tcp", "peers"}} {
		if c.port < ports.First || c.port > ports.Last || !strings.Contains(c.protocols, n.get("protocol").s) {
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

func (l *loading) file(o *object, p path, name string, n *value) {
	if strings.HasPrefix(name, "/") && slash.Clean(name) != name {
		l.wrongLabel(o, p, fmt.Sprintf("write it as %q", slash.Clean(name)))
	}
	var have []string
	for _, field := range n.keys {
		if field == "content" || field == "source" || field == "contentFrom" {
			have = append(have, field)
		}
	}
	if len(have) > 1 {
		o.wrong = true
		l.placed(o, mistake{path: p, where: p.field(have[1]), label: true, message: have[0] + " and " + have[1] + " are both given; give one"})
	}
	src := n.get("source")
	if src == nil {
		return
	}
	at := p.field("source")
	size, ok := l.tree.size[src.s]
	switch {
	case strings.HasPrefix(src.s, "/") || slash.Clean(src.s) != src.s || strings.HasPrefix(src.s, ".."):
		l.wrong(o, at, fmt.Sprintf("%q is not a path from the root of the repository such as \"files/motd\"", src.s))
	case !ok:
		files := make([]string, 0, len(l.tree.size))
		for f := range l.tree.size {
			files = append(files, f)
		}
		slices.Sort(files)
		l.wrong(o, at, missing("no file", src.s, files))
	case size > maxFile:
		l.wrong(o, at, fmt.Sprintf("%q has %d bytes; a managed file has at most %d", src.s, size, maxFile))
	default:
		l.sources[src.s] = true
	}
}
