package load

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

// hint is what to do instead of what other tools, or earlier versions, would allow.
func hint(def, name string) string {
	return map[string]map[string]string{
		"#Action": {
			"applications":    "install packages with configurePackage or with a policy",
			"configureDocker": "call docker from runShellScript",
			"runDockerAction": "call docker from runShellScript",
			"updateAgent":     "an agent is upgraded as a package, by a policy",
			"updateSsmAgent":  "an agent is upgraded as a package, by a policy",
		},
		"#Step": {
			"onFailure":      "onFailure belongs into inputs",
			"onSuccess":      "onSuccess belongs into inputs",
			"finallyStep":    "finallyStep belongs into inputs",
			"timeoutSeconds": "timeoutSeconds belongs into inputs",
			"maxAttempts":    "maxAttempts belongs into inputs",
		},
		"#Parameter": {
			"value":   "value belongs into versions",
			"labels":  "labels belongs into versions",
			"version": "versions are the keys of versions",
		},
		"#Policy": merged(selecting(), map[string]string{"notify": "services to restart are onChange: restart", "except": "items of a template are left out by #except", "options": "options of a template are #options"}),
		"#Task": {
			"operation":    "Operation belongs into parameters",
			"Operation":    "Operation belongs into parameters",
			"RebootOption": "RebootOption belongs into parameters",
		},
		"#Package":     {"ensure": `write state: "present" or state: "absent"`},
		"#Service":     {"state": "write running: true or running: false", "ensure": "write running: true or running: false", "started": "write running: true"},
		"#BlockedPort": {"source": "the other side is from", "cidr": "the other side is from", "ip": "the other side is from", "address": "the other side is from"},
		"#File":        {"path": "the path is the file's name: files: \"/etc/motd\": {...}", "permissions": "write mode", "template": "write content or source", "ensure": `write state: "present" or state: "absent"`},
		"#Window":      merged(selecting(), map[string]string{"cron": "write schedule"}),
		"#Group":       selecting(),
		"#Association": selecting(),
		"#Targets":     nodeWords(),
		"#Selection":   nodeWords(),
	}[def][name]
}

// selecting are the fields of targets, where they stand beside them.
func selecting() map[string]string {
	words := map[string]string{}
	for _, w := range []string{"tags", "nodes", "os", "all", "exclude"} {
		words[w] = w + " belongs into targets"
	}
	return words
}

func merged(a, b map[string]string) map[string]string {
	maps.Copy(a, b)
	return a
}

// nodeWords are what other tools call nodes.
func nodeWords() map[string]string {
	words := map[string]string{}
	for _, w := range []string{"host", "hosts", "hostname", "hostnames", "server", "servers", "instance", "instances", "instanceIds", "InstanceIds", "machines"} {
		words[w] = `nodes are named so: nodes: ["web-1"]`
	}
	return words
}

// phrase is what a definition wants, in an author's words; empty where its own parts say it.
func phrase(def string) string {
	return map[string]string{
		"#Duration":      `a duration such as "90m", "3h" or "7d"`,
		"#Concurrency":   `a count from 1 or a percentage such as "10" or "10%"`,
		"#ErrorLimit":    `a count from 0 or a percentage such as "0" or "10%"`,
		"#Time":          `an instant such as "2026-12-31T22:00:00Z"`,
		"#Date":          `a day such as "2026-12-31"`,
		"#Schedule":      `cron(...), rate(...) or at(...)`,
		"#UnitName":      `a unit such as "nginx" or "ssh.socket"`,
		"#FileMode":      `four octal digits as text such as "0644"`,
		"#CIDR":          `a network such as "10.0.0.0/8" or "2001:db8::/32"`,
		"#Targets":       `which nodes, such as {all: true} or {tags: role: "web"}`,
		"#PortRange":     `a range such as "8000-8100"`,
		"#Port":          "a port from 1 to 65535",
		"#Sealed":        "text that is encrypted to its readers, as age --armor writes it",
		"#FilePath":      `an absolute path such as "/etc/motd" or "C:\Acme\motd"`,
		"#Name":          `a name: letters, digits, ".", "_" and "-", at most 63, starting with a letter or digit`,
		"#OS":            `an ID of os-release in lower case such as "debian"`,
		"#TagKey":        `a tag's key: letters, digits, blanks and _ . : / = + @ -, at most 128`,
		"#TagValue":      `a tag's value: letters, digits, blanks and _ . : / = + @ -, at most 256`,
		"#Node":          `a node's name or id`,
		"#PublicKey":     "an ssh-ed25519 or sk-ssh-ed25519@openssh.com public key",
		"#SigningKey":    "an ssh-ed25519 public key without a comment",
		"#SinkURL":       `"https://..." or "exec:///path"`,
		"#VersionNumber": `a version such as "3"`,
		"#Recipient":     `an age recipient: age1 and 58 letters and digits`,
		"#ParameterKey":  "a name of letters and digits alone",
		"#Token":         `a placeholder such as "{{ name }}"`,
		"#flag":          `true or false, or a placeholder such as "{{ name }}"`,
		"#seconds":       `5 to 172800 seconds, or a placeholder such as "{{ name }}"`,
		"#NodeID":        "26 letters a-z and digits 2-7",
		"#CVE":           `a CVE such as "CVE-2026-12345"`,
		"#Commit":        "a commit: 40 or 64 hex digits",
		"#Digest":        "64 hex digits",
		"#Signature":     "an armoured SSH signature",
		"#Address":       `an address such as "0.0.0.0:7950"`,
		"#DocumentName":  `a document's name such as "AWS-RunPatchBaseline"`,
		"#ParameterName": `a path such as "/prod/db/host": at most 15 levels of letters, digits, ".", "_" and "-", not under /aws or /ssm`,
	}[def]
}

