package load

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fleet checks who may change what and how commits roll out.
func (l *loading) fleet(o *object, n, given *value) {
	p := o.key.path()
	l.signers(o, p.field("signers"), n.get("signers"))
	l.roles(o, n, given)
	const least = "at least 1s"
	l.duration(o, p.field("sync"), n.get("sync"), "interval", time.Second, forever, least)
	l.duration(o, p.field("reports"), n.get("reports"), "interval", time.Second, forever, least)
	l.duration(o, p.field("runs"), n.get("runs"), "keep", 0, forever, "")
	l.duration(o, p, n, "freshness", time.Second, forever, "at least 1s: no heartbeat is newer than that")
	l.branches(o, n)
	if r := n.get("rollout"); r != nil {
		l.duration(o, p.field("rollout"), r, "soak", 0, forever, "")
		l.waves(o, p.field("rollout").field("waves"), r.get("waves").items())
	}
	l.witnesses(o, p.field("witnesses"), n.get("witnesses").items())
	l.recoveryKeys(o, p.field("recovery"), n.get("recovery").items())
}

// signers checks that each key is one, and one person's: a role counts people.
func (l *loading) signers(o *object, p path, n *value) {
	owner := map[string]string{}
	for name, s := range n.fields() {
		for i, k := range s.get("keys").items() {
			q := p.field(name).field("keys").index(i)
			if k.k != kString {
				continue
			}
			text, err := publicKey(k.s)
			if err != nil {
				l.wrong(o, q, err.Error())
				continue
			}
			switch other, taken := owner[text]; {
			case taken && other == name:
				l.wrong(o, q, "already a key of "+name)
			case taken:
				l.wrong(o, q, "already a key of "+other+"; a key belongs to one person")
			default:
				owner[text] = name
			}
		}
	}
}

// publicKey gives the encoded part of a line of an SSH public key, once it has been seen to be what its type says.
func publicKey(line string) (string, error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return "", fmt.Errorf("not a public key")
	}
	b, err := base64.StdEncoding.DecodeString(words[1])
	want := map[string]int{"ssh-ed25519": 2, "sk-ssh-ed25519@openssh.com": 3}[words[0]]
	var parts []string
	for err == nil && len(b) >= 4 {
		n := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		if n < 0 || n > len(b)-4 {
			break
		}
		parts = append(parts, string(b[4:4+n]))
		b = b[4+n:]
	}
	if err != nil || len(b) > 0 || len(parts) != want || want == 0 || parts[0] != words[0] || len(parts[1]) != 32 {
		return "", fmt.Errorf("not the public key that %q says it is; copy the line of the .pub file", words[0])
	}
	return words[1], nil
}

// roles checks that every path has an owner, that globs are globs, and that enough people have each role.
func (l *loading) roles(o *object, n, given *value) {
	p := o.key.path().field("roles")
	people := map[string][]string{}
	for name, s := range n.get("signers").fields() {
		for _, role := range texts(s.get("roles")) {
			if !slices.Contains(people[role], name) {
				people[role] = append(people[role], name)
			}
		}
	}
	everything := false
	for name, r := range n.get("roles").fields() {
		q := p.field(name)
		everything = everything || r.get("paths") == nil // a fault of its own
		for i, glob := range r.get("paths").items() {
			if glob.k != kString {
				everything = true // who knows
				continue
			}
			everything = everything || glob.s == "**" && r.get("activations") == nil
			if m := pathGlobFault(glob.s); m != "" {
				l.wrong(o, q.field("paths").index(i), m)
			}
		}
		l.threshold(o, q, r, given.get("roles").get(name), people[name], n.get("signers") != nil)
	}
	if given.get("roles") != nil && !everything && !o.blurred(p) {
		l.wrongLabel(o, p, `no role has the path "**": nobody may change what no other path names`)
	}
}

// threshold checks that as many people have a role as must agree.
func (l *loading) threshold(o *object, p path, r, given *value, people []string, signed bool) {
	t := r.get("threshold")
	if t == nil || t.k != kInt || !signed || int64(len(people)) >= t.i || o.heard(p) {
		return
	}
	slices.Sort(people)
	have := "nobody has this role"
	switch len(people) {
	case 0:
	case 1:
		have = "1 person has this role (" + people[0] + ")"
	default:
		have = fmt.Sprintf("%d people have this role (%s)", len(people), strings.Join(people, ", "))
	}
	m := fmt.Sprintf("%s and %d must agree", have, t.i)
	switch {
	case given.get("threshold") != nil:
		l.wrong(o, p.field("threshold"), m)
	case given != nil:
		l.wrongLabel(o, p, m)
	default: // the role is there by default
		l.wrongLabel(o, o.key.path().field("signers"), "nobody has the role "+p[len(p)-1].name+", which is there also where roles is not given")
	}
}

