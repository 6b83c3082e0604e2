package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/inventory"
)

// BenchmarkReconcileNothing is a pass over 1,000 resources, nine in ten of them files, of which none differs: the
// policy is cached, everything is looked at. The process's own start is not in it.
func BenchmarkReconcileNothing(b *testing.B) {
	l := local(b)
	files, repo := filepath.Join(b.TempDir(), "files"), filepath.Join(b.TempDir(), "repo")
	packages, err := inventory.ReadStatus(b.Context(), "/")
	if err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("package fleet\npolicy: many: {\n\ttargets: all: true\n\tfiles: {\n")
	for i := range 900 {
		fmt.Fprintf(&text, "\t\t%q: {content: %q, mode: \"0644\", owner: \"root\", group: \"root\"}\n", filepath.Join(files, fmt.Sprint(i)), strings.Repeat(fmt.Sprintln("line of", i), 60))
	}
	text.WriteString("\t}\n\tpackages: {\n")
	for _, p := range packages[:100] {
		fmt.Fprintf(&text, "\t\t%q: state: \"present\"\n", p.Name)
	}
	text.WriteString("\t}\n}\n")
	for name, content := range map[string]string{filepath.Join(repo, "fleet.cue"): "package fleet\nfleet: name: \"bench\"\n", filepath.Join(repo, "many.cue"): text.String()} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.MkdirAll(files, 0o755); err != nil {
		b.Fatal(err)
	}
	if _, err := l.Reconcile(b.Context(), repo, "", false); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		account, err := l.Reconcile(b.Context(), repo, "", false)
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range account.Changes {
			if !strings.HasPrefix(c.Resource, "patch:") {
				b.Fatalf("a pass that changes nothing changed %+v", c)
			}
		}
	}
}