func (c *checker) want(s *shape) string {
	if p := phrase(s.def); p != "" {
		return p
	}
	if p := s.patternPhrase(); p != "" {
		return p
	}
	switch {
	case s.def == "#Action":
		var w []string
		for _, f := range c.defs["#inputs"].fields {
			if !strings.Contains(f.name, ":") { // ours, which the shipped documents use
				w = append(w, f.name)
			}
		}
		return "one of " + strings.Join(w, ", ")
	case s.lookup != nil:
		return "a struct; its fields depend on " + s.lookup.field
	case len(s.enum) == 1:
		return fmt.Sprintf("%q", s.enum[0])
	case len(s.bools) == 1:
		return fmt.Sprint(s.bools[0])
	case s.enum != nil:
		return "one of " + strings.Join(s.enum, ", ")
	case s.alts != nil:
		var w []string
		for _, a := range s.alts {
			w = append(w, c.want(a))
		}
		return strings.Join(w, " or ")
	case s.lo != nil && s.hi != nil && *s.lo == *s.hi:
		return fmt.Sprint(*s.lo)
	case s.lo != nil && s.hi != nil:
		return fmt.Sprintf("a whole number from %d to %d", *s.lo, *s.hi)
	case s.lo != nil:
		return fmt.Sprintf("a whole number from %d", *s.lo)
	case s.kinds == kBool:
		return "true or false"
	case s.kinds == kString:
		return "text"
	case s.kinds == kList:
		w := "a list of "
		switch {
		case s.maxItems >= 0 && s.minItems > 0:
			w += fmt.Sprintf("%d to %d ", s.minItems, s.maxItems)
		case s.maxItems >= 0:
			w += fmt.Sprintf("at most %d ", s.maxItems)
		case s.minItems > 0:
			w += fmt.Sprintf("at least %d ", s.minItems)
		}
		if s.elem != nil && s.elem.kinds == kString {
			return w + "texts"
		}
		return w + "values"
	case s.kinds == kStruct:
		var w []string
		for _, f := range s.fields {
			if f.required {
				w = append(w, f.name)
			}
		}
		if len(w) > 0 {
			return "a struct with " + strings.Join(w, ", ")
		}
		if len(s.fields) > 0 && len(s.fields) <= 6 {
			return "a struct with any of " + strings.Join(names(s), ", ")
		}
		return "a struct"
	}
	return "a value"
}

func show(n *value) string {
	switch n.k {
	case kString:
		return fmt.Sprintf("%q", n.s)
	case kInt:
		return fmt.Sprint(n.i)
	case kBool:
		return fmt.Sprint(n.b)
	case kFloat:
		return n.s
	case kBytes:
		return "what single quotes make"
	}
	return n.k.word()
}

