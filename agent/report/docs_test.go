package report_test

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// The line in docs/reports.md is one that its node has signed.
func TestTheLineInTheDocs(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "reports.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```json\n(.*?)\n```").FindSubmatch(text)
	if m == nil {
		t.Fatal("no line")
	}
	key := ownKey(7)
	want, err := report.SignLine(schema.ReportLine{Fleet: "acme", Node: schema.NodeID(key.Public().(ed25519.PublicKey)), Rev: 9, Since: time.Date(2026, 3, 9, 6, 30, 0, 0, time.UTC),
		Commit: strings.Repeat("3f9c2b7d51", 4), Facts: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
		Compliance: map[string]schema.Compliance{"Patch": schema.NonCompliant, "Policy": schema.Compliant},
		Counts:     map[string]int{"InstalledCount": 412, "MissingCount": 2, "SecurityNonCompliantCount": 2, "CriticalNonCompliantCount": 0, "AvailableSecurityUpdateCount": 1}}, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := report.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := report.VerifyLine(m[1], key.Public().(ed25519.PublicKey)); err != nil {
		t.Errorf("%s: %v; it is\n%s", file, err, raw)
	}
}
