package load

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cuelang.org/go/cue/literal"
)

// mutator makes objects that are nearly right: the example's, with something changed.
type mutator struct {
	*rand.Rand
	seeds  []seed
	pool   []*value // values to put anywhere
	labels []string // and labels
	loose  bool     // as templates are: with choices and defaults
}

// seed is a right value of a definition or kind.
type seed struct {
	kind string
	v    *value
}

func newMutator(t testing.TB, n uint64, seeds []seed) *mutator {
	m := &mutator{Rand: rand.New(rand.NewPCG(n, 1)), seeds: seeds}
	for _, s := range seeds {
		eachOf(s.v, func(v *value) {
			m.pool = append(m.pool, v)
			m.labels = append(m.labels, v.keys...)
		})
	}
	for _, s := range []string{
		`0`, `1`, `-1`, `6`, `7`, `360`, `361`, `4`, `5`, `65535`, `65536`, `172800`, `172801`, `2147483647`, `2147483648`, `4294967294`, `4294967295`, `9223372036854775807`, `9223372036854775808`,
		`123456789012345678901234567890`, `7.5`, `7.0`, `1e2`, `1e400`, `true`, `false`, `null`, `[]`, `{}`, `["x"]`, `[["x"]]`, `[null]`, `{"a": "b"}`, `{"all": true}`, `{"all": false}`,
		`""`, `" "`, `"x"`, `"0"`, `"0%"`, `"1%"`, `"99%"`, `"100%"`, `"101%"`, `"9999999"`, `"10000000"`, `"24h"`, `"1d12h"`, `"-1h"`, `"1.5h"`, `"h"`,
		`"UNSPECIFIED"`, `"CRITICAL"`, `"INFORMATIONAL"`, `"critical"`, `"*"`, `["*"]`, `"Critical"`, `"2.2"`, `"1.2"`, `"2.0"`, `"String"`, `"StringList"`, `"SecureString"`, `"WINDOWS"`, `"SUSE"`, `"MACOS"`, `"ARCH"`,
		`"aws:runDocument"`, `"runShellScript"`, `"aws:configureDocker"`, `"dunlin:patch"`, `"{{ a }}"`, `"{{a"`, `"true"`, `"True"`, `"/a/b"`, `"C:\\a"`, `"10.0.0.0/8"`, `"2001:db8::/32"`, `"10.0.0.0/33"`,
		`"6000-6063"`, `"0-1"`, `"2026-02-30"`, `"2026-12-31T22:00:00Z"`, `"2026-12-31T24:00:00Z"`, `"2026-12-31T22:00:00+02:00"`, `"any"`, `"CVE-2026-12345"`, `"0644"`, `"0888"`, `"main"`, `"a..b"`, `"x.lock"`,
		`"é"`, `"e\u0301"`, `"\u2028"`, `"\u0000"`, `"\ufeff"`, `"\ud83d\ude00"`, `"\u200d"`, `"a\nb"`, `"a\tb"`, `"a\\b"`, `"a\"b"`, `"\\(x)"`, `"#\"a"`, `"\n"`, `"ends\n"`,
	} {
		v, err := parseJSON([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		m.pool = append(m.pool, v, v)
	}
	for _, n := range []int{1, 3, 50, 63, 64, 100, 128, 256, 257, 1024, 1025} {
		m.pool = append(m.pool, &value{k: kString, s: strings.Repeat("x", n)}, &value{k: kString, s: strings.Repeat("é", n)})
	}
	for _, n := range []int{10, 11, 20, 21, 50, 51} {
		list, fields := &value{k: kList}, &value{k: kStruct}
		for i := range n {
			list.kids = append(list.kids, &value{k: kString, s: "x" + strconv.Itoa(i)})
			fields.set("x"+strconv.Itoa(i), &value{k: kString, s: "y"})
		}
		m.pool = append(m.pool, list, fields)
	}
	defs, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(defs)) {
		for _, f := range defs[name].fields {
			m.labels = append(m.labels, f.name)
		}
	}
	m.labels = append(m.labels, "é", "e\u0301", "a b", "", "true", "x-y", "$x", "0", "_", "#a", "_h", "__x", "in", "string")
	return m
}

func eachOf(v *value, f func(*value)) {
	f(v)
	for _, k := range v.kids {
		eachOf(k, f)
	}
}

func pick[T any](m *mutator, of []T) T { return of[m.IntN(len(of))] }

// chance is true n times in a thousand.
func (m *mutator) chance(n int) bool { return m.IntN(1000) < n }

// next is a changed seed.
func (m *mutator) next() seed {
	s := pick(m, m.seeds)
	s.v = s.v.clone()
	for range m.IntN(3) {
		var nodes []*value
		eachOf(s.v, func(v *value) { nodes = append(nodes, v) })
		n := pick(m, nodes)
		switch op := m.IntN(7); {
		case op <= 1:
			*n = *pick(m, m.pool).clone()
		case op == 2 && len(n.keys) > 0: // a field less
			j := m.IntN(len(n.keys))
			out := &value{k: kStruct}
			for i, k := range n.keys {
				if i != j {
					out.set(k, n.kids[i])
				}
			}
			*n = *out
		case op == 3 && n.k == kStruct: // a field more
			if k := pick(m, m.labels); n.get(k) == nil {
				n.set(k, pick(m, m.pool).clone())
			}
		case op == 4 && n.k == kList && len(n.kids) > 0:
			n.kids = append(n.kids, pick(m, n.kids).clone())
		case op == 5 && len(n.keys) > 1: // another order
			out := &value{k: kStruct}
			for _, i := range m.Perm(len(n.keys)) {
				out.set(n.keys[i], n.kids[i])
			}
			*n = *out
		case op == 6 && n.k == kInt:
			n.i += int64(m.IntN(3)) - 1
		case op == 6 && n.k == kString && n.s != "": // a letter less, or another
			r := []rune(n.s)
			i := m.IntN(len(r))
			if m.IntN(2) == 0 {
				r = slices.Delete(r, i, i+1)
			} else {
				r[i] = pick(m, []rune("aZ09 -_./%*é\u0301\n"))
			}
			n.s = string(r)
		}
	}
	return s
}

// text spells a value as people might; now and then not as plain data.
func (m *mutator) text(v *value) string {
	if m.loose && m.chance(100) {
		return "*" + m.spelled(v) + " | " + pick(m, []string{"_", "string", "int", "bool", "{...}", "[...]", m.spelled(pick(m, m.pool))})
	}
	switch {
	case m.loose && m.chance(10):
		return pick(m, []string{"_", "string", "int", "[...]", "{...}", "=~\"a\""})
	case m.chance(3):
		return "(" + m.spelled(v) + ")"
	case m.chance(2):
		return m.spelled(v) + " & _"
	case m.chance(2):
		return "*" + m.spelled(v) + " | _"
	case m.chance(1):
		return "[" + m.spelled(v) + "][0]"
	case m.chance(1):
		return "{" + m.spelled(v) + "}"
	}
	return m.spelled(v)
}

func (m *mutator) spelled(v *value) string {
	switch v.k {
	case kString:
		return m.quoted(v.s)
	case kInt:
		return m.integer(v.i)
	case kFloat:
		return v.s
	case kBool:
		return strconv.FormatBool(v.b)
	case kNull:
		return "null"
	case kList:
		var parts []string
		for _, k := range v.kids {
			parts = append(parts, m.text(k))
		}
		switch {
		case m.chance(3):
			parts = append(parts, "...")
		case m.chance(3):
			parts = append(parts, `for x in ["x"] {x}`)
		case m.chance(50) && len(parts) > 0:
			return "[\n" + strings.Join(parts, ",\n") + ",\n]"
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "{" + m.fields(v) + "}"
}

func (m *mutator) fields(v *value) string {
	var parts []string
	add := func(s string) { parts = append(parts, s) }
	for i, k := range v.keys {
		kid := v.kids[i]
		label := m.label(k)
		switch {
		case m.chance(4): // given twice, alike
			add(label + ": " + m.text(kid))
		case m.chance(60) && len(kid.keys) > 1: // in two parts
			cut := 1 + m.IntN(len(kid.keys)-1)
			a, b := &value{k: kStruct}, &value{k: kStruct}
			for j, name := range kid.keys {
				if j < cut {
					a.set(name, kid.kids[j])
				} else {
					b.set(name, kid.kids[j])
				}
			}
			add(label + ": " + m.text(a))
			kid = b
		}
		sign := ": "
		switch {
		case m.chance(2):
			sign = "?: "
		case m.chance(2):
			sign = "!: "
		}
		end := ""
		switch {
		case m.chance(3):
			end = " @go(X)"
		case m.chance(10):
			end = " // why"
		}
		add(label + sign + m.text(kid) + end)
	}
	for _, extra := range []string{"...", "_h: 1", "#d: 1", "let L = 1", "zz?: string", "zz!: string", "[string]: _", "[=~\"^q\"]: int", "if true {}", "@doc(x)", "// a comment", "{}", "_", "\"q\\(1)\": 2", "for k in [\"q\"] {(k): 1}"} {
		if m.chance(1) {
			add(extra)
		}
	}
	if m.chance(100) {
		m.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	}
	return "\n" + strings.Join(parts, "\n") + "\n"
}

func (m *mutator) label(k string) string {
	if m.chance(300) && plainLabel(k) && !strings.Contains(k, "-") && (k[0] < '0' || k[0] > '9') && k[0] != '_' {
		return k
	}
	switch {
	case m.chance(3):
		return "#" + literal.String.Quote(k) + "#"
	case m.chance(2):
		return `"\(` + literal.String.Quote(k) + `)"`
	case m.chance(2):
		return "(" + literal.String.Quote(k) + ")"
	}
	return literal.String.Quote(k)
}

func (m *mutator) quoted(s string) string {
	switch {
	case m.chance(20) && !strings.ContainsAny(s, "\"\n\r\\") && plainText(s):
		return `#"` + s + `"#`
	case m.chance(20) && !strings.ContainsAny(s, "\"\r\\") && plainText(s):
		return "\"\"\"\n\t" + strings.ReplaceAll(s, "\n", "\n\t") + "\n\t\"\"\""
	case m.chance(3) && plainText(s) && !strings.ContainsAny(s, "\"\n\r\\'"):
		return "'" + s + "'"
	case m.chance(3):
		return `"\("` + `")` + literal.String.Quote(s)[1:]
	case m.chance(20):
		var b strings.Builder
		for _, r := range s {
			if r > 0xffff {
				fmt.Fprintf(&b, `\U%08x`, r)
			} else {
				fmt.Fprintf(&b, `\u%04x`, r)
			}
		}
		return `"` + b.String() + `"`
	}
	return literal.String.Quote(s)
}

// plainText has nothing that must be escaped.
func plainText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == 0xfeff || r > 0x2000 })
}