func (c *checker) say(s *shape, n *value, p path) string {
	if c.quiet { // nobody reads it, and labels are checked without the definitions
		return ""
	}
	w := c.want(s)
	if n.k&s.kinds == 0 {
		switch {
		case s.def == "#Targets":
			w = `{all: true}, or a struct such as {tags: role: "web"},`
		case s.kinds == kStruct && len(s.fields) == 0 && len(s.labels) > 0:
			w = "a struct of named values such as " + sample(p)
		}
		how := c.rewritten(s, n)
		if how != "" {
			how = "; " + how
		}
		switch {
		case n.k&(kStruct|kList) != 0:
			return fmt.Sprintf("%s; %s is wanted%s", n.k.word(), w, how)
		case n.k == kNull:
			return fmt.Sprintf("null is no value here; leave the field out, or give %s", w)
		case n.k == kBytes && s.kinds&kString != 0:
			return fmt.Sprintf("single quotes make bytes; %s is wanted, in double quotes", w)
		case n.k == kFloat && s.kinds&kInt != 0:
			return fmt.Sprintf("%s is not %s", show(n), w)
		case c.asText(s, n):
			return fmt.Sprintf("%s is %s; write it as text: %q", show(n), map[bool]string{true: "no text", false: "a number"}[n.k == kBool], show(n))
		}
		if n.k == kBool {
			return fmt.Sprintf("%s is not %s", show(n), w)
		}
		if n.k&(kInt|kFloat) != 0 && slices.ContainsFunc(s.enum, numeric) {
			return fmt.Sprintf("%s is a number; write it as text: one of \"%s\"", show(n), strings.Join(s.enum, `", "`))
		}
		return fmt.Sprintf("%s is %s; %s is wanted%s", show(n), n.k.word(), w, how)
	}
	if s.def == "#Sealed" { // what is no secret yet should not spread
		return "not encrypted; a secret is written as age --armor encrypts it to its readers; change it too: Git keeps what was committed"
	}
	if s.def == "#PatchName" && strings.ContainsAny(n.s, " \t\r\n") {
		return fmt.Sprintf("%s has a blank; a patch is named by its package, or by a pattern such as \"openssl*\"", show(n))
	}
	if safe.HasPrivateKey(n.s) {
		return privateKey
	}
	m := fmt.Sprintf("%s is not %s", show(n), w)
	if i, err := strconv.ParseInt(n.s, 10, 32); n.k == kString && err == nil && s.kinds&kInt != 0 && c.takes(s, &value{k: kInt, i: i, s: n.s}) {
		return m + "; write the number without quotes: " + n.s
	}
	if n.k == kString {
		if h := hint(s.def, strings.TrimPrefix(n.s, "aws:")); h != "" {
			m += " (" + h + ")"
		} else if g := near(n.s, c.words(s)); g != "" && !numeric(n.s) {
			m += fmt.Sprintf(" (did you mean %q?)", g)
		} else if g := c.meantText(s, n.s); g != "" {
			m += fmt.Sprintf(" (did you mean %q?)", g)
		} else if h := portHint(n.s); h != "" && s.ports() {
			m += "; " + h
		}
	}
	return m
}

// takes reports whether a value has the shape.
func (c *checker) takes(s *shape, n *value) bool {
	q := &checker{defs: c.defs, quiet: true, stack: c.stack}
	q.check(s, n, nil)
	return !q.bad
}

// asText reports whether a number, or true or false, would be right in quotes, and any text would not do.
func (c *checker) asText(s *shape, n *value) bool {
	return n.k&(kInt|kFloat|kBool) != 0 && s.kinds&kString != 0 && s.enum == nil && c.takes(s, &value{k: kString, s: show(n)})
}

