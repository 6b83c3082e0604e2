package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// style has the colours of all pictures, light and dark; every colour comes with a word and a symbol. Texts have a contrast
// of at least 4.5 to their background and shapes one of 3 (WCAG 2.2). A forge's own theme may be another than that of the
// viewer's system, which a picture follows: so pictures bring their background along.
const style = `<style>text{font-family:ui-sans-serif,system-ui,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}.bg{fill:#fff}.m{fill:#59636e}.ok{fill:#1a7f37}.bad{fill:#cf222e}.un{fill:#6e7781}.rest{fill:#d1d9e0}.s{fill:none;stroke-width:18}.s.ok{stroke:#1a7f37;fill:none}.s.bad{stroke:#cf222e;fill:none}.s.un{stroke:#6e7781;fill:none}.s.rest{stroke:#d1d9e0;fill:none}@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.bg{fill:#0d1117}.m{fill:#9198a1}.ok{fill:#3fb950}.bad{fill:#f85149}.un{fill:#848d97}.rest{fill:#3d444d}.s.ok{stroke:#3fb950}.s.bad{stroke:#f85149}.s.un{stroke:#848d97}.s.rest{stroke:#3d444d}}</style>`

// verdict is how a picture shows one.
type verdict struct {
	state               schema.Compliance
	class, symbol, word string
}

var verdicts = [...]verdict{
	{schema.Compliant, "ok", "✓", "compliant"},
	{schema.NonCompliant, "bad", "✗", "non-compliant"},
	{schema.UnspecifiedData, "un", "?", "no data"},
}

// svg is a picture with a title that is read out.
func svg(width, height int, title, body string) []byte {
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="%[3]s"><title>%[3]s</title>%[4]s</svg>`+"\n",
		width, height, escape(title), body)
}

// chart is a picture on a background of its own.
func chart(width, height int, title, body string) []byte {
	return svg(width, height, title, style+fmt.Sprintf(`<rect class="bg" width="%d" height="%d" rx="6"/>`, width, height)+body)
}

// charts are the pictures of the page.
func (v *view) charts() map[string][]byte {
	return map[string][]byte{
		"charts/compliance.svg": v.ring(),
		"charts/types.svg":      v.bars(),
		"charts/patches.svg":    v.patches(),
	}
}

// ringText says what the ring shows.
func (v *view) ringText() string {
	var parts []string
	for _, w := range verdicts {
		parts = append(parts, number(v.verdicts[w.state])+" "+w.word)
	}
	return "Nodes: " + strings.Join(parts, ", ")
}

// height is that of the two pictures which stand side by side.
func (v *view) height() int { return max(160, 14+40*min(len(v.types), maxBars)+6) }

// share is the part of the nodes that is COMPLIANT.
func (v *view) share() string {
	if v.total == 0 {
		return "–"
	}
	return percent(v.verdicts[schema.Compliant], v.total)
}

// ring is the fleet's compliance.
func (v *view) ring() []byte {
	const r, cx = 58.0, 80.0
	height := v.height()
	cy := float64(height) / 2
	round := 2 * math.Pi * r
	var b strings.Builder
	fmt.Fprintf(&b, `<circle class="s rest" cx="%g" cy="%g" r="%g"/>`, cx, cy, r)
	at := 0.0
	for _, w := range verdicts {
		n := v.verdicts[w.state]
		if n == 0 || v.total == 0 {
			continue
		}
		length := round * float64(n) / float64(v.total)
		fmt.Fprintf(&b, `<circle class="s %s" cx="%g" cy="%g" r="%g" stroke-dasharray="%.2f %.2f" stroke-dashoffset="%.2f" transform="rotate(-90 %g %g)"/>`,
			w.class, cx, cy, r, length, round-length, -at, cx, cy)
		at += length
	}
	fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="middle" font-size="24" font-weight="600">%s</text>`, cx, cy+4, v.share())
	fmt.Fprintf(&b, `<text class="m" x="%g" y="%g" text-anchor="middle" font-size="12">%s</text>`, cx, cy+22, plural(v.total, "node", "nodes"))
	for i, w := range verdicts {
		y := height/2 - 24 + 28*i
		fmt.Fprintf(&b, `<text class="%s" x="184" y="%d" font-size="16" font-weight="600">%s</text><text x="252" y="%d" font-size="14" text-anchor="end">%s</text><text class="m" x="262" y="%d" font-size="14">%s</text>`,
			w.class, y, w.symbol, y, number(v.verdicts[w.state]), y, w.word)
	}
	return chart(370, height, v.ringText(), b.String())
}

const (
	// maxBars bounds how many types a picture shows, maxLabel the characters of a name, which must leave room for numbers.
	maxBars  = 12
	maxLabel = 26
)

// cut is the beginning of a text.
func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// barsText says what the bars show; safe makes a type's name harmless.
func (v *view) barsText(safe func(string) string) string {
	if len(v.types) == 0 {
		return "Compliance by type: nothing reported yet"
	}
	var parts []string
	for _, t := range v.types[:min(len(v.types), maxBars)] {
		parts = append(parts, safe(t.name)+" "+percent(t.nodes[schema.Compliant], t.total()))
	}
	return "Compliance by type: " + strings.Join(parts, ", ")
}