func (m *mutator) integer(i int64) string {
	if i < 0 {
		return strconv.FormatInt(i, 10)
	}
	switch {
	case m.chance(30):
		return fmt.Sprintf("0x%x", i)
	case m.chance(20):
		return fmt.Sprintf("0o%o", i)
	case m.chance(20):
		return fmt.Sprintf("0b%b", i)
	case m.chance(20) && i >= 10:
		s := strconv.FormatInt(i, 10)
		return s[:1] + "_" + s[1:]
	case m.chance(200) && i > 0 && i%1024 == 0:
		return fmt.Sprintf("%dKi", i/1024)
	case m.chance(100) && i > 0 && i%100 == 0:
		return fmt.Sprintf("%d.%dK", i/1000, i/100%10)
	case m.chance(5):
		return fmt.Sprintf("%d.0", i)
	case m.chance(5):
		return fmt.Sprintf("+%d", i)
	case m.chance(5):
		return fmt.Sprintf("%d + 0", i)
	}
	return strconv.FormatInt(i, 10)
}

// name is an object's: of its own, and now and then wrong.
func (m *mutator) name(kind string, i int) string {
	n := fmt.Sprintf("m%06d", i)
	switch {
	case kind == "parameter" && m.chance(20):
		return pick(m, []string{"/aws/" + n, n, "/a//" + n, "/SSM" + n, "/" + n + "/é"})
	case kind == "parameter":
		return "/m/" + n
	case m.chance(20):
		return n + pick(m, []string{"é", " ", "-.", "\n", strings.Repeat("x", 56), strings.Repeat("x", 57)})
	}
	return n
}

// fixed are examples of the files with a fixed form, by the definition that they have.
func fixed(t testing.TB) []seed {
	t.Helper()
	var out []seed
	for def, name := range map[string]string{"#Facts": "fixed/facts.json", "#Run": "fixed/run.json", "#ReportLine": "fixed/report.jsonl", "#RosterLine": "example/nodes/4m.jsonl"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(b), "\n{")
		v, err := parseJSON([]byte(strings.TrimSpace(first)))
		if err != nil {
			t.Fatal(name, err)
		}
		out = append(out, seed{def, v})
	}
	b, err := os.ReadFile("testdata/fixed/agent.cue")
	if err != nil {
		t.Fatal(err)
	}
	c, err := newContext().CompileBytes(b).MarshalJSON()
	if err != nil || !json.Valid(c) {
		t.Fatal(err)
	}
	v, err := parseJSON(c)
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, seed{"#AgentConfig", v})
	slices.SortFunc(out, func(a, b seed) int { return strings.Compare(a.kind, b.kind) })
	return out
}