// numeric reports whether a word would be a number without its quotes.
func numeric(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

func (c *checker) words(s *shape) []string {
	w := slices.Clone(s.enum)
	if s.def == "#Action" {
		for _, f := range c.defs["#inputs"].fields {
			w = append(w, "aws:"+f.name, f.name)
		}
	}
	for _, a := range s.alts {
		w = append(w, c.words(a)...)
	}
	return w
}

func (c *checker) unknown(s *shape, name string) string {
	var w []string
	for _, f := range s.fields {
		w = append(w, f.name)
	}
	if len(w) == 0 && len(s.labels) == 1 {
		key := s.labels[0].key
		if key.def == "#Action" {
			return c.say(key, &value{k: kString, s: name}, nil)
		}
		if p := c.want(key); p != "text" {
			return "not " + p
		}
	}
	m := "no such field"
	if s.when != "" {
		m += " when " + s.when
	}
	if g := near(name, w); g != "" {
		m += fmt.Sprintf(" (did you mean %q?)", g)
	}
	if len(w) > 0 {
		m += "; allowed: " + strings.Join(w, ", ")
	}
	if h := hint(s.def, name); h != "" {
		m += " (" + h + ")"
	} else if (s.def == "#Targets" || s.def == "#Selection") && near(name, w) == "" && (plainLabel(name) || strings.HasPrefix(name, "tag:")) {
		m += fmt.Sprintf(" (a tag is tags: %s: ...)", strings.TrimPrefix(name, "tag:"))
	}
	return m
}

// near is the word that s was probably meant to be, or empty. Nobody means anything by a word of a hundred letters.
func near(s string, words []string) string {
	if len(s) > 100 {
		return ""
	}
	best, bd := "", 3
	for _, w := range words {
		if len(s) >= 4 && len(w) > len(s)+2 && (strings.HasPrefix(strings.ToLower(w), strings.ToLower(s)) || strings.HasSuffix(strings.ToLower(w), strings.ToLower(s))) {
			best = w
		}
	}
	low := strings.ToLower(s)
	for _, w := range words {
		if strings.EqualFold(s, w) {
			return w
		}
		if off := len(w) - len(s); off >= bd || -off >= bd {
			continue // it takes more than that to make the lengths equal
		}
		if d := edits(low, strings.ToLower(w)); d < bd && d < len(w) {
			best, bd = w, d
		}
	}
	return best
}

// edits is how many bytes to change, add, drop or swap with their neighbours to make b of a.
func edits(a, b string) int {
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			c := 1
			if a[i-1] == b[j-1] {
				c = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+c)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}

// patternPhrase is what a pattern wants that belongs to no definition of its own, in an author's words.
func (s *shape) patternPhrase() string {
	others := 0 // that the text is not to match
	for _, p := range s.patterns {
		if p.not {
			others++
		}
	}
	if s.def != "" || len(s.patterns) != others+1 || s.patterns[0].not {
		return ""
	}
	return map[string]string{
		`^/`:                                            `an absolute path such as "/usr/sbin/nologin"`,
		`^[a-z_][a-z0-9_.-]{0,31}\$?$`:                  `an account: at most 32 lower-case letters, digits and _ . -, starting with a letter or _`,
		`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`:               `an account such as "deploy"`,
		`^[A-Za-z0-9][A-Za-z0-9+._:@-]{0,127}$`:         `a package such as "telnetd"`,
		`^[A-Za-z0-9][A-Za-z0-9@._:\\-]{0,255}$`:        `a unit such as "nginx" or "ssh.socket"`,
		`^[a-z0-9_]+([./][A-Za-z0-9_.*-]+)+$`:           `a kernel parameter such as "net.ipv4.ip_forward"`,
		`^(HKLM|HKCU|HKCR|HKU|HKCC)\\.+`:                `the path of a value that begins with HKLM\, HKCU\, HKCR\, HKU\ or HKCC\ such as "HKLM\\SOFTWARE\\Acme\\Mode"`,
		`^[0-9]+\.[0-9]+\.[0-9]+$`:                      `a version such as "1.4.0"`,
		`^((https|ssh|file)://.+|[^/:@ ]+@[^/: ]+:.+)$`: `an address that begins with https://, ssh:// or file://, or is of the form git@host:path`,
		`^[A-Za-z._-][A-Za-z0-9._-]{0,99}$`:             `a label: at most 100 letters, digits and . _ -, not starting with a digit, aws or ssm`,
		`^age1[0-9a-z]+$`:                               `an age recipient: age1...`,
		`^[A-Za-z0-9]+$`:                                `a parameter's name: letters and digits`,
		`^(file|https|s3|gs|azblob)://.+`:               `a URL that begins with file://, https://, s3://, gs:// or azblob://`,
		`^[A-Za-z0-9_.-]{3,50}$`:                        `a name of 3 to 50 letters, digits and _ . -`,
		`^[^/].*$`:                                      `a path from the root of the repository, without a slash first`,
		`^[a-z][A-Za-z]*\.([a-z][A-Za-z]*|\*)$`:         `an event such as "node.joined" or "node.*"`,
	}[s.patterns[0].source]
}
