package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema/load"
)

// languageServer is `cue lsp` with an editor's side of the protocol (LSP 3.17) at its standard streams.
type languageServer struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Reader
	next int
	// diagnostics that were published, by URI.
	diagnostics map[string][]diagnostic
}

type diagnostic struct{ Message string }

type message struct {
	ID     json.RawMessage `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

func startLanguageServer(t *testing.T, dir string) *languageServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cmd := plainCueCommand(ctx, t, dir, "lsp")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = in.Close()
		_ = cmd.Wait()
	})
	s := &languageServer{t: t, in: in, out: bufio.NewReader(out), diagnostics: map[string][]diagnostic{}}
	s.call("initialize", map[string]any{
		"processId": os.Getpid(), "rootUri": fileURI(dir),
		"workspaceFolders": []any{map[string]any{"uri": fileURI(dir), "name": "policy"}},
		"capabilities": map[string]any{
			"workspace":    map[string]any{"workspaceFolders": true, "configuration": true},
			"textDocument": map[string]any{"publishDiagnostics": map[string]any{}, "hover": map[string]any{"contentFormat": []string{"markdown", "plaintext"}}},
		},
	})
	s.notify("initialized", map[string]any{})
	return s
}

func fileURI(file string) string { return (&url.URL{Scheme: "file", Path: file}).String() }

func (s *languageServer) send(m map[string]any) {
	s.t.Helper()
	m["jsonrpc"] = "2.0"
	b, err := json.Marshal(m)
	if err == nil {
		_, err = fmt.Fprintf(s.in, "Content-Length: %d\r\n\r\n%s", len(b), b)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *languageServer) notify(method string, params any) {
	s.send(map[string]any{"method": method, "params": params})
}

func (s *languageServer) read() message {
	s.t.Helper()
	length := 0
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("cue lsp: %v", err)
		}
		line = strings.TrimSpace(line)
		if line == "" {
			break
		}
		if n, ok := strings.CutPrefix(line, "Content-Length:"); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(n))
		}
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(s.out, b); err != nil {
		s.t.Fatal(err)
	}
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		s.t.Fatalf("cue lsp: %v: %s", err, b)
	}
	return m
}

// handle answers what the server asks, and keeps what it tells.
func (s *languageServer) handle(m message) {
	switch {
	case m.Method == "textDocument/publishDiagnostics":
		var p struct {
			URI         string
			Diagnostics []diagnostic
		}
		if err := json.Unmarshal(m.Params, &p); err != nil {
			s.t.Fatal(err)
		}
		s.diagnostics[p.URI] = p.Diagnostics
	case m.Method == "workspace/configuration":
		var p struct{ Items []any }
		_ = json.Unmarshal(m.Params, &p)
		s.send(map[string]any{"id": m.ID, "result": make([]any, len(p.Items))})
	case m.Method != "" && m.ID != nil:
		s.send(map[string]any{"id": m.ID, "result": nil})
	}
}

func (s *languageServer) call(method string, params any) json.RawMessage {
	s.t.Helper()
	s.next++
	s.send(map[string]any{"id": s.next, "method": method, "params": params})
	for {
		m := s.read()
		if m.Method == "" && string(m.ID) == strconv.Itoa(s.next) {
			if m.Error != nil {
				s.t.Fatalf("%s: %s", method, m.Error)
			}
			return m.Result
		}
		s.handle(m)
	}
}

// at is a place in an opened file: of the first word after what leads to it.
func (s *languageServer) at(file, text, word string) map[string]any {
	s.t.Helper()
	before, _, ok := strings.Cut(text, word)
	if !ok {
		s.t.Fatalf("%q is not in %s", word, file)
	}
	line := strings.Count(before, "\n")
	column := len(before) - strings.LastIndex(before, "\n") // within the word
	return map[string]any{"textDocument": map[string]any{"uri": fileURI(file)}, "position": map[string]any{"line": line, "character": column}}
}

func (s *languageServer) open(file string) string {
	s.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": fileURI(file), "languageId": "cue", "version": 1, "text": string(text)}})
	return string(text)
}

// definedIn are the files that the definition of a word is in, by name in the repository.
func (s *languageServer) definedIn(dir, file, text, word string) []string {
	s.t.Helper()
	var places []struct{ URI string }
	if err := json.Unmarshal(s.call("textDocument/definition", s.at(file, text, word)), &places); err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, p := range places {
		names = append(names, strings.TrimPrefix(p.URI, fileURI(dir)+"/"))
	}
	return names
}

// hover is what an editor shows of a word.
func (s *languageServer) hover(file, text, word string) string {
	s.t.Helper()
	var h struct{ Contents struct{ Value string } }
	if err := json.Unmarshal(s.call("textDocument/hover", s.at(file, text, word)), &h); err != nil {
		s.t.Fatal(err)
	}
	return h.Contents.Value
}

// The language server of the published cue leads from the fields of the fleet to their definitions beside the policy and
// shows what they mean; in other objects it does so where they name their definition. No network, and nothing but the
// repository that dunlin init wrote.
func TestTheLanguageServerFindsTheSchema(t *testing.T) {
	dir, err := filepath.EvalSymlinks(begun(t))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "policies/begun.cue", `package fleet

import "dunlin.dev/schema"

policy: begun: schema.#Policy & {
	targets: all: true
	s
}
`)
	s := startLanguageServer(t, dir)
	fleet, binding := filepath.Join(dir, "fleet.cue"), filepath.Join(dir, "schema.cue")
	named, window, begun := filepath.Join(dir, "policies", "everywhere.cue"), filepath.Join(dir, "windows", "sunday.cue"), filepath.Join(dir, "policies", "begun.cue")
	for _, tt := range []struct{ file, word, want string }{
		{binding, "#Repo", "common.cue"},
		{fleet, "fleet:", "common.cue"},
		{fleet, "name:", "fleet.cue"},
		{fleet, "reports:", "fleet.cue"},
		{fleet, "interval:", "fleet.cue"},
		{named, "#Policy &", "policy.cue"},
		{named, "severity:", "policy.cue"},
		{named, "targets:", "policy.cue"},
		{named, "blockedPorts:", "policy.cue"},
		{window, "cutoff:", "window.cue"},
	} {
		want := load.VendorRoot + "/schema/" + tt.want
		if got := s.definedIn(dir, tt.file, s.open(tt.file), tt.word); !slices.Contains(got, want) {
			t.Errorf("%s in %s is defined in %q, want %s among them", tt.word, filepath.Base(tt.file), got, want)
		}
	}
	text := s.open(fleet)
	if got := s.hover(fleet, text, "interval:"); !strings.Contains(got, load.VendorRoot+"/schema/fleet.cue") {
		t.Errorf("hover over interval: %q", got)
	}
	text = s.open(named)
	d, err := load.Describe("policy.severity", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.hover(named, text, "severity:"); !strings.Contains(got, d.Doc) {
		t.Errorf("hover over severity: %q, want %q in it", got, d.Doc)
	}
	text = s.open(begun)
	var offered struct{ Items []struct{ Label string } }
	if err := json.Unmarshal(s.call("textDocument/completion", s.at(begun, text, "s\n}")), &offered); err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, item := range offered.Items {
		labels = append(labels, item.Label)
	}
	for _, want := range []string{"services", "sysctls"} {
		if !slices.Contains(labels, want) {
			t.Errorf("offered are %q, want %s among them", labels, want)
		}
	}
}

// A file that is no CUE has a diagnostic.
func TestTheLanguageServerTellsOfWhatIsNoCUE(t *testing.T) {
	dir, err := filepath.EvalSymlinks(begun(t))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "policies/wrong.cue", "package fleet\n\npolicy: x: {\n")
	s := startLanguageServer(t, dir)
	file := filepath.Join(dir, "policies", "wrong.cue")
	s.open(file)
	for s.diagnostics[fileURI(file)] == nil {
		s.handle(s.read())
	}
	if got := s.diagnostics[fileURI(file)]; len(got) == 0 || !strings.Contains(got[0].Message, "expected '}'") {
		t.Errorf("diagnostics %+v", got)
	}
}