// bars are the compliance of each type.
func (v *view) bars() []byte {
	var b strings.Builder
	types := v.types[:min(len(v.types), maxBars)]
	height := v.height()
	if len(types) == 0 {
		fmt.Fprintf(&b, `<text class="m" x="12" y="%d" font-size="14">nothing reported yet</text>`, height/2+4)
	}
	for i, t := range types {
		y := (height-40*len(types))/2 + 4 + 40*i
		fmt.Fprintf(&b, `<text x="12" y="%d" font-size="14" font-weight="600">%s</text>`, y+14, xml(cut(t.name, maxLabel)))
		fmt.Fprintf(&b, `<text class="m" x="428" y="%d" font-size="12" text-anchor="end">✓ %s&#8195;✗ %s&#8195;? %s</text>`, y+14,
			number(t.nodes[schema.Compliant]), number(t.nodes[schema.NonCompliant]), number(t.nodes[schema.UnspecifiedData]))
		fmt.Fprintf(&b, `<rect class="rest" x="12" y="%d" width="416" height="8" rx="4"/>`, y+20)
		x := 12.0
		for _, w := range verdicts {
			if n := t.nodes[w.state]; n > 0 {
				width := 416 * float64(n) / float64(t.total())
				fmt.Fprintf(&b, `<rect class="%s" x="%.2f" y="%d" width="%.2f" height="8"/>`, w.class, x, y+20, width)
				x += width
			}
		}
	}
	return chart(440, height, v.barsText(clean), b.String())
}

// pictured are the counts that the picture of patches shows.
var pictured = [...]struct{ count, word, class string }{
	{"MissingCount", "missing", "bad"},
	{"FailedCount", "failed", "bad"},
	{"InstalledPendingRebootCount", "wait for a reboot", "un"},
	{"InstalledRejectedCount", "rejected", "bad"},
	{"AvailableSecurityUpdateCount", "security, not approved", "un"},
}

// patchesText says what the picture of patches shows.
func (v *view) patchesText() string {
	var parts []string
	for _, c := range pictured {
		parts = append(parts, number(v.counts[c.count].patches)+" "+c.word)
	}
	return "Patches: " + strings.Join(parts, ", ")
}

// patches are the patches that count against nodes, over the fleet.
func (v *view) patches() []byte {
	most := 1
	for _, c := range pictured {
		most = max(most, v.counts[c.count].patches)
	}
	var b strings.Builder
	for i, c := range pictured {
		y, n := 10+28*i, v.counts[c.count]
		fmt.Fprintf(&b, `<text x="168" y="%d" font-size="13" text-anchor="end">%s</text>`, y+14, c.word)
		fmt.Fprintf(&b, `<rect class="rest" x="180" y="%d" width="160" height="8" rx="4"/>`, y+6)
		if n.patches > 0 {
			fmt.Fprintf(&b, `<rect class="%s" x="180" y="%d" width="%.2f" height="8" rx="4"/>`, c.class, y+6, max(3, 160*float64(n.patches)/float64(most)))
		}
		fmt.Fprintf(&b, `<text class="m" x="352" y="%d" font-size="12">%s on %s</text>`, y+14, number(n.patches), plural(n.nodes, "node", "nodes"))
	}
	return chart(480, 10+28*len(pictured)+8, v.patchesText(), b.String())
}

// badges are pictures for other pages.
func (v *view) badges() map[string][]byte {
	well := v.verdicts[schema.Compliant]
	class, symbol := "bad", "✗ "
	switch {
	case v.total == 0:
		class, symbol = "un", "? "
	case well == v.total:
		class, symbol = "ok", "✓ "
	}
	online := v.statuses[schema.Online]
	here := "ok"
	if online < v.total {
		here = "un"
	}
	return map[string][]byte{
		"badges/compliance.svg": badge("compliance", symbol+number(well)+" of "+number(v.total), class),
		"badges/nodes.svg":      badge("nodes", number(online)+" online of "+number(v.total), here),
	}
}

// badgeColours are the same in light and dark: the text on them is white.
var badgeColours = map[string]string{"ok": "#1a7f37", "bad": "#cf222e", "un": "#59636e"}

// badge is a label and a value side by side.
func badge(label, value, class string) []byte {
	left, right := 7*len([]rune(label))+14, 7*len([]rune(value))+14
	body := fmt.Sprintf(`<g font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11" fill="#fff" text-anchor="middle"><rect width="%d" height="20" rx="3" fill="#32383f"/>`+
		`<path fill="%s" d="M%d 0h%da3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-%dz"/><text x="%d" y="14">%s</text><text x="%d" y="14">%s</text></g>`,
		left+right, badgeColours[class], left, right-3, right-3, left/2, xml(label), left+right/2, xml(value))
	return svg(left+right, 20, label+": "+value, body)
}
