package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// serveFleet answers on a socket until the test ends.
func serveFleet(t *testing.T, b api.Backend) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "dunlin.sock")
	l, err := api.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, l, b) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// asked runs a command line on a terminal of a width, without colour, and gives what it prints.
func asked(socket string, columns int, line string) (out, errs string, code int) {
	var o, e bytes.Buffer
	a := &app{streams: streams{in: strings.NewReader(""), out: &o, err: &e}, now: noon, columns: columns}
	code = a.execute(context.Background(), append(strings.Fields(line), "--socket", socket))
	return o.String(), e.String(), code
}

// shown is a command line, on which fleet and terminal it is shown, and its exit code.
type shownLine struct {
	name, fleet string
	columns     int
	line        string
	code        int
}

func shown() []shownLine {
	return []shownLine{
		{"status-3", "three", 80, "status", 0},
		{"status-refused", "refusing", 90, "status", 0},
		{"status-idle", "idling", 80, "status", 0},
		{"status-200", "many", 90, "status", 0},
		{"status-start", "starting", 80, "status", 0},
		{"status-narrow", "many", 60, "status", 0},
		{"nodes-3", "three", 80, "nodes", 0},
		{"nodes-target", "many", 100, "nodes --target tag:role=edge", 0},
		{"nodes-lost", "many", 90, "nodes --status ConnectionLost", 0},
		{"nodes-piped", "many", 0, "nodes --status connectionlost", 0},
		{"compliance-3", "three", 80, "compliance", 0},
		{"compliance-200", "many", 100, "compliance", 0},
		{"compliance-piped", "many", 0, "compliance --exit-status", 7},
		{"compliance-all", "three", 100, "compliance --all", 0},
		{"explain-own", "three", 80, "explain --all", 0},
		{"explain-node", "three", 80, "explain edge-001", 0},
		{"explain-lost", "three", 80, "explain db-001", 0},
		{"explain-patch", "three", 80, "explain edge-001 openssl.amd64", 0},
		{"explain-never", "many", 80, "explain edge-002", 0},
		{"scan", "three", 100, "scan --exit-status", 7},
		{"inventory", "three", 80, "inventory --node web-001 --type AWS:Application", 0},
		{"sync", "three", 80, "sync", 0},
	}
}

// TestFleetIsShown holds what people see to goldens; docs/fleet.md shows the same. DUNLIN_GOLDEN=1 writes them anew.
func TestFleetIsShown(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8")
	sockets := map[string]string{
		"three":    serveFleet(t, newFakeFleet(3, noon)),
		"refusing": serveFleet(t, newFakeFleet(3, noon).refusing()),
		"idling":   serveFleet(t, newFakeFleet(3, noon).idling()),
		"starting": serveFleet(t, newFakeFleet(3, noon).starting()),
		"many":     serveFleet(t, newFakeFleet(200, noon)),
	}
	for _, tt := range shown() {
		t.Run(tt.name, func(t *testing.T) {
			got, errs, code := asked(sockets[tt.fleet], tt.columns, tt.line)
			if code != tt.code || errs != "" {
				t.Errorf("dunlin %s: exit %d, want %d; standard error %q", tt.line, code, tt.code, errs)
			}
			for line := range strings.Lines(got) {
				if n := textWidth(strings.TrimSuffix(line, "\n")); tt.columns > 0 && n > tt.columns {
					t.Errorf("a line of %d columns on a terminal of %d: %s", n, tt.columns, line)
				}
			}
			golden(t, tt.name, got)
		})
	}
}

// TestSyncAnswersForThisNode has other nodes that have yet to look again at a head that is in force here.
func TestSyncAnswersForThisNode(t *testing.T) {
	f := newFakeFleet(3, noon).refusing()
	if _, errs, code := asked(serveFleet(t, f), 80, "sync"); code != exitFaults || !strings.Contains(errs, "is refused") {
		t.Errorf("a head that is refused here: exit %d\n%s", code, errs)
	}
	f.status.Refused[0].Faults, f.status.Refused[0].Kind = nil, "not agreed"
	if _, errs, code := asked(serveFleet(t, f), 80, "sync"); code != exitNotTrusted || !strings.Contains(errs, fakeHead[:12]+" stays in force") {
		t.Errorf("a head that is not agreed to: exit %d\n%s", code, errs)
	}
	f.status.Commit = fakeBad
	if out, errs, code := asked(serveFleet(t, f), 80, "sync"); code != 0 || errs != "" || !strings.Contains(out, "in force: "+fakeBad[:12]) {
		t.Errorf("a head that is in force here, and refused by others: exit %d\n%s%s", code, out, errs)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if os.Getenv("DUNLIN_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestWhatNodesSayDoesNotSpeakToTheTerminal has every text of a fleet come from somebody who means ill.
func TestWhatNodesSayDoesNotSpeakToTheTerminal(t *testing.T) {
	fleet := newFakeFleet(3, noon).badly()
	socket := serveFleet(t, fleet)
	name := fleet.roster[1].Name // who is Online
	for _, line := range []string{"status", "nodes", "compliance --all", "inventory --type AWS:Application --node " + name, "explain " + name, "explain nobody"} {
		for _, form := range []string{"text", "json"} {
			out, errs, _ := asked(socket, 80, line+" -o "+form)
			if strings.ContainsFunc(out+errs, func(r rune) bool { return r != '\n' && !safe.Shown(r) }) {
				t.Errorf("dunlin %s -o %s prints %q", line, form, out+errs)
			}
			if out == "" && !strings.HasSuffix(line, "nobody") {
				t.Errorf("dunlin %s -o %s: %s", line, form, errs)
			}
			if form == "json" && out != "" && !json.Valid([]byte(out)) {
				t.Errorf("dunlin %s: not JSON: %s", line, out)
			}
		}
	}
}

// TestDocsShowWhatIsPrinted holds the samples of docs/fleet.md to the goldens that the program prints. DUNLIN_GOLDEN=1
// writes them anew.
func TestDocsShowWhatIsPrinted(t *testing.T) {
	const file = "../../docs/fleet.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sample := regexp.MustCompile("(?s)<!-- golden: ([a-z0-9-]+) -->\n```text\n(.*?)```\n")
	if found := sample.FindAll(text, -1); len(found) < 8 {
		t.Errorf("%s has %d samples: the test does not see them", file, len(found))
	}
	lines := map[string]string{}
	for _, s := range shown() {
		lines[s.name] = s.line
	}
	got := sample.ReplaceAllStringFunc(string(text), func(block string) string {
		name := sample.FindStringSubmatch(block)[1]
		want, err := os.ReadFile(filepath.Join("testdata", "golden", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		return "<!-- golden: " + name + " -->\n```text\n# dunlin " + lines[name] + "\n" + string(want) + "```\n"
	})
	if os.Getenv("DUNLIN_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got); diff != "" {
		t.Errorf("%s does not show what is printed (-is +printed):\n%s", file, diff)
	}
}
