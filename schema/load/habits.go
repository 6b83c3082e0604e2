package load

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// meantText is the text that another one was most likely meant to be, as far as the shape takes it; else empty.
func (c *checker) meantText(s *shape, text string) string {
	if len(text) > 200 {
		return ""
	}
	bare := strings.TrimSpace(text)
	if s.def == "#Schedule" {
		return schema.FromCrontab(bare)
	}
	try := []string{bare, strings.ToLower(bare), synonym(strings.ToLower(bare))}
	switch {
	case s.def == "#Concurrency" || s.def == "#ErrorLimit":
		try = append(try, strings.ReplaceAll(bare, " ", "")) // "10 %"
	case regexp.MustCompile(`^[0-7]{3}$`).MatchString(bare):
		try = append(try, "0"+bare) // a mode
	case regexp.MustCompile(`^[0-9]+\s*[:-]\s*[0-9]+$`).MatchString(bare):
		try = append(try, regexp.MustCompile(`\s*[:-]\s*`).ReplaceAllString(bare, "-")) // a range
	case s.def == "#Duration":
		try = append(try, shortUnits(bare))
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		try = append(try, netip.PrefixFrom(a, a.BitLen()).String())
	}
	for _, t := range try {
		if t != "" && t != text && c.takes(s, &value{k: kString, s: t}) {
			return t
		}
	}
	return ""
}

// shortUnits writes the units of a length of time as d, h, m and s.
func shortUnits(text string) string {
	text = strings.ToLower(strings.NewReplacer(" ", "", ",", "", "and", "").Replace(text))
	return regexp.MustCompile(`[a-z]+`).ReplaceAllStringFunc(text, func(unit string) string {
		if regexp.MustCompile(`^(days?|hours?|hrs?|minutes?|mins?|seconds?|secs?)$`).MatchString(unit) {
			return unit[:1]
		}
		return unit
	})
}

// synonym is this language's word for one of other tools; empty where it has none.
func synonym(word string) string {
	return map[string]string{
		"installed": "present", "latest": "present", "created": "present", "file": "present",
		"removed": "absent", "uninstalled": "absent", "purged": "absent", "deleted": "absent",
		"dry-run": "audit", "dryrun": "audit", "report": "audit", "check": "audit", "warn": "audit", "monitor": "audit",
		"enforcing": "enforce", "apply": "enforce",
		"inbound": "in", "ingress": "in", "incoming": "in", "outbound": "out", "egress": "out", "outgoing": "out",
		"info": "INFORMATIONAL", "moderate": "MEDIUM", "normal": "MEDIUM",
	}[word]
}

// rewritten says how to write a value of another kind than is wanted, where that is plain; else it is empty.
func (c *checker) rewritten(s *shape, n *value) string {
	switch {
	case n.k == kString && len(n.s) > 60:
		return ""
	case n.k == kString && s.kinds&(kInt|kBool) != 0:
		if v := withoutQuotes(n.s); v != nil && c.takes(s, v) {
			return "write it without quotes: " + n.s
		}
	case n.k&(kString|kInt) != 0 && s.kinds == kList && c.takes(s, &value{k: kList, kids: []*value{n}}):
		return "write it as a list: [" + show(n) + "]"
	case n.k == kString && s.kinds == kList:
		if t := strings.ToLower(n.s); c.takes(s, &value{k: kList, kids: []*value{{k: kString, s: t}}}) {
			return fmt.Sprintf("write it as a list: [%q]", t)
		}
	case n.k == kStruct && s.kinds == kList && len(n.keys) > 0 && s.elem != nil && s.elem.kinds == kStruct:
		return "write it as a list of structs: [{...}]"
	case n.k == kInt && s.def == "#FileMode" && n.i >= 0 && n.i <= 9999:
		if t := c.meantText(s, show(n)); t != "" {
			return fmt.Sprintf("write it as text: %q", t)
		}
	case n.k == kString && s.def == "#File":
		return fmt.Sprintf("write {content: %s}", show(n))
	case n.k&(kString|kInt|kBool) != 0 && s.kinds == kStruct:
		var fit []string
		for _, f := range s.fields {
			if f.s.enum != nil && c.takes(f.s, n) {
				fit = []string{f.name}
				break
			}
			if c.takes(f.s, n) {
				fit = append(fit, f.name)
			}
		}
		if len(fit) == 1 {
			return fmt.Sprintf("write {%s: %s}", fit[0], show(n))
		}
	}
	return ""
}

// withoutQuotes is the number, or the true or false, that a text is without its quotes.
func withoutQuotes(s string) *value {
	switch {
	case s == "true" || s == "false":
		return &value{k: kBool, b: s == "true"}
	case regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`).MatchString(s):
		v := &value{k: kInt, s: s}
		_, _ = fmt.Sscan(s, &v.i)
		return v
	}
	return nil
}

// sample is what a struct of named values looks like, by the field that holds it.
func sample(p path) string {
	if len(p) > 0 {
		if s := map[string]string{
			"tags": `{role: "web"}`, "packages": "{nginx: {}}", "services": "{nginx: {running: true}}", "files": `{"/etc/motd": {content: "..."}}`,
			"sysctls": `{"net.ipv4.ip_forward": "0"}`, "users": "{deploy: {uid: 2001}}", "tasks": `{patch: {document: "AWS-RunPatchBaseline"}}`,
			"versions": `{"1": {value: "..."}}`,
		}[p[len(p)-1].name]; s != "" {
			return s
		}
	}
	return "{name: ...}"
}

// portHint says how to write a port that a text names in the manner of other tools.
func portHint(text string) string {
	if m := regexp.MustCompile(`^([1-9][0-9]{0,4})/(tcp|udp)$`).FindStringSubmatch(strings.ToLower(text)); m != nil {
		return fmt.Sprintf("write {port: %s, protocol: %q}", m[1], m[2])
	}
	if regexp.MustCompile(`^[1-9][0-9]{0,4}(\s*,\s*[1-9][0-9]{0,4})+$`).MatchString(text) {
		return "write one block each: {port: " + strings.Join(regexp.MustCompile(`\s*,\s*`).Split(text, -1), "}, {port: ") + "}"
	}
	return ""
}

// ports reports whether a shape is a port or a range of them.
func (s *shape) ports() bool {
	return slices.ContainsFunc(s.alts, func(a *shape) bool { return a.def == "#PortRange" })
}