// pathGlobFault says what is wrong with the glob of a role; empty where nothing is.
func pathGlobFault(glob string) string {
	if m := globFault(glob); m != "" {
		return m
	}
	steps := strings.Split(glob, "/")
	for i, s := range steps {
		switch {
		case s == "" && i == len(steps)-1:
			return fmt.Sprintf("%q names no file; write %q", glob, glob+"**")
		case s == "" || s == "." || s == "..":
			return fmt.Sprintf(`%q is not a path from the root of the repository such as "policies/**"`, glob)
		case strings.Contains(s, "**") && s != "**":
			return fmt.Sprintf(`%q: ** stands for whole folders, as in "policies/**"`, glob)
		}
	}
	return ""
}

// branches checks that policy, reports and runs do not share a branch.
func (l *loading) branches(o *object, n *value) {
	p := o.key.path()
	policy := n.get("sync").str("branch")
	reports, runs := n.get("reports"), n.get("runs")
	if b := reports.str("branch"); b != "" && b == policy && reports.get("remote") == nil {
		l.wrong(o, p.field("reports").field("branch"), fmt.Sprintf("%q is the branch of the policy (sync.branch)", b))
	}
	switch b := runs.str("branch"); {
	case b != "" && b == policy && runs.get("remote") == nil:
		l.wrong(o, p.field("runs").field("branch"), fmt.Sprintf("%q is the branch of the policy (sync.branch)", b))
	case b != "" && b == reports.str("branch") && runs.str("remote") == reports.str("remote"):
		l.wrong(o, p.field("runs").field("branch"), fmt.Sprintf("%q is the branch of reports (reports.branch)", b))
	}
}

// waves checks that steps rise to everybody.
func (l *loading) waves(o *object, p path, waves []*value) {
	for i := 1; i < len(waves); i++ {
		a, percentA := share(waves[i-1])
		b, percentB := share(waves[i])
		if a > 0 && b > 0 && percentA == percentB && b <= a {
			l.wrong(o, p.index(i), fmt.Sprintf("%q is not more than the wave before, %q", waves[i].s, waves[i-1].s))
		}
	}
	if n := len(waves); n > 0 && waves[n-1].k == kString && waves[n-1].s != "100%" {
		l.wrong(o, p.index(n-1), fmt.Sprintf(`the last wave is "100%%", not %q: else some nodes never get a commit`, waves[n-1].s))
	}
}

// share is a count or a percentage of nodes; 0 where it is neither.
func share(n *value) (number int, percent bool) {
	text, percent := strings.CutSuffix(n.s, "%")
	number, _ = strconv.Atoi(text)
	return number, percent
}

func (l *loading) witnesses(o *object, p path, names []*value) {
	first := map[string]int{}
	for i, w := range names {
		if j, twice := first[w.s]; twice && w.k == kString {
			l.wrong(o, p.index(i), fmt.Sprintf("%q is given already (witnesses[%d])", w.s, j))
			return // the count follows from that
		}
		first[w.s] = i
	}
	if len(names)%2 == 0 && len(names) > 0 {
		l.wrong(o, p, fmt.Sprintf("%d values; an odd number is wanted, so that one side of a split fleet has most of them", len(names)))
	}
}

// minRecovery is how many keys could open a secret whose readers are lost.
const minRecovery = 2

// recovery refuses secrets of which, once their readers are lost, at most one key could open any. Where fleet.recovery is not
// given at all, and no secret says to whom it is encrypted, nobody has begun to keep secrets with it: a warning.
func (l *loading) recovery() {
	f := l.objects[objKey{"fleet", ""}]
	if f == nil || f.read() == nil {
		return
	}
	keys := texts(f.read().get("recovery"))
	slices.Sort(keys)
	n := len(slices.Compact(keys))
	if n >= minRecovery {
		return
	}
	var first *object
	listed := false
	for _, o := range l.list {
		if o.key.kind != "parameter" || o.read().str("type") != "SecureString" {
			continue
		}
		if first == nil {
			first = o
		}
		for _, v := range o.read().get("versions").fields() {
			listed = listed || v.get("recipients") != nil
		}
	}
	if first == nil {
		return
	}
	p := f.key.path()
	have := map[int]string{0: "none", 1: "1 recipient"}[n]
	m := fmt.Sprintf("%s; at least %d age recipients are wanted once there is a SecureString (%s): who loses its readers has lost it; age-keygen makes a key, of which the public half stands here", have, minRecovery, first.key.path())
	switch {
	case f.read().get("recovery") != nil:
		l.wrongLabel(f, p.field("recovery"), m)
	case listed:
		l.lacks(f, p, "recovery", m)
	default:
		l.doubtAt(l.labelPos(f, p), p.field("recovery"), m)
	}
}

// forFleet is the fleet's value with defaults, nil where it cannot be told.
func (l *loading) forFleet() *value {
	if o := l.objects[objKey{"fleet", ""}]; o != nil {
		return o.read()
	}
	return nil
}
